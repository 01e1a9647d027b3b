//! Where answers and notifications for one peer go. Transports implement it; calls do not know which one they have.

use super::jsonrpc;
use super::protocol::Level;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde_json::{Value, json};
use std::sync::Arc;

/// The way back to a peer. Neither method may block a run for long.
pub(super) trait MessageSender: Send + Sync {
    /// Something on the way. May be dropped when the peer does not keep up.
    fn notify(&self, notification: Value);
    /// The one answer to a request.
    fn respond(&self, response: Value);
}

/// Something for a peer.
#[derive(Debug)]
pub(super) enum Item {
    /// A notification.
    Notification(Value),
    /// A response.
    Response(Value),
}

impl Item {
    /// The message.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Notification(value) | Self::Response(value) => value,
        }
    }
}

/// An sender into a bounded channel: notifications are dropped when it is full, responses wait for room, and both
/// for nothing once the reader is gone.
#[derive(Clone, Debug)]
pub(super) struct ChannelSender {
    sender: Sender<Item>,
}

impl ChannelSender {
    /// A pipe and its reading end, which disconnects when the last clone is gone.
    pub(super) fn new(capacity: usize) -> (Self, Receiver<Item>) {
        let (sender, receiver) = bounded(capacity);
        (Self { sender }, receiver)
    }
}

impl MessageSender for ChannelSender {
    fn notify(&self, notification: Value) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Item::Notification(notification)) {
            log::debug!("a notification was dropped: the client does not keep up");
        }
    }

    fn respond(&self, response: Value) {
        // An error means that nobody reads any more, and so nobody wants it.
        let _ = self.sender.send(Item::Response(response));
    }
}

/// Log messages for a peer, filtered by what it wants.
#[derive(Clone)]
pub(super) struct Journal {
    sender: Arc<dyn MessageSender>,
    threshold: Option<Level>,
}

impl Journal {
    /// A journal that tells messages of `threshold` and worse; none at all without one.
    pub(super) fn new(sender: Arc<dyn MessageSender>, threshold: Option<Level>) -> Self {
        Self { sender, threshold }
    }

    /// Tells one message.
    pub(super) fn tell(&self, level: Level, text: &str) {
        if self.threshold.is_some_and(|threshold| level >= threshold) {
            let params =
                json!({"level": level.name(), "logger": "oneoff-docker-runner", "data": text});
            self.sender
                .notify(jsonrpc::notification("notifications/message", params));
        }
    }
}
