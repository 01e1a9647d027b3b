//! Messages to the client. Each transport implements [`MessageSender`]; calls do not know which transport they have.

use crate::cancel::Cancel;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use serde_json::Value;

/// Sends messages to one client.
pub(super) trait MessageSender: Send + Sync {
    /// Sends a notification. Never blocks; may drop it when the client reads too slowly.
    fn notify(&self, notification: Value);
    /// Sends the response to a request. May block until the client has read earlier messages.
    fn respond(&self, response: Value);
    /// Sends responses that are there at the same time. May block as [`MessageSender::respond`] does.
    fn respond_all(&self, responses: Vec<Value>) {
        for response in responses {
            self.respond(response);
        }
    }
}

/// A message on its way to the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A notification.
    Notification(Value),
    /// A response.
    Response(Value),
}

impl Outgoing {
    /// The message itself.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Notification(value) | Self::Response(value) => value,
        }
    }
}

/// A sender into a bounded channel. While the channel is full, notifications are dropped and responses wait. Both are
/// discarded once the receiver is dropped, or the server has closed. The thread that empties the channel must never send a response into it.
#[derive(Clone, Debug)]
pub(super) struct ChannelSender {
    channel: Sender<Outgoing>,
    closed: Cancel,
}

impl ChannelSender {
    /// A sender and its receiver. The receiver disconnects when the last clone of the sender is dropped.
    pub(super) fn new(capacity: usize) -> (Self, Receiver<Outgoing>) {
        let (channel, receiver) = bounded(capacity);
        let closed = Cancel::new();
        (Self { channel, closed }, receiver)
    }

    /// The same sender, whose responses wait no longer once `closed` has fired.
    #[must_use]
    pub(super) fn until(mut self, closed: Cancel) -> Self {
        self.closed = closed;
        self
    }
}

impl MessageSender for ChannelSender {
    fn notify(&self, notification: Value) {
        let message = Outgoing::Notification(notification);
        if let Err(TrySendError::Full(_)) = self.channel.try_send(message) {
            log::debug!("a notification was dropped: the client does not keep up");
        }
    }

    fn respond(&self, response: Value) {
        let message = Outgoing::Response(response);
        if let Err(TrySendError::Full(message)) = self.channel.try_send(message) {
            // Both end when nobody reads any more: the client has left, or the server has closed.
            select! {
                send(self.channel, message) -> _ => {}
                recv(self.closed.done()) -> _ => {}
            }
        }
    }
}
