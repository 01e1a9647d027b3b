//! Requests byte by byte.

use super::table::{Outcome, outcome};
use crate::support::{Server, read_answer};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any deadline of the server.
const PATIENCE: Duration = Duration::from_secs(90);

/// Sends these bytes.
pub fn send(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    // A server may refuse a request before it was sent to its end.
    let _ = socket.write_all(bytes);
    socket
}

/// Reads to the end of the connection: it must be one answer, and no more.
pub fn answered(mut socket: TcpStream) -> Outcome {
    match read_answer(&mut socket) {
        Some(answer) => {
            let (body, text) = (&answer.body, String::from_utf8_lossy(&answer.body));
            assert!(!text.contains("HTTP/1.1"), "a second answer: {text}");
            let length = answer.header("Content-Length");
            let length = length.map_or(body.len(), |length| length.parse().unwrap());
            assert!(body.is_empty() || body.len() == length, "{}", answer.head);
            outcome(&answer)
        }
        None => "closed".into(),
    }
}

/// Sends these bytes, and reads what comes.
pub fn raw(bytes: impl Into<Vec<u8>>) -> impl Fn(&Server) -> Outcome + Send {
    let bytes = bytes.into();
    move |server| answered(send(server, &bytes))
}
