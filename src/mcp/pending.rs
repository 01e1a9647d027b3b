//! The responses that a POST to `/mcp` waits for. They become a JSON reply if they come soon and no notification comes
//! first, else an event stream.

use super::calls::RunningCalls;
use super::outgoing::Outgoing;
use super::post;
use crate::cancel::Cancel;
use crate::http::{Accept, EVENT_STREAM, KEEP_ALIVE, Reply, StreamWriter};
use crossbeam_channel::{Receiver, after, never};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The representations that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// JSON only.
    Json,
    /// Event streams only.
    Stream,
    /// Both.
    Both,
}

impl Accepted {
    /// Reads an `Accept` header; a missing one accepts JSON. `None`: the client accepts neither.
    pub(super) fn from_header(header: Option<&str>) -> Option<Self> {
        let accept = Accept::parse(header.unwrap_or("application/json"));
        let json = accept.contains(&["application/json", "application/*", "*/*"]);
        // A bare `*/*`, as curl sends it, does not ask for a stream.
        let stream = accept.contains(&[EVENT_STREAM, "text/*"]);
        match (json, stream) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Json),
            (false, true) => Some(Self::Stream),
            (false, false) => None,
        }
    }
}

/// What [`PendingResponses::wait`] ended with.
pub(super) enum Waited {
    /// All responses, in the order they came. Fewer than requests if the client cancelled some.
    Responses(Vec<Value>),
    /// An event stream, which writes the responses as they come.
    Stream(Reply),
    /// The client has left.
    Disconnected,
}

/// Responses that a POST waits for.
pub(super) struct PendingResponses {
    /// Responses that are there already.
    pub ready: Vec<Value>,
    /// Responses and notifications, from the threads of running calls. Disconnects when no call is left that could send one.
    pub messages: Receiver<Outgoing>,
    /// The number of responses still to come through `messages`.
    pub missing: usize,
    /// Fires when the client has left.
    pub disconnected: Cancel,
    /// Longest time without a byte on the event stream.
    pub keep_alive: Duration,
    /// The calls to cancel when this is dropped, which also happens when the client leaves.
    pub cancel_on_drop: Option<Arc<RunningCalls>>,
}

impl Drop for PendingResponses {
    fn drop(&mut self) {
        if let Some(calls) = &self.cancel_on_drop {
            calls.close();
        }
    }
}

impl PendingResponses {
    /// Blocks until all responses are there, the client has left, or it is time for an event stream: at once if the
    /// client accepts nothing else and there is something to send; at the first notification or after `stream_after` if it
    /// accepts both.
    pub(super) fn wait(mut self, accepted: Accepted, stream_after: Duration) -> Waited {
        let is_silent = self.missing == 0 && self.ready.is_empty();
        if accepted == Accepted::Stream && !is_silent {
            return Waited::Stream(self.into_stream());
        }
        let timeout = match accepted {
            Accepted::Both => after(stream_after),
            _ => never(),
        };
        while self.missing > 0 {
            let message = crossbeam_channel::select! {
                recv(self.messages) -> message => message,
                recv(self.disconnected.done()) -> _ => return Waited::Disconnected,
                recv(timeout) -> _ => return Waited::Stream(self.into_stream()),
            };
            match message {
                Ok(Outgoing::Response(response)) => {
                    self.ready.push(response);
                    self.missing -= 1;
                }
                Ok(Outgoing::Notification(notification)) if accepted == Accepted::Both => {
                    self.ready.push(notification);
                    return Waited::Stream(self.into_stream());
                }
                // A JSON reply has no place for notifications.
                Ok(Outgoing::Notification(_)) => {}
                // The client cancelled the remaining requests.
                Err(_) => break,
            }
        }
        Waited::Responses(std::mem::take(&mut self.ready))
    }

    fn into_stream(self) -> Reply {
        Reply::stream(EVENT_STREAM, move |writer| self.write(writer))
    }

    /// Writes what is ready, then messages until every response is written or the client has left.
    fn write(mut self, writer: &mut StreamWriter<'_>) -> io::Result<()> {
        for message in std::mem::take(&mut self.ready) {
            writer.send(&post::event(&message))?;
        }
        while self.missing > 0 {
            crossbeam_channel::select! {
                recv(self.messages) -> message => match message {
                    Ok(message) => {
                        if matches!(message, Outgoing::Response(_)) {
                            self.missing -= 1;
                        }
                        writer.send(&post::event(&message.into_value()))?;
                    }
                    // The client cancelled the remaining requests.
                    Err(_) => return Ok(()),
                },
                recv(self.disconnected.done()) -> _ => return Ok(()),
                default(self.keep_alive) => writer.send(KEEP_ALIVE)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_decides_between_json_and_stream() {
        for (header, expected) in [
            (None, Some(Accepted::Json)),
            (Some("*/*"), Some(Accepted::Json)),
            (Some("application/json"), Some(Accepted::Json)),
            (
                Some("application/json, text/event-stream"),
                Some(Accepted::Both),
            ),
            (
                Some("Text/Event-Stream;q=0.9,application/json"),
                Some(Accepted::Both),
            ),
            (Some("text/event-stream"), Some(Accepted::Stream)),
            (Some("text/html"), None),
        ] {
            assert_eq!(Accepted::from_header(header), expected, "{header:?}");
        }
    }
}
