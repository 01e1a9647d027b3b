//! Why a request body could not be read, and the problem that answers it.

use crate::problem::Problem;
use std::fmt;
use std::io;

/// Why a request body could not be read to its end.
///
/// Passes through [`io::Read`] inside an [`io::Error`]; `BodyError::from` takes it out again.
#[derive(Debug)]
pub enum BodyError {
    /// More bytes than the configured limit: 413.
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// No byte within the stall deadline, or too slow in all: 408.
    TimedOut,
    /// The memory budget is used up: 429.
    OutOfMemory,
    /// The client left, or the framing is malformed: 400.
    Broken(io::Error),
}

impl BodyError {
    /// The problem for this error. With [`BodyError::OutOfMemory`] the response also needs a `Retry-After` field.
    pub fn to_problem(&self) -> Problem {
        match self {
            Self::TooLarge { limit_bytes } => Problem::new(
                413,
                "body_too_large",
                format!("the request body is larger than the limit of {limit_bytes} bytes"),
            ),
            Self::TimedOut => Problem::new(408, "body_timeout", self.to_string()),
            Self::OutOfMemory => Problem::new(429, "too_many_bodies", self.to_string()),
            Self::Broken(error) => Problem::new(
                400,
                "bad_body",
                format!("the request body could not be read: {error}"),
            ),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { .. } => f.write_str("the request body is larger than the limit"),
            Self::TimedOut => f.write_str("the request body did not arrive in time"),
            Self::OutOfMemory => f.write_str("there is no memory for this request just now: other requests and answers use it (RUNNER_MAX_BODY_MEMORY)"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<io::Error> for BodyError {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Broken)
    }
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            BodyError::TimedOut => io::ErrorKind::TimedOut,
            BodyError::OutOfMemory => io::ErrorKind::OutOfMemory,
            BodyError::Broken(error) => return error,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_passes_through_io_unchanged() {
        for (error, status) in [
            (BodyError::TooLarge { limit_bytes: 7 }, 413),
            (BodyError::TimedOut, 408),
            (BodyError::OutOfMemory, 429),
            (BodyError::Broken(io::ErrorKind::UnexpectedEof.into()), 400),
        ] {
            let problem = error.to_problem();
            assert_eq!(problem.status, status);
            let passed = BodyError::from(io::Error::from(error));
            assert_eq!(passed.to_problem(), problem);
        }
    }
}
