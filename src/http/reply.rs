//! A reply as handlers make it.

use crate::problem::{PROBLEM_JSON, Problem};
use serde::Serialize;
use std::io;

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
    /// Written piece by piece on the handler's thread; every write reaches the client at once.
    Stream(Box<dyn FnOnce(&mut StreamWriter<'_>) -> io::Result<()> + Send>),
}

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
