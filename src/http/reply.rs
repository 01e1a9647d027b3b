//! The reply that a handler returns, and how it is written as an HTTP response.

use crate::edge::{BodyError, Delimiter, write_head};
use crate::problem::{PROBLEM_JSON, Problem};
use serde::Serialize;
use std::io::{self, Write};

/// A handler's response to a request.
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields: names in their usual spelling, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// The body of a [`Reply`].
pub enum Body {
    /// No content.
    Empty,
    /// The whole content, sent with a Content-Length.
    Bytes(Vec<u8>),
    /// Content that is produced while it is sent, with a Content-Length, so that a large response is not copied.
    Sized {
        /// Length of the content, in bytes.
        length: u64,
        /// Writes the content.
        write: WriteBody,
    },
    /// Content that is sent piece by piece on the handler's thread, in chunks. Every write reaches the client at once.
    Stream(WriteStream),
}

/// Writes a streamed body. If it returns an error or panics, the response is cut off without its end marker.
pub type WriteStream = Box<dyn FnOnce(&mut StreamWriter<'_>) -> io::Result<()> + Send>;

/// Writes to a streamed response.
pub struct StreamWriter<'a> {
    inner: &'a mut dyn io::Write,
}

impl<'a> StreamWriter<'a> {
    /// A writer to this connection.
    pub fn new(inner: &'a mut dyn io::Write) -> Self {
        Self { inner }
    }

    /// Writes one piece and flushes it to the client; blocks while the client does not read. Errors: the client has left, or
    /// stalls longer than the deadline.
    pub fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        self.inner.write_all(piece)?;
        self.inner.flush()
    }
}

/// Writes a whole body of a known length.
pub type WriteBody = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// JSON of at most this size is buffered before it is sent.
const MAX_BUFFERED_BYTES: u64 = 64 * 1024;

/// Counts the bytes that are written to it.
#[derive(Default)]
struct ByteCounter(u64);

impl Write for ByteCounter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reply {
    /// A reply without content.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// A reply of the given media type.
    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), content_type.into())],
            body: Body::Bytes(body),
        }
    }

    /// A JSON reply.
    pub fn json<T: Serialize>(status: u16, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::bytes(status, "application/json", body),
            Err(error) => Self::problem(&Problem::new(500, "internal", error.to_string())),
        }
    }

    /// A JSON reply that may be large. It is serialized twice, to find its length and to send it, and never held in memory.
    pub fn large_json<T: Serialize + Send + 'static>(status: u16, value: T) -> Self {
        let mut length = ByteCounter::default();
        match serde_json::to_writer(&mut length, &value) {
            Ok(()) if length.0 > MAX_BUFFERED_BYTES => {}
            _ => return Self::json(status, &value),
        }
        let write = move |writer: &mut dyn Write| {
            let mut buffer = io::BufWriter::with_capacity(64 * 1024, writer);
            serde_json::to_writer(&mut buffer, &value)?;
            buffer.flush()
        };
        Self {
            status,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: Body::Sized {
                length: length.0,
                write: Box::new(write),
            },
        }
    }

    /// An error (RFC 9457).
    pub fn problem(problem: &Problem) -> Self {
        Self::bytes(problem.status, PROBLEM_JSON, problem.to_json())
    }

    /// A streamed reply of the given media type.
    pub fn stream(
        content_type: &str,
        write: impl FnOnce(&mut StreamWriter<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self {
            status: 200,
            headers: vec![
                ("Content-Type".into(), content_type.into()),
                ("Cache-Control".into(), "no-cache, no-transform".into()),
                ("X-Accel-Buffering".into(), "no".into()),
            ],
            body: Body::Stream(Box::new(write)),
        }
    }

    /// The same reply with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<BodyError> for Reply {
    fn from(error: BodyError) -> Self {
        let reply = Self::problem(&error.to_problem());
        match error {
            BodyError::OutOfMemory => reply.with_header("Retry-After", "1"),
            _ => reply,
        }
    }
}

/// What writing a response requires to know of its request.
pub(super) struct ResponseContext {
    pub(super) is_head: bool,
    /// 0 or 1, of HTTP/1.x.
    pub(super) minor: u8,
    /// Fields that every response to this request has.
    pub(super) fields: Vec<(String, String)>,
}

/// Writes a reply. Errors: the client has left, or a stream failed. Then the end marker is missing, so that no client takes
/// the response for complete.
pub(super) fn write_reply(
    writer: &mut dyn Write,
    reply: Reply,
    context: &ResponseContext,
) -> io::Result<()> {
    let delimiter = delimiter(&reply, context);
    let head = match write_head(reply.status, &all_fields(&reply, context), delimiter) {
        Ok(head) => head,
        Err(error) => {
            log::error!("a reply cannot be sent: {error}");
            let problem = Problem::new(
                500,
                "internal",
                "the answer had a header field that cannot be sent",
            );
            return write_reply(writer, Reply::problem(&problem), context);
        }
    };
    writer.write_all(&head)?;
    writer.flush()?;
    if context.is_head || delimiter == Delimiter::NoBody {
        return Ok(());
    }
    match reply.body {
        Body::Empty => {}
        Body::Bytes(bytes) => writer.write_all(&bytes)?,
        Body::Sized { write, .. } => write(writer)?,
        Body::Stream(write) if delimiter == Delimiter::Close => {
            write(&mut StreamWriter::new(writer))?
        }
        Body::Stream(write) => {
            write(&mut StreamWriter::new(&mut ChunkWriter { writer }))?;
            writer.write_all(b"0\r\n\r\n")?;
        }
    }
    writer.flush()
}

fn delimiter(reply: &Reply, context: &ResponseContext) -> Delimiter {
    match &reply.body {
        _ if matches!(reply.status, 204 | 304) => Delimiter::NoBody,
        Body::Empty => Delimiter::Length(0),
        Body::Bytes(bytes) => Delimiter::Length(bytes.len() as u64),
        Body::Sized { length, .. } => Delimiter::Length(*length),
        Body::Stream(_) if context.minor == 0 => Delimiter::Close,
        Body::Stream(_) => Delimiter::Chunks,
    }
}

fn all_fields(reply: &Reply, context: &ResponseContext) -> Vec<(String, String)> {
    // Vary is a list, so both are sent. Any other field of the context replaces the reply's own.
    let is_set = |name: &str| {
        !name.eq_ignore_ascii_case("vary")
            && context
                .fields
                .iter()
                .any(|(set, _)| set.eq_ignore_ascii_case(name))
    };
    let own = reply.headers.iter().filter(|(name, _)| !is_set(name));
    own.chain(&context.fields).cloned().collect()
}

/// Writes each piece as one chunk (RFC 9112 §7.1).
struct ChunkWriter<'a> {
    writer: &'a mut dyn Write,
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        // An empty chunk would end the body.
        if !piece.is_empty() {
            write!(self.writer, "{:x}\r\n", piece.len())?;
            self.writer.write_all(piece)?;
            self.writer.write_all(b"\r\n")?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn large_json_has_the_same_bytes_as_small_json() {
        for count in [0, 10, 50_000] {
            let value = vec!["\u{1}é\""; count];
            let expected = serde_json::to_vec(&value).unwrap();
            let mut written = Vec::new();
            match Reply::large_json(200, value).body {
                Body::Bytes(bytes) => {
                    assert!(expected.len() as u64 <= MAX_BUFFERED_BYTES);
                    written = bytes;
                }
                Body::Sized { length, write } => {
                    assert_eq!(length, expected.len() as u64);
                    write(&mut written).unwrap();
                }
                Body::Empty | Body::Stream(_) => panic!("no body of a known length"),
            }
            assert!(written == expected, "{count}");
        }
    }
}
