//! A client over a raw socket, which sends exactly the bytes of the test.

use crate::support::Answer;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A limit far above anything that a test waits for; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl Answer {
    /// The `code` of a problem.
    pub fn code(&self) -> String {
        let media_type = self.header("Content-Type");
        assert_eq!(media_type.as_deref(), Some("application/problem+json"));
        let (_, code, _) = self.problem();
        assert_eq!(self.json()["status"], self.status);
        code
    }
}

/// Reads until the server closes the connection; `None` if there was no answer. Chunks stay as they were sent.
pub fn read(socket: &mut TcpStream) -> Option<Answer> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut raw = Vec::new();
    let read = socket.read_to_end(&mut raw);
    if raw.is_empty() {
        return None;
    }
    read.expect("the answer ends with a close");
    let answer = Answer::parse(raw).expect("a whole head");
    let mut fields = answer.head.split("\r\n").skip(1);
    assert!(fields.all(|field| field.contains(": ")), "{}", answer.head);
    Some(answer)
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn send(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = connect(addr);
    socket.write_all(bytes).unwrap();
    socket
}

pub fn ask(addr: SocketAddr, bytes: &[u8]) -> Answer {
    read(&mut send(addr, bytes)).expect("an answer")
}

/// Closes with a RST instead of a FIN.
pub fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Waits until the other side breaks off the connection, `patience` at most.
pub fn hung_up_within(socket: &TcpStream, patience: Duration) {
    let mut broken = [PollFd::new(socket, PollFlags::empty())];
    let _ = poll(&mut broken, Some(&patience.try_into().unwrap()));
}

/// Reads until `wanted` has been seen, without waiting for the end.
pub fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut seen = String::new();
    let mut piece = [0u8; 1024];
    while !seen.contains(wanted) {
        let count = socket.read(&mut piece).unwrap();
        assert_ne!(count, 0, "the connection closed after {seen:?}");
        seen.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    seen
}

/// Polls a condition for which there is no event, such as the end of a thread.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
