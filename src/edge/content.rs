//! The content of a request body: what its framing and its `Content-Encoding` (RFC 9110 §8.4) hide. Limited in size both
//! encoded and decoded, and charged to the memory budget as it is read.

use super::body::Body;
use super::body_error::BodyError;
use super::head::{Framing, Head};
use super::refusal::Refusal;
use crate::memory::Reservation;
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, Read};

/// The reader of one request's content. Its errors convert to [`BodyError`].
pub(crate) struct Content {
    source: Source,
    reservation: Reservation,
    length: Option<u64>,
}

enum Source {
    Plain(Body),
    Gzip(Box<Gunzip>),
}

impl Content {
    /// The content of the body of the request with this head: at most `limit_bytes` once decoded, charged to `reservation`.
    pub(super) fn new(body: Body, head: &Head, limit_bytes: u64, reservation: Reservation) -> Self {
        let (source, length) = match codings(head).next() {
            None => (Source::Plain(body), head.content_length()),
            Some(_) => (Source::Gzip(Box::new(Gunzip::new(body, limit_bytes))), None),
        };
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

/// Decodes gzip of one or more members. Zeros may follow the last one.
struct Gunzip {
    /// The current member; `None` once all members have been read.
    member: Option<GzDecoder<Encoded>>,
    left_bytes: u64,
    limit_bytes: u64,
}

/// The encoded bytes, and what became of reading them.
struct Encoded {
    body: BufReader<Body>,
    was_empty: bool,
    has_failed: bool,
}

impl Gunzip {
    fn new(body: Body, limit_bytes: u64) -> Self {
        let encoded = Encoded {
            body: BufReader::new(body),
            was_empty: true,
            has_failed: false,
        };
        Self {
            member: Some(GzDecoder::new(encoded)),
            left_bytes: limit_bytes,
            limit_bytes,
        }
    }

    /// Starts the next member after one that has ended with a valid checksum, or reads the padding behind it.
    fn next_member(&mut self) -> io::Result<()> {
        let Some(ended) = self.member.take() else {
            return Ok(());
        };
        let mut encoded = ended.into_inner();
        if encoded.fill_buf()?.first() == Some(&GZIP_START) {
            self.member = Some(GzDecoder::new(encoded));
            return Ok(());
        }
        loop {
            let rest = encoded.fill_buf()?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|&byte| byte != 0) {
                return Err(undecodable("something that is not gzip follows it"));
            }
            let length = rest.len();
            encoded.consume(length);
        }
    }

    fn count(&mut self, length: usize) -> io::Result<usize> {
        self.left_bytes = self.left_bytes.checked_sub(length as u64).ok_or_else(|| {
            let limit_bytes = self.limit_bytes;
            io::Error::from(BodyError::TooLarge { limit_bytes })
        })?;
        Ok(length)
    }
}

/// The first byte of a member.
const GZIP_START: u8 = 0x1f;

impl Read for Encoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Encoded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = self.body.fill_buf();
        self.was_empty &= matches!(filled, Ok([]));
        self.has_failed |= filled.is_err();
        filled
    }

    fn consume(&mut self, length: usize) {
        self.body.consume(length);
    }
}

impl Read for Gunzip {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            match member.read(into) {
                Ok(0) => self.next_member()?,
                Ok(length) => return self.count(length),
                Err(error) if member.get_ref().has_failed => return Err(error),
                // No body at all needs no encoding.
                Err(_) if member.get_ref().was_empty => self.member = None,
                Err(error) => return Err(not_gzip(&error)),
            }
        }
        Ok(0)
    }
}

fn not_gzip(error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => undecodable("it is cut short"),
        _ => undecodable(&error.to_string()),
    }
}

fn undecodable(why: &str) -> io::Error {
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
    let refuse = |detail| {
        let code = "unsupported_content_encoding";
        Err(Refusal::new(415, code, detail))
    };
    if !codings(head).all(is_gzip) {
        return refuse("the only Content-Encoding understood is `gzip`");
    }
    match codings(head).count() {
        // No client encodes twice, and each layer multiplies what a few bytes become.
        2.. => refuse("the Content-Encoding `gzip` is understood only once"),
        _ => Ok(()),
    }
}
