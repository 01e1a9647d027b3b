//! A request as handlers see it. Knows no socket: its body is a reader that the edge limits.

use super::{forwarded, media_type};
use crate::cancel::Cancel;
use crate::edge::BodyError;
use crate::memory::Reservation;
use crate::problem::Problem;
use std::io::{self, Read};

/// One request whose head passed the guard (Host, Origin, bearer token) and whose body is still unread.
pub struct Request {
    /// Unique id of this request: the client's `X-Request-Id` if it is safe to log, else a random one. The response
    /// repeats it.
    pub id: String,
    /// The method, as sent; usually upper-case.
    pub method: String,
    /// The path, percent-decoded, without the query and without a slash at the end; `*` in `OPTIONS *`.
    pub path: String,
    /// Whether a slash at the end of the path was dropped.
    pub ends_in_slash: bool,
    /// Query parameters, percent-decoded, in order.
    pub query: Vec<(String, String)>,
    /// Header fields: names in lower case, each once, and values. Several lines of one list are one value.
    pub headers: Vec<(String, String)>,
    /// Length of the body once decoded, if it is known before.
    pub content_length: Option<u64>,
    /// The body, read from the client as the handler reads it: decoded, limited in size, with a stall deadline and a
    /// minimum rate.
    pub body: Box<dyn Read + Send>,
    /// The memory that the body uses. To be kept as long as any content of the body is; see
    /// [`Request::take_body_memory`].
    pub body_memory: Option<Reservation>,
    /// The memory that the answer uses, beside what the values in the reply hold themselves. It is held until the last byte
    /// of the answer is sent.
    pub answer_memory: Option<Reservation>,
    /// Fires when the client leaves or the server's grace period is over.
    pub cancel: Cancel,
    /// Fires when the server starts to stop: idle streams should end.
    pub draining: Cancel,
}

impl Request {
    /// The value of the header field with this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The value of the first query parameter with this name.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Checks that the body is JSON by its `Content-Type`, or has none. Errors: the problem to answer with (415).
    pub fn require_json(&self) -> Result<(), Box<Problem>> {
        media_type::require_json(self.header("content-type"))
    }

    /// The path below which a proxy publishes this server, to be put before every path in an answer. Empty without one.
    pub fn path_prefix(&self) -> String {
        forwarded::path_prefix(self.header("x-forwarded-prefix").unwrap_or_default())
    }

    /// Drops the body, which must have been read, and returns the reservation of its memory. Code that keeps content of
    /// the body must keep the reservation as long.
    pub fn take_body_memory(&mut self) -> Option<Reservation> {
        self.body = Box::new(io::empty());
        self.body_memory.take()
    }

    /// Reads the whole body. Blocks until the client has sent it or a deadline passes.
    ///
    /// The buffer takes the memory of the bytes that have arrived, whatever its capacity, because the system gives memory to what
    /// is written. So it is moved seldom: a copy takes the same once more.
    pub fn read_body(&mut self) -> Result<Vec<u8>, BodyError> {
        let declared = self.content_length;
        let declared = declared.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let mut bytes = Vec::new();
        loop {
            let next = next_capacity(bytes.len());
            let capacity = match declared {
                Some(length) if !bytes.is_empty() => length,
                Some(length) => length.min(next),
                None => next,
            };
            let room = capacity - bytes.len();
            bytes
                .try_reserve_exact(room)
                .map_err(|_| BodyError::OutOfMemory)?;
            let mut part = self.body.by_ref().take(room as u64);
            let count = part.read_to_end(&mut bytes)?;
            match declared {
                Some(length) if bytes.len() == length => return Ok(bytes),
                _ if count == room => {}
                None => return Ok(bytes),
                Some(_) => return Err(BodyError::Broken(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

/// Capacity of a buffer that `length` bytes have filled.
fn next_capacity(length: usize) -> usize {
    const CAPACITIES: [usize; 3] = [1 << 20, 1 << 26, 1 << 30];
    let larger = CAPACITIES.into_iter().find(|capacity| *capacity > length);
    larger.unwrap_or(length.saturating_mul(2))
}
