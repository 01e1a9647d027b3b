//! A container's stdin: an attach request written by hand on a socket of its own, because its write half must be
//! closed while the connection stays, which no HTTP client offers.
use super::Error;
use super::client::{CALL_TIMEOUT, authority};
use super::error::Context;
use super::response::refusal;
use super::socket::{Endpoint, Stream};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

const CALL: &str = "container_attach_stdin";
const HEAD_LIMIT: usize = 16 * 1024;
const BODY_LIMIT: u64 = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// The write half of a container's stdin; dropping it (or [`Stdin::close`]) gives the process end-of-file.
///
/// Writing blocks while the process does not read, without a deadline, and an engine (20.10) does not end it when the
/// container exits: whoever sees the exit must call [`StdinInterrupt::interrupt`].
pub struct Stdin {
    stream: Stream,
    closed: bool,
}

/// Ends a [`Stdin`] from another thread.
#[derive(Clone)]
pub struct StdinInterrupt(Weak<OwnedFd>);

impl StdinInterrupt {
    /// Ends a write that waits, and refuses any further one. What the process has not read yet may be lost.
    pub fn interrupt(&self) {
        if let Some(fd) = self.0.upgrade() {
            // An error means that it is closed already.
            let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
        }
    }
}

impl Stdin {
    /// Connects and attaches; `target` is path and query.
    pub(super) fn attach(endpoint: &Endpoint, target: &str) -> Result<Self, Error> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let context = Context {
            call: CALL,
            host: endpoint.host(),
            timeout: CALL_TIMEOUT,
        };
        log::debug!("POST {target}");
        let connected = endpoint
            .dial(deadline)
            .and_then(|socket| endpoint.secure(socket, deadline));
        let mut stream = connected.map_err(|error| context.dial_failed(&error))?;
        stream.socket().set_read_deadline(Some(deadline));
        stream.socket().set_write_deadline(Some(deadline));
        let mut head = ask(&mut stream, target, authority(endpoint.host())).map_err(|error| {
            match error.get_ref() {
                Some(inner) if inner.is::<NotHttp>() => context.malformed(error.to_string()),
                _ => context.broken(&error),
            }
        })?;
        if head.status != 200 {
            head.read_rest(&mut stream);
            return Err(refusal(
                context,
                head.status,
                &head.content_type,
                &head.body,
            ));
        }
        stream.socket().set_read_deadline(None);
        stream.socket().set_write_deadline(None);
        Ok(Self {
            stream,
            closed: false,
        })
    }

    /// For whoever sees the container exit while another thread writes.
    pub fn interrupt_handle(&self) -> StdinInterrupt {
        StdinInterrupt(Arc::downgrade(self.stream.descriptor()))
    }

    /// Half-closes.
    pub fn close(mut self) -> io::Result<()> {
        self.closed = true;
        self.stream.close_write()
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if !self.closed {
            // If the engine is gone, so is the process.
            let _ = self.stream.close_write();
        }
    }
}

impl Write for Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

struct Head {
    status: u16,
    content_type: String,
    content_length: u64,
    body: Vec<u8>,
}

impl Head {
    /// The body of a refusal, as far as it can be had.
    fn read_rest(&mut self, stream: &mut Stream) {
        let left = self
            .content_length
            .saturating_sub(self.body.len() as u64)
            .min(BODY_LIMIT);
        let _ = stream.take(left).read_to_end(&mut self.body);
    }
}

#[derive(Debug)]
struct NotHttp(&'static str);

impl std::fmt::Display for NotHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotHttp {}

fn not_http(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, NotHttp(why))
}

fn ask(stream: &mut Stream, target: &str, host: &str) -> io::Result<Head> {
    // Without an upgrade to another protocol: the engine takes over the connection after its 200 just the same.
    let request = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read_head(stream)
}

fn read_head(stream: &mut impl Read) -> io::Result<Head> {
    let mut received = Vec::new();
    loop {
        if let Some(head) = parse_head(&received)? {
            return Ok(head);
        }
        if received.len() >= HEAD_LIMIT {
            return Err(not_http("the head of the answer is too long"));
        }
        let mut piece = [0; 1024];
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&piece[..count]),
        }
    }
}

/// None while the head is incomplete.
fn parse_head(received: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(parsed) = response.parse(received) else {
        return Err(not_http(
            "the answer is not HTTP; does the engine speak TLS?",
        ));
    };
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let value = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        content_type: value("content-type").unwrap_or_default().to_owned(),
        content_length: value("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        body: received[length..].to_vec(),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_to_their_end_and_no_further() {
        let wire = b"HTTP/1.1 404 Not Found\r\ncontent-TYPE: application/json\r\nContent-Length: 4\r\n\r\n{}";
        let head = read_head(&mut &wire[..]).unwrap();
        assert_eq!(
            (head.status, head.content_type.as_str()),
            (404, "application/json")
        );
        assert_eq!((head.content_length, &head.body[..]), (4, &b"{}"[..]));
        for length in 0..wire.len() - 2 {
            let error = read_head(&mut &wire[..length]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{length}");
        }
    }

    #[test]
    fn what_is_not_http_is_said_so() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * HEAD_LIMIT));
        for wire in [
            &b"\x15\x03\x01\x00\x02\x02\x46"[..],
            b"hello\r\n\r\n",
            endless.as_bytes(),
        ] {
            let error = read_head(&mut &wire[..]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
    }
}
