//! A client over a raw socket, which sends exactly the bytes of the test.

use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Far beyond anything that should happen: hitting it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub raw: Vec<u8>,
}

impl Answer {
    /// Reads until the server closes; `None` when it closed without a word.
    pub fn read(socket: &mut TcpStream) -> Option<Self> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Vec::new();
        let read = socket.read_to_end(&mut raw);
        if raw.is_empty() {
            return None;
        }
        read.expect("the answer ends with a close");
        Some(Self::parse(raw))
    }

    pub fn parse(raw: Vec<u8>) -> Self {
        let end = raw
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a whole head");
        let head = std::str::from_utf8(&raw[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            status,
            headers,
            body: raw[end + 4..].to_vec(),
            raw,
        }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `code` of a problem answer.
    pub fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
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
    Answer::read(&mut send(addr, bytes)).expect("an answer")
}

/// Closes with a RST instead of a FIN.
pub fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Waits for the other side to break the connection off, but no longer than this.
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

/// Polls a condition that no event announces, such as the end of a thread.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
