//! The one way to call the engine, and the one place where a failed call becomes an [`Error`].
use super::Host;

/// A client of one engine. Clones share connections.
#[derive(Clone)]
pub struct Client {}

impl Client {
    /// Prepares a client; no call is made yet. `api_version` overrides negotiation. Errors: unreadable PEM files.
    pub fn new(host: Host, api_version: Option<String>) -> Result<Self, Error> {
        let _ = (host, api_version);
        unimplemented!()
    }
}

/// Why an engine call failed. `call` is the method's name, such as `container_create`.
#[derive(Debug, Clone)]
pub enum Error {
    /// The engine cannot be reached; `detail` says why and gives advice.
    Unreachable {
        /// method name
        call: &'static str,
        /// reason and advice
        detail: String,
    },
    /// The engine did not answer within the call's deadline.
    TimedOut {
        /// method name
        call: &'static str,
        /// seconds
        timeout_secs: u64,
    },
    /// The engine answered with an error status.
    Status {
        /// method name
        call: &'static str,
        /// HTTP status
        status: u16,
        /// the engine's `message`
        message: String,
    },
    /// The answer was cut or is not what the Engine API promises.
    Malformed {
        /// method name
        call: &'static str,
        /// what was wrong
        detail: String,
    },
    /// Reading what the caller wanted sent failed (the source's fault, not the engine's).
    Source {
        /// method name
        call: &'static str,
        /// the source's error
        detail: String,
    },
}
