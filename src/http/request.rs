//! A request as handlers see it. Knows nothing of sockets: the body is a reader that somebody else bounds.

use crate::cancel::Cancel;
use std::io::Read;

/// One request whose head passed the guard (Host, Origin, bearer token) and whose body is still unread.
pub struct Request {
    /// Unique id of this request: the client's `X-Request-Id` if it is sane, else minted. Echoed in the reply.
    pub id: String,
    /// Upper-case method.
    pub method: String,
    /// The path, percent-decoded, without the query.
    pub path: String,
    /// Query parameters, percent-decoded, in order.
    pub query: Vec<(String, String)>,
    /// Header fields: lower-case name, value.
    pub headers: Vec<(String, String)>,
    /// Content-Length, when the client declared one.
    pub content_length: Option<u64>,
    /// The body, straight from the client: decoded, capped, under stall and total deadlines.
    pub body: Box<dyn Read + Send>,
    /// Fires when the client leaves or the server's grace period is over.
    pub cancel: Cancel,
    /// Fires when the server starts to drain: idle streams should end themselves.
    pub draining: Cancel,
    /// Whether a bearer token was required and given (false where none is configured or the path is open).
    pub authenticated: bool,
}

/// Why a body could not be read whole.
#[derive(Debug)]
pub enum BodyError {
    /// More bytes than the configured limit: 413.
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// No byte within the stall deadline, or the total deadline passed: 408.
    TimedOut,
    /// The client went away or framed the body wrongly: 400.
    Broken(std::io::Error),
}

impl Request {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The first query parameter of this name.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}
