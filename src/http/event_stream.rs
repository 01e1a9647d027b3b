//! Server-sent events: the framing of `text/event-stream`.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::fmt::Display;

/// The media type of an event stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// A comment, which clients ignore. Sent on an idle stream so that proxies do not close it.
pub const KEEP_ALIVE: &[u8] = b": keepalive\n\n";

/// One event. No field may contain a line break: the caller passes compact JSON or a path.
pub struct ServerSentEvent<'a> {
    /// What a client sends back as `Last-Event-ID` to resume after this event. `None`: the event has no `id` line.
    pub id: Option<&'a str>,
    /// The event's type.
    pub event: &'a str,
    /// The event's data.
    pub data: &'a dyn Display,
}

impl ServerSentEvent<'_> {
    /// The event's lines and the empty line that ends it.
    pub fn encode(&self) -> Vec<u8> {
        let Self { id, event, data } = self;
        match id {
            Some(id) => format!("id: {id}\nevent: {event}\ndata: {data}\n\n"),
            None => format!("event: {event}\ndata: {data}\n\n"),
        }
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_lines_and_an_empty_line() {
        let mut event = ServerSentEvent {
            id: None,
            event: "message",
            data: &"{}",
        };
        assert_eq!(event.encode(), b"event: message\ndata: {}\n\n");
        event.id = Some("7");
        assert_eq!(event.encode(), b"id: 7\nevent: message\ndata: {}\n\n");
    }
}
