//! What the server remembers of a client between its messages.

use super::calls::RunningCalls;
use super::jsonrpc::Rejection;
use super::logging::LoggingLevel;
use super::protocol::Revision;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of one client: of a session, of a stdio connection, or of a single request without a session.
#[derive(Debug)]
pub(super) struct ClientState {
    /// The client's running tool calls.
    pub calls: Arc<RunningCalls>,
    revision: Mutex<Option<Revision>>,
    log_level: Mutex<LoggingLevel>,
}

impl ClientState {
    /// A client that has not sent `initialize` yet.
    pub(super) fn new(calls: RunningCalls) -> Self {
        Self {
            calls: Arc::new(calls),
            revision: Mutex::new(None),
            log_level: Mutex::new(LoggingLevel::Warning),
        }
    }

    /// The revision that `initialize` negotiated; `None` before it.
    pub(super) fn revision(&self) -> Option<Revision> {
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the negotiated revision.
    pub(super) fn set_revision(&self, revision: Revision) {
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
    }

    /// Errors: the negotiated revision has no batches, or none was negotiated.
    pub(super) fn check_batch(&self) -> Result<(), Rejection> {
        match self.revision() {
            Some(revision) if revision.has_batches() => Ok(()),
            _ => Err(Rejection::batch_not_supported()),
        }
    }

    /// The minimum severity of log messages that the client wants: `warning` until `logging/setLevel`.
    pub(super) fn log_level(&self) -> LoggingLevel {
        *self
            .log_level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the level of a `logging/setLevel`.
    pub(super) fn set_log_level(&self, level: LoggingLevel) {
        *self
            .log_level
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = level;
    }
}
