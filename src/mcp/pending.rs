//! One POST to `/mcp` and its answer: JSON when it is there soon and nothing is told on the way, else an event stream.

use super::calls::Calls;
use super::outgoing::{ChannelSender, Item, MessageSender};
use super::{Mcp, post};
use crate::cancel::Cancel;
use crate::http::{Accept, EVENT_STREAM, KEEP_ALIVE, Reply, Request, StreamWriter};
use crossbeam_channel::{Receiver, after, never};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Messages that may wait for a slow reader.
const CAPACITY: usize = 64;

/// What a client that leaves means for its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Nothing: it cancels by notification.
    Ignored,
    /// They are cancelled.
    Cancels,
}

/// What a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    /// JSON only.
    Json,
    /// Event streams only.
    Stream,
    /// Both.
    Both,
}

/// What an `Accept` header means; a missing one takes JSON. `None`: nothing we have.
pub(super) fn accepts(header: Option<&str>) -> Option<Accepts> {
    let accept = Accept::parse(header.unwrap_or("application/json"));
    let json = accept.contains(&["application/json", "application/*", "*/*"]);
    // A bare `*/*`, as curl sends it, is no wish for a stream.
    let stream = accept.contains(&["text/event-stream", "text/*"]);
    match (json, stream) {
        (true, true) => Some(Accepts::Both),
        (true, false) => Some(Accepts::Json),
        (false, true) => Some(Accepts::Stream),
        (false, false) => None,
    }
}

/// How an exchange went.
pub(super) enum Answer {
    /// All responses, in the order they came.
    Whole(Vec<Value>),
    /// They come as events.
    Stream(Reply),
    /// The client left.
    Gone,
}

/// A POST that waits for its responses.
pub(super) struct PendingResponses {
    pipe: Option<ChannelSender>,
    rest: Rest,
    accepts: Accepts,
    patience: Duration,
}

/// What is still to come, and how it is cancelled.
struct Rest {
    items: Receiver<Item>,
    missing: usize,
    client: Cancel,
    keep_alive: Duration,
    cancels: Option<Arc<Calls>>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(calls) = &self.cancels {
            calls.close();
        }
    }
}

impl PendingResponses {
    /// An exchange that waits for `expected` responses.
    pub(super) fn new(mcp: &Mcp, request: &Request, expected: usize) -> Self {
        let (pipe, items) = ChannelSender::new(CAPACITY);
        Self {
            pipe: Some(pipe),
            rest: Rest {
                items,
                missing: expected,
                client: request.cancel.clone(),
                keep_alive: mcp.settings().keep_alive,
                cancels: None,
            },
            accepts: accepts(request.header("accept")).unwrap_or(Accepts::Json),
            patience: mcp.settings().patience,
        }
    }

    /// Says what it means for these calls when the client leaves.
    pub(super) fn hangup(&mut self, hangup: Hangup, calls: &Arc<Calls>) {
        self.rest.cancels = match hangup {
            Hangup::Ignored => None,
            Hangup::Cancels => Some(Arc::clone(calls)),
        };
    }

    /// Where the calls answer to.
    pub(super) fn sender(&mut self) -> Arc<dyn MessageSender> {
        match self.pipe.take() {
            Some(pipe) => Arc::new(pipe),
            None => Arc::new(ChannelSender::new(1).0),
        }
    }

    /// Waits for the responses, or until it is time to stream them.
    pub(super) fn wait(mut self) -> Answer {
        if self.accepts == Accepts::Stream {
            return Answer::Stream(self.stream(Vec::new()));
        }
        let mut responses = Vec::new();
        let patience = match self.accepts {
            Accepts::Both => after(self.patience),
            _ => never(),
        };
        loop {
            let item = crossbeam_channel::select! {
                recv(self.rest.items) -> item => item,
                recv(self.rest.client.done()) -> _ => return Answer::Gone,
                recv(patience) -> _ => return Answer::Stream(self.stream(responses)),
            };
            match item {
                Ok(Item::Response(response)) => {
                    responses.push(response);
                    self.rest.missing -= 1;
                    if self.rest.missing == 0 {
                        return Answer::Whole(responses);
                    }
                }
                Ok(Item::Notification(told)) if self.accepts == Accepts::Both => {
                    responses.push(told);
                    return Answer::Stream(self.stream(responses));
                }
                // A client that takes JSON only cannot be told.
                Ok(Item::Notification(_)) => {}
                Err(_) => return Answer::Whole(responses),
            }
        }
    }

    fn stream(self, first: Vec<Value>) -> Reply {
        let rest = self.rest;
        Reply::stream(EVENT_STREAM, move |writer| rest.write(writer, &first))
    }
}

impl Rest {
    /// Writes events until every response is out or the client is gone.
    fn write(mut self, writer: &mut StreamWriter<'_>, first: &[Value]) -> io::Result<()> {
        for message in first {
            writer.send(&post::event(message))?;
        }
        while self.missing > 0 {
            crossbeam_channel::select! {
                recv(self.items) -> item => match item {
                    Ok(item) => {
                        if matches!(item, Item::Response(_)) {
                            self.missing -= 1;
                        }
                        writer.send(&post::event(&item.into_value()))?;
                    }
                    // Withdrawn: nothing more comes.
                    Err(_) => return Ok(()),
                },
                recv(self.client.done()) -> _ => return Ok(()),
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
    fn what_a_client_takes_is_what_its_accept_header_says() {
        for (header, expected) in [
            (None, Some(Accepts::Json)),
            (Some("*/*"), Some(Accepts::Json)),
            (Some("application/json"), Some(Accepts::Json)),
            (
                Some("application/json, text/event-stream"),
                Some(Accepts::Both),
            ),
            (
                Some("Text/Event-Stream;q=0.9,application/json"),
                Some(Accepts::Both),
            ),
            (Some("text/event-stream"), Some(Accepts::Stream)),
            (Some("text/html"), None),
        ] {
            assert_eq!(accepts(header), expected, "{header:?}");
        }
    }
}
