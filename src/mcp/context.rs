//! The one context of a request, from the transport down to the tool.

use super::client::ClientState;
use super::logging::ClientLog;
use super::outgoing::MessageSender;
use super::progress::Progress;
use super::protocol::Era;
use crate::cancel::Cancel;
use crate::memory::Reservation;
use std::sync::Arc;

/// What a request is answered with. A transport makes one per connection or POST with [`CallContext::new`]; each
/// request gets a copy of its own from [`CallContext::for_request`].
#[derive(Clone)]
pub(super) struct CallContext {
    /// The client that sent the request.
    pub client: Arc<ClientState>,
    /// Where notifications and the response go.
    pub sender: Arc<dyn MessageSender>,
    /// Memory of the HTTP body that carried the request; given back when the last copy is dropped.
    pub body: Option<Reservation>,
    /// Memory of the answers of an HTTP request; given back when they are sent. `None`: the transport bounds them itself.
    pub answer: Option<Reservation>,
    /// The era the request is written in.
    pub era: Era,
    /// Fires when the response is no longer wanted.
    pub cancel: Cancel,
    /// Where a tool's log messages go. Sends nothing until the dispatcher of `tools/call` has set the minimum severity.
    pub log: ClientLog,
    /// Where a tool reports progress; set by the dispatcher of `tools/call` when the client sent a `progressToken`.
    pub progress: Option<Arc<Progress>>,
}

impl CallContext {
    /// The context of a connection, before any request.
    pub(super) fn new(client: &Arc<ClientState>, sender: Arc<dyn MessageSender>) -> Self {
        Self {
            client: Arc::clone(client),
            log: ClientLog::new(Arc::clone(&sender), None),
            sender,
            body: None,
            answer: None,
            era: Era::Handshake,
            cancel: Cancel::new(),
            progress: None,
        }
    }

    /// The same context, which also holds the memory of an HTTP body.
    #[must_use]
    pub(super) fn with_body(mut self, body: Option<Reservation>) -> Self {
        self.body = body;
        self
    }

    /// The same context, whose answers are taken from this memory.
    #[must_use]
    pub(super) fn with_answer(mut self, answer: Option<Reservation>) -> Self {
        self.answer = answer;
        self
    }

    /// A copy for one request, with a cancel token of its own.
    pub(super) fn for_request(&self, era: Era) -> Self {
        Self {
            era,
            cancel: Cancel::new(),
            ..self.clone()
        }
    }
}
