//! A request as handlers see it. Knows no socket: its body is a reader that the edge limits.

use super::{forwarded, media_type};
use crate::cancel::Cancel;
use crate::edge::BodyError;
use crate::memory::Reservation;
use crate::problem::Problem;
use std::io::{self, Read};

/// Most memory to allocate for a declared length before the bytes have arrived.
const MAX_PREALLOCATED_BYTES: usize = 64 * 1024 * 1024;

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

    /// Reads the whole body, into a buffer of exactly its size if a length was declared. Blocks until the client has sent
    /// it or a deadline passes.
    pub fn read_body(&mut self) -> Result<Vec<u8>, BodyError> {
        let declared = usize::try_from(self.content_length.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while bytes.len() < declared {
            // Doubles at most, so that a large allocation follows only on bytes that have arrived.
            let step = (declared - bytes.len()).min(MAX_PREALLOCATED_BYTES.max(bytes.len()));
            bytes.reserve_exact(step);
            if self
                .body
                .by_ref()
                .take(step as u64)
                .read_to_end(&mut bytes)?
                == 0
            {
                return Err(BodyError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if self.content_length.is_none() {
            self.body.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}
