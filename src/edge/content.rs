//! The content of a request body: what its framing and its `Content-Encoding` (RFC 9110 §8.4) hide. Limited in size at every
//! layer, and charged to the memory budget as it is read.

use super::body::Body;
use super::body_error::BodyError;
use super::head::{Framing, Head};
use super::refusal::Refusal;
use crate::memory::Reservation;
use flate2::read::MultiGzDecoder;
use std::io::{self, Read};

/// Most layers of gzip; clients send one.
const MOST_LAYERS: usize = 3;

/// The reader of one request's content. Its errors convert to [`BodyError`].
pub(crate) struct Content {
    source: Source,
    reservation: Reservation,
    length: Option<u64>,
}

enum Source {
    Plain(Body),
    Gzip(Gunzip),
}

impl Content {
    /// The content of the body of the request with this head: at most `limit_bytes` at each layer, charged to `reservation`.
    pub(super) fn new(body: Body, head: &Head, limit_bytes: u64, reservation: Reservation) -> Self {
        let mut length = head.content_length();
        let mut source = Source::Plain(body);
        for _ in codings(head) {
            source = Source::Gzip(Gunzip::new(source, limit_bytes));
            length = None;
        }
        Self {
            source,
            reservation,
            length,
        }
    }

    /// Length of the content, if it is known before it has been read.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        if !self.reservation.grow(count as u64) {
            return Err(BodyError::OutOfMemory.into());
        }
        Ok(count)
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(body) => body.read(into),
            Self::Gzip(gunzip) => gunzip.read(into),
        }
    }
}

/// One layer of gzip, of one or more members.
struct Gunzip {
    decoder: MultiGzDecoder<Box<Noted>>,
    left_bytes: u64,
    limit_bytes: u64,
}

/// The encoded bytes of one layer, and what became of reading them.
struct Noted {
    source: Source,
    was_empty: bool,
    has_failed: bool,
}

impl Gunzip {
    fn new(source: Source, limit_bytes: u64) -> Self {
        let noted = Noted {
            source,
            was_empty: true,
            has_failed: false,
        };
        Self {
            decoder: MultiGzDecoder::new(Box::new(noted)),
            left_bytes: limit_bytes,
            limit_bytes,
        }
    }
}

impl Read for Noted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into);
        self.was_empty &= matches!(read, Ok(0));
        self.has_failed |= read.is_err();
        read
    }
}

impl Read for Gunzip {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match self.decoder.read(into) {
            Ok(count) => count as u64,
            Err(error) if self.decoder.get_ref().has_failed => return Err(error),
            // No body at all needs no encoding.
            Err(_) if self.decoder.get_ref().was_empty => 0,
            Err(error) => return Err(not_gzip(&error)),
        };
        self.left_bytes = self.left_bytes.checked_sub(count).ok_or_else(|| {
            let limit_bytes = self.limit_bytes;
            io::Error::from(BodyError::TooLarge { limit_bytes })
        })?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

fn not_gzip(error: &io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
        _ => error.to_string(),
    };
    let detail = format!("its Content-Encoding is gzip, but it cannot be decoded: {why}");
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

/// The codings of a request's body, the first one applied first. Without a body there are none.
fn codings(head: &Head) -> impl Iterator<Item = &str> {
    let field = head
        .field("content-encoding")
        .filter(|_| head.framing != Framing::Absent);
    let codings = field.unwrap_or_default().split(',').map(str::trim);
    codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

fn is_gzip(coding: &str) -> bool {
    coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip")
}

/// Checks the `Content-Encoding` of a request. Errors: 415, whose response should say what is understood.
pub(super) fn check_coding(head: &Head) -> Result<(), Refusal> {
    if codings(head).all(is_gzip) && codings(head).count() <= MOST_LAYERS {
        return Ok(());
    }
    Err(Refusal::new(
        415,
        "unsupported_content_encoding",
        format!("the only Content-Encoding understood is `gzip`, at most {MOST_LAYERS} times"),
    ))
}
