//! A container's stdin: `attach` written by hand on a socket of its own, because ending stdin means closing the write half
//! of the connection, which no HTTP client offers.
use super::call::CALL_TIMEOUT;
use super::error::{Context, Error};
use super::response::status_error;
use super::socket::{Endpoint, Stream};
use rustix::io::Errno;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

const CALL: &str = "container_attach_stdin";
const HEAD_LIMIT: usize = 16 * 1024;
const BODY_LIMIT: u64 = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// Writes to a container's stdin. [`Stdin::close`] or dropping it gives the process end-of-file.
///
/// A write blocks, without a time limit, while the process does not read. Docker 20.10 does not end such a write when the
/// container exits, so the caller must then call [`StdinInterrupt::interrupt`].
pub struct Stdin {
    stream: Stream,
    closed: bool,
}

/// Ends the writes of a [`Stdin`] from another thread.
#[derive(Clone)]
pub struct StdinInterrupt(Weak<OwnedFd>);

impl StdinInterrupt {
    /// Makes a blocked write and all later ones fail. Bytes that the process has not read yet may be lost.
    pub fn interrupt(&self) {
        if let Some(fd) = self.0.upgrade() {
            // Fails only if it is closed already.
            let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
        }
    }
}

impl Stdin {
    /// Connects and attaches, within [`CALL_TIMEOUT`]. `target` is path and query.
    pub(super) fn attach(endpoint: &Endpoint, target: &str) -> Result<Self, Error> {
        let Hijacked { stream, .. } = hijack(endpoint, CALL, target)?;
        Ok(Self {
            stream,
            closed: false,
        })
    }

    /// Whether the connection is as it was when it was made: not ended by the engine. Never blocks.
    pub fn is_untouched(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Reads and drops what arrives, on a thread that ends with the connection. For an attach that also asks for output.
    pub(super) fn discard_output(&self) -> io::Result<()> {
        let connection = Arc::clone(self.stream.descriptor());
        let discard = move || {
            let mut piece = [0; 16 * 1024];
            while matches!(
                rustix::io::read(&connection, &mut piece),
                Ok(1..) | Err(Errno::INTR)
            ) {}
        };
        std::thread::Builder::new()
            .name("stdin-output".into())
            .spawn(discard)?;
        Ok(())
    }

    /// A handle for the thread that waits for the container's exit.
    pub fn interrupt_handle(&self) -> StdinInterrupt {
        StdinInterrupt(Arc::downgrade(self.stream.descriptor()))
    }

    /// Closes the write half of the connection.
    pub fn close(mut self) -> io::Result<()> {
        self.closed = true;
        self.stream.close_write()
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if !self.closed {
            // Fails only if the connection is gone, and then stdin has ended too.
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

/// A connection that the engine has handed over to a container's streams.
pub(super) struct Hijacked {
    pub(super) stream: Stream,
    /// What came right behind the head of the response.
    pub(super) received: Vec<u8>,
}

/// Connects and attaches, within [`CALL_TIMEOUT`]; after that the connection has no time limit. `target` is path and query.
pub(super) fn hijack(
    endpoint: &Endpoint,
    call: &'static str,
    target: &str,
) -> Result<Hijacked, Error> {
    let deadline = Instant::now() + CALL_TIMEOUT;
    let context = Context {
        call,
        host: endpoint.host(),
        timeout: CALL_TIMEOUT,
    };
    log::debug!("POST {target}");
    let connected = endpoint
        .dial(deadline)
        .and_then(|socket| endpoint.handshake(socket, deadline));
    let mut stream = connected.map_err(|error| context.dial_failed(&error))?;
    stream.socket().set_read_deadline(Some(deadline));
    stream.socket().set_write_deadline(Some(deadline));
    let mut head =
        send_attach(&mut stream, target, endpoint.host().http_authority()).map_err(|error| {
            match error.get_ref() {
                Some(inner) if inner.is::<NotHttp>() => context.malformed(error.to_string()),
                _ => context.connection_broke(&error),
            }
        })?;
    if head.status != 200 {
        head.read_rest(&mut stream);
        return Err(status_error(
            context,
            head.status,
            &head.content_type,
            &head.body,
        ));
    }
    stream.socket().set_read_deadline(None);
    stream.socket().set_write_deadline(None);
    Ok(Hijacked {
        stream,
        received: head.body,
    })
}

struct ResponseHead {
    status: u16,
    content_type: String,
    content_length: u64,
    /// Bytes of the body that came with the head.
    body: Vec<u8>,
}

impl ResponseHead {
    /// Reads the rest of an error response's body, as far as it arrives.
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

fn send_attach(stream: &mut Stream, target: &str, host: &str) -> io::Result<ResponseHead> {
    // No `Upgrade` field: without one the engine answers 200 and hands over the connection just the same.
    let request = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read_head(stream)
}

fn read_head(stream: &mut impl Read) -> io::Result<ResponseHead> {
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
fn parse_head(received: &[u8]) -> io::Result<Option<ResponseHead>> {
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
    Ok(Some(ResponseHead {
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
    fn a_head_is_split_from_the_body_and_a_cut_one_is_an_error() {
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
    fn a_response_that_is_not_http_is_invalid_data() {
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
