//! A request as handlers see it. Knows nothing of sockets: the body is a reader that somebody else bounds.

use super::Reply;
use crate::cancel::Cancel;
use crate::edge::{BodyFault, BodyReservation};
use crate::problem::Problem;
use std::io::{self, Read};

/// Memory reserved for a body before its bytes are there: a declared length is only a claim.
const MAX_RESERVED_BYTES: usize = 64 * 1024 * 1024;

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
    /// The memory that the body takes up, to be kept as long as anything that was in it is; see [`Request::take_room`].
    pub room: Option<BodyReservation>,
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
    /// Other bodies take up the memory that there is for them: 429.
    NoRoom,
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

    /// Lets go of the body, which was read; gives the memory that it takes up to whoever keeps what was in it.
    pub fn take_room(&mut self) -> Option<BodyReservation> {
        self.body = Box::new(io::empty());
        self.room.take()
    }

    /// Reads the whole body, into a buffer of exactly its size when that was declared.
    pub fn read_body(&mut self) -> Result<Vec<u8>, BodyError> {
        let declared = usize::try_from(self.content_length.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut whole = Vec::new();
        while whole.len() < declared {
            // Doubles at most: what is reserved was matched by bytes that came.
            let step = (declared - whole.len()).min(MAX_RESERVED_BYTES.max(whole.len()));
            whole.reserve_exact(step);
            let mut piece = self.body.by_ref().take(step as u64);
            if piece.read_to_end(&mut whole).map_err(BodyError::from)? == 0 {
                return Err(BodyError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if self.content_length.is_none() {
            self.body.read_to_end(&mut whole).map_err(BodyError::from)?;
        }
        Ok(whole)
    }
}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        match BodyFault::of(&error) {
            Some(BodyFault::TooLarge { limit_bytes }) => Self::TooLarge { limit_bytes },
            Some(BodyFault::TimedOut) => Self::TimedOut,
            Some(BodyFault::NoRoom) => Self::NoRoom,
            None => Self::Broken(error),
        }
    }
}

impl BodyError {
    /// The same, and when to come back if that helps.
    pub fn to_reply(&self) -> Reply {
        let reply = Reply::problem(&self.to_problem());
        match self {
            Self::NoRoom => reply.with_header("Retry-After", "1".to_owned()),
            _ => reply,
        }
    }

    /// The answer to a request whose body could not be read.
    pub fn to_problem(&self) -> Problem {
        match self {
            Self::TooLarge { limit_bytes } => Problem::new(
                413,
                "body_too_large",
                format!("the request body is larger than the limit of {limit_bytes} bytes"),
            ),
            Self::TimedOut => Problem::new(
                408,
                "body_timeout",
                "the request body did not arrive in time",
            ),
            Self::NoRoom => Problem::new(429, "too_many_bodies", BodyFault::NoRoom.to_string()),
            Self::Broken(error) => Problem::new(
                400,
                "bad_body",
                format!("the request body could not be read: {error}"),
            ),
        }
    }
}
