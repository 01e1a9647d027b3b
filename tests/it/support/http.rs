//! The HTTP client of the tests and of `make bench`: one request on each connection, over a plain socket.
//! The benchmark includes this file alone, so nothing in here panics or needs another part of the tests.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a read waits for the next byte of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Bodies up to this size are sent with the head in one write.
const SMALL_BODY: usize = 16 * 1024;

/// A request that is not sent yet.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    method: &'a str,
    path: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and header fields, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, path: &'a str) -> Self {
        Self {
            method,
            path,
            fields: Vec::new(),
            body: b"",
        }
    }

    /// Adds header fields. `Content-Type: application/json` and the body's `Content-Length` are sent unless given here.
    pub(crate) fn fields(mut self, fields: &[(&'a str, &'a str)]) -> Self {
        self.fields.extend_from_slice(fields);
        self
    }

    pub(crate) fn body<B: AsRef<[u8]> + ?Sized>(mut self, body: &'a B) -> Self {
        self.body = body.as_ref();
        self
    }

    /// Connects, sends everything and returns the connection; the answer is unread. A server may refuse a request
    /// before its body has been sent, so that a failed write is no error: the answer says why.
    pub(crate) fn send(&self, address: &str) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        let mut first = self.head(address).into_bytes();
        let is_small = self.body.len() <= SMALL_BODY;
        if is_small {
            first.extend_from_slice(self.body);
        }
        if socket.write_all(&first).is_ok() && !is_small {
            let _ = socket.write_all(self.body);
        }
        Ok(socket)
    }

    fn head(&self, address: &str) -> String {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {address}\r\n",
            self.method, self.path
        );
        let length = self.body.len().to_string();
        let defaults = [
            ("Content-Type", "application/json"),
            ("Content-Length", &length),
        ];
        let is_given = |name: &str| self.fields.iter().any(|(given, _)| *given == name);
        let defaults = defaults.iter().filter(|(name, _)| !is_given(name));
        for (name, value) in self.fields.iter().chain(defaults) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

impl Answer {
    /// Takes apart what a server sent. The body stays as it was sent, chunks included. `None` if no whole head came.
    pub(crate) fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let body = bytes.split_off(end + 4);
        bytes.truncate(end);
        let head = String::from_utf8(bytes).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head, body })
    }

    /// The value of a header field; the first one if it is repeated.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }
}
