//! An SSE stream and posts to it over a plain socket: what `curl -N` shows, without a client's own ideas.

use crate::support::{Answer, Server, read_answer};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What every MCP client accepts.
pub const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");

/// An open event stream.
pub struct Stream {
    lines: BufReader<Unchunked>,
    socket: TcpStream,
}

/// Takes the chunked coding off a body.
struct Unchunked {
    inner: BufReader<TcpStream>,
    left: usize,
}

impl Read for Unchunked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            while line.trim().is_empty() {
                line.clear();
                if self.inner.read_line(&mut line)? == 0 {
                    return Ok(0);
                }
            }
            self.left = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        }
        let most = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Stream {
    /// `GET /sse`, with the query as it stands; the endpoint event is still unread.
    pub fn open(server: &Server, query: &str) -> Self {
        Self::send(server, "GET", &format!("/sse{query}"), &[], "")
    }

    /// A session of this id whose endpoint event was read.
    pub fn session(server: &Server, id: &str) -> Self {
        let mut stream = Self::open(server, &format!("?sessionId={id}"));
        let endpoint = stream.event();
        assert_eq!(
            endpoint,
            ("endpoint".into(), format!("/messages?sessionId={id}"))
        );
        stream
    }

    /// A request whose answer is an event stream.
    pub fn send(
        server: &Server,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let socket = request(server, method, path, headers, body);
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        for field in [
            "Content-Type: text/event-stream",
            "Cache-Control: no-cache, no-transform",
            "X-Accel-Buffering: no",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        let body = Unchunked {
            inner: reader,
            left: 0,
        };
        Self {
            lines: BufReader::new(body),
            socket,
        }
    }

    /// The next event's name and data; comments are passed over.
    pub fn event(&mut self) -> (String, String) {
        self.next().expect("the stream goes on")
    }

    /// The next event, or nothing at the stream's end.
    pub fn next(&mut self) -> Option<(String, String)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                _ if line.is_empty() && !name.is_empty() => return Some((name, data)),
                _ => assert!(line.is_empty() || line.starts_with(':'), "{line:.200}"),
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Value {
        let (name, data) = self.event();
        assert_eq!(name, "message");
        assert!(data.len() <= 900_000, "an event of {} bytes", data.len());
        serde_json::from_str(&data).unwrap()
    }

    /// The next response; notifications before it are given too.
    pub fn response(&mut self) -> (Value, Vec<Value>) {
        let mut told = Vec::new();
        loop {
            let message = self.message();
            if message.get("method").is_none() {
                return (message, told);
            }
            told.push(message);
        }
    }

    /// Hangs up.
    pub fn close(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A request that has been sent, its answer unread.
pub fn request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TcpStream {
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", server.address);
    if !headers.iter().any(|(name, _)| *name == "Content-Type") {
        head.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    // A refusal may come before all of it is out.
    let _ = socket.write_all(head.as_bytes());
    socket
}

/// A request and its whole answer.
pub fn send(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    read_answer(&mut request(server, method, path, headers, body)).expect("an answer")
}

/// Posts to a session of `/sse`; it must be accepted.
pub fn post(server: &Server, id: &str, message: &Value) {
    let path = format!("/messages?sessionId={id}");
    let answer = send(server, "POST", &path, &[], &message.to_string());
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, body.as_str()), (202, "Accepted"));
}
