//! A reply as handlers make it, and how it is written.

use crate::edge::{Delimiter, write_head};
use crate::problem::{PROBLEM_JSON, Problem};
use serde::Serialize;
use std::io::{self, Write};

/// What a handler answers.
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields; names in their usual spelling.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// The body of a [`Reply`].
pub enum Body {
    /// Nothing.
    Empty,
    /// All of it, with a Content-Length.
    Bytes(Vec<u8>),
    /// Written as it is made, with a Content-Length: of a large answer there is no second copy.
    Sized {
        /// Its length in bytes.
        length: u64,
        /// Writes it.
        write: WriteBody,
    },
    /// Written piece by piece on the handler's thread; every write reaches the client at once.
    Stream(WriteStream),
}

/// What writes a streamed body.
pub type WriteStream = Box<dyn FnOnce(&mut StreamWriter<'_>) -> io::Result<()> + Send>;

/// Where a streamed body is written. An error means that the client is gone or stalled beyond its deadline.
pub struct StreamWriter<'a> {
    inner: &'a mut dyn io::Write,
}

impl<'a> StreamWriter<'a> {
    /// Wraps the connection's writer.
    pub fn new(inner: &'a mut dyn io::Write) -> Self {
        Self { inner }
    }

    /// Writes one piece and flushes it to the client.
    pub fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        self.inner.write_all(piece)?;
        self.inner.flush()
    }
}

/// Writes a whole body.
pub type WriteBody = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// Answers up to this size are made before they are written.
const SMALL_BYTES: u64 = 64 * 1024;

/// Counts what is written to it.
#[derive(Default)]
struct Length(u64);

impl Write for Length {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// An answer of the given media type.
    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), content_type.into())],
            body: Body::Bytes(body),
        }
    }

    /// A JSON answer.
    pub fn json<T: Serialize>(status: u16, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::bytes(status, "application/json", body),
            Err(error) => Self::problem(&Problem::new(500, "internal", error.to_string())),
        }
    }

    /// A JSON answer that may be large: serialized twice, to count and to send, and never held.
    pub fn large_json<T: Serialize + Send + 'static>(status: u16, value: T) -> Self {
        let mut length = Length::default();
        match serde_json::to_writer(&mut length, &value) {
            Ok(()) if length.0 > SMALL_BYTES => {}
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

    /// An error answer.
    pub fn problem(problem: &Problem) -> Self {
        Self::bytes(problem.status, PROBLEM_JSON, problem.to_json())
    }

    /// A streamed answer of the given media type.
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

/// What an answer must know of its request.
pub(super) struct Occasion {
    pub(super) is_head: bool,
    /// 0 or 1, of HTTP/1.x.
    pub(super) minor: u8,
    /// Fields that every answer to this request carries.
    pub(super) fields: Vec<(String, String)>,
}

/// Writes a reply. Errors: the client is gone, or a stream gave up: then its end marker is missing too, so that no
/// client takes the piece for the whole.
pub(super) fn write_reply(
    writer: &mut dyn Write,
    reply: Reply,
    occasion: &Occasion,
) -> io::Result<()> {
    let delimiter = delimiter(&reply, occasion);
    let head = match write_head(reply.status, &all_fields(&reply, occasion), delimiter) {
        Ok(head) => head,
        Err(error) => {
            log::error!("a reply cannot be sent: {error}");
            let problem = Problem::new(
                500,
                "internal",
                "the answer had a header field that cannot be sent",
            );
            return write_reply(writer, Reply::problem(&problem), occasion);
        }
    };
    writer.write_all(&head)?;
    writer.flush()?;
    if occasion.is_head || delimiter == Delimiter::NoBody {
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
            write(&mut StreamWriter::new(&mut Chunks { writer }))?;
            writer.write_all(b"0\r\n\r\n")?;
        }
    }
    writer.flush()
}

fn delimiter(reply: &Reply, occasion: &Occasion) -> Delimiter {
    match &reply.body {
        _ if matches!(reply.status, 204 | 304) => Delimiter::NoBody,
        Body::Empty => Delimiter::Length(0),
        Body::Bytes(bytes) => Delimiter::Length(bytes.len() as u64),
        Body::Sized { length, .. } => Delimiter::Length(*length),
        Body::Stream(_) if occasion.minor == 0 => Delimiter::Close,
        Body::Stream(_) => Delimiter::Chunks,
    }
}

fn all_fields(reply: &Reply, occasion: &Occasion) -> Vec<(String, String)> {
    // Fields of a list, such as Vary, add up; those of one value are the edge's to set.
    let is_set = |name: &str| {
        !name.eq_ignore_ascii_case("vary")
            && occasion
                .fields
                .iter()
                .any(|(set, _)| set.eq_ignore_ascii_case(name))
    };
    let own = reply.headers.iter().filter(|(name, _)| !is_set(name));
    own.chain(&occasion.fields).cloned().collect()
}

/// Makes each write one chunk.
struct Chunks<'a> {
    writer: &'a mut dyn Write,
}

impl Write for Chunks<'_> {
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
    fn a_large_answer_is_written_as_a_small_one_would_be() {
        for count in [0, 10, 50_000] {
            let value = vec!["\u{1}é\""; count];
            let expected = serde_json::to_vec(&value).unwrap();
            let mut written = Vec::new();
            match Reply::large_json(200, value).body {
                Body::Bytes(bytes) => {
                    assert!(expected.len() as u64 <= SMALL_BYTES);
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
