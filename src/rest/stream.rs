//! Run events as a stream: server-sent events or lines of JSON (NDJSON), as the `Accept` field prefers. A streamed run
//! is a plain run whose events go into a channel; a slow reader slows down its own container and nothing else.

use super::channel_sink::{ChannelSink, Message};
use super::large_event::LargeEvent;
use super::problems;
use crate::http::{
    Accept, EVENT_STREAM, KEEP_ALIVE, Reply, Request, ServerSentEvent, StreamWriter,
};
use crate::problem::Problem;
use crate::runner::{Encoding, Error, Event, RunResult, RunSpec, Runner};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use serde::Serialize;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Longest time without a byte on a stream. After it, [`Delivery::keep_alive`] is sent.
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Events that may wait for a slow reader. Each carries at most 32 KiB of output.
const BACKLOG: usize = 16;

/// The representation of a run that the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// One JSON object when the run has ended.
    Json,
    /// Events as `text/event-stream`.
    Sse,
    /// Events as `application/x-ndjson`.
    Ndjson,
}

impl Delivery {
    /// The delivery that an `Accept` field prefers; JSON when it names none of ours.
    pub(super) fn wanted(accept: Option<&str>) -> Self {
        let accept = Accept::parse(accept.unwrap_or_default());
        // Of equal preferences the last one wins.
        let offers = [Self::Ndjson, Self::Sse, Self::Json];
        let ranked = offers.map(|delivery| (accept.preference(delivery.media_type()), delivery));
        match ranked.into_iter().max_by_key(|(preference, _)| *preference) {
            Some((preference, delivery)) if preference.quality > 0 => delivery,
            _ => Self::Json,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Sse => EVENT_STREAM,
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// A streamed reply with this delivery's media type.
    pub(super) fn reply(
        self,
        write: impl FnOnce(&mut StreamWriter<'_>) -> io::Result<()> + Send + 'static,
    ) -> Reply {
        Reply::stream(self.media_type(), write)
    }

    /// The bytes of one event. `id`: what the client may resume after.
    pub(super) fn frame(self, event: &WireEvent, id: Option<&str>) -> Vec<u8> {
        let WireEvent { name, json } = event;
        match (self, id) {
            (Self::Sse, id) => ServerSentEvent {
                id,
                event: name,
                data: json,
            }
            .encode(),
            (_, Some(id)) => ndjson(&format!("\"event\":\"{name}\",\"event_id\":\"{id}\""), json),
            (_, None) => ndjson(&format!("\"event\":\"{name}\""), json),
        }
    }

    /// The bytes to send on an idle stream; empty where the format has no comments.
    pub(super) fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Sse => KEEP_ALIVE,
            Self::Json | Self::Ndjson => b"",
        }
    }
}

/// One line: `object` with `members` inserted at its front.
fn ndjson(members: &str, object: &str) -> Vec<u8> {
    let rest = object.strip_prefix('{').unwrap_or("}");
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!("{{{members}{comma}{rest}\n").into_bytes()
}

/// An event as clients see it.
pub(super) struct WireEvent {
    name: &'static str,
    /// A compact JSON object.
    json: String,
}

impl WireEvent {
    pub(super) fn new(name: &'static str, value: &impl Serialize) -> Self {
        let json = serde_json::to_string(value).unwrap_or_else(|_| "{}".into());
        Self { name, json }
    }

    /// An event of the run `id`. `encoding` applies to the run's output.
    pub(super) fn event(event: &Event, id: &str, encoding: Encoding) -> Self {
        let data = |bytes: &[u8]| match encoding {
            Encoding::Utf8 => json!({"data": String::from_utf8_lossy(bytes)}),
            Encoding::Base64 => json!({"data": BASE64_STANDARD.encode(bytes)}),
        };
        match event {
            Event::Queued { position } => Self::new("queued", &json!({"position": position})),
            Event::Pull {
                status,
                id,
                current,
                total,
            } => {
                let pull = json!({"status": status, "id": id, "current": current, "total": total});
                Self::new("pull", &pull)
            }
            Event::Started => Self::new("started", &json!({"id": id})),
            Event::Stdout(bytes) => Self::new("stdout", &data(bytes)),
            Event::Stderr(bytes) => Self::new("stderr", &data(bytes)),
        }
    }

    /// A notice that `events` events before it are missing: they are no longer stored, or were not taken in time.
    pub(super) fn skipped(events: u64) -> Self {
        Self::new("skipped", &json!({"events": events}))
    }

    /// The last event of a stream that ends without an outcome.
    pub(super) fn problem(problem: &Problem) -> Self {
        Self::new("error", problem)
    }
}

/// Sends the last event: the body that a plain reply would have had.
pub(super) fn send_outcome(
    outcome: Result<&RunResult, &Error>,
    id: Option<&str>,
    delivery: Delivery,
    writer: &mut StreamWriter<'_>,
) -> io::Result<()> {
    match outcome {
        Ok(object) => {
            let name = "result";
            let event = LargeEvent { name, object, id };
            match delivery {
                Delivery::Sse => event.write_sse(writer),
                Delivery::Json | Delivery::Ndjson => event.write_line(writer),
            }
        }
        Err(error) => {
            let last = WireEvent::problem(&problems::problem(error));
            writer.send(&delivery.frame(&last, id))
        }
    }
}

/// Starts a run on a thread of its own and streams its events. Blocks until the first event, at most
/// [`KEEP_ALIVE_INTERVAL`]: a run that fails before it is answered with a plain problem instead of a stream.
pub(super) fn run(runner: &Runner, request: &Request, spec: RunSpec, delivery: Delivery) -> Reply {
    let (sender, messages) = bounded(BACKLOG);
    let sink = Arc::new(ChannelSink::new(sender));
    let (cancel, id, encoding) = (
        request.cancel.clone(),
        spec.id().to_owned(),
        spec.output_encoding(),
    );
    let runner = runner.clone();
    let running = cancel.clone();
    let spawned = std::thread::Builder::new()
        .name("run".into())
        .spawn(move || {
            let outcome = runner.run(spec, &running, sink.as_ref());
            sink.end(outcome);
        });
    if let Err(error) = spawned {
        let error = Error::Overloaded(format!("no thread for the run: {error}"));
        return problems::reply(&error);
    }
    let first = messages.recv_timeout(KEEP_ALIVE_INTERVAL);
    if let Ok(Message::Ended { outcome, .. }) = &first
        && let Err(error) = outcome.as_ref()
    {
        return problems::reply(error);
    }
    let run = StreamedRun {
        delivery,
        id,
        encoding,
        messages,
    };
    delivery.reply(move |writer| {
        // The client has left: nobody can read the result any more.
        run.write(first, writer).inspect_err(|_| cancel.fire())
    })
}

/// The client's side of a streamed run.
struct StreamedRun {
    delivery: Delivery,
    id: String,
    encoding: Encoding,
    messages: Receiver<Message>,
}

impl StreamedRun {
    /// Writes every event and then the outcome. Errors: the client has left or reads too slowly.
    fn write(
        self,
        mut next: Result<Message, RecvTimeoutError>,
        writer: &mut StreamWriter<'_>,
    ) -> io::Result<()> {
        loop {
            let event = match &next {
                Ok(Message::Event(event)) => WireEvent::event(event, &self.id, self.encoding),
                Ok(Message::Ended { outcome, skipped }) => {
                    if *skipped > 0 {
                        let notice = WireEvent::skipped(*skipped);
                        writer.send(&self.delivery.frame(&notice, None))?;
                    }
                    return send_outcome(outcome.as_ref().as_ref(), None, self.delivery, writer);
                }
                Err(RecvTimeoutError::Timeout) => {
                    writer.send(self.delivery.keep_alive())?;
                    next = self.messages.recv_timeout(KEEP_ALIVE_INTERVAL);
                    continue;
                }
                // The run's thread panicked.
                Err(RecvTimeoutError::Disconnected) => {
                    let words = "the run met a fault of the service; its log says more";
                    let last = WireEvent::problem(&Problem::new(500, "internal", words));
                    return writer.send(&self.delivery.frame(&last, None));
                }
            };
            writer.send(&self.delivery.frame(&event, None))?;
            next = self.messages.recv_timeout(KEEP_ALIVE_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_field_chooses_the_delivery_and_json_is_the_default() {
        use Delivery::{Json, Ndjson, Sse};
        for (accept, delivery) in [
            ("", Json),
            ("*/*", Json),
            ("text/event-stream", Sse),
            ("TEXT/Event-Stream; charset=utf-8", Sse),
            ("application/x-ndjson", Ndjson),
            ("application/*", Json),
            ("text/*", Sse),
            ("application/json, text/event-stream", Json),
            ("text/event-stream, */*", Sse),
            ("text/event-stream;q=0.5, application/x-ndjson", Ndjson),
            ("text/event-stream;q=0.5, application/json;q=0.4", Sse),
            ("text/event-stream;q=0, */*", Json),
            ("text/html, image/png", Json),
            ("text/event-stream;q=nonsense", Json),
        ] {
            assert_eq!(Delivery::wanted(Some(accept)), delivery, "{accept}");
        }
        assert_eq!(Delivery::wanted(None), Json);
    }

    #[test]
    fn an_event_is_one_frame_and_one_line() {
        let event = WireEvent::event(&Event::Stdout(b"a\nb".to_vec()), "r", Encoding::Utf8);
        let frame =
            |delivery: Delivery, id| String::from_utf8_lossy(&delivery.frame(&event, id)).into();
        let frames: [String; 4] = [
            frame(Delivery::Sse, None),
            frame(Delivery::Sse, Some("7")),
            frame(Delivery::Ndjson, None),
            frame(Delivery::Ndjson, Some("7")),
        ];
        assert_eq!(
            frames,
            [
                "event: stdout\ndata: {\"data\":\"a\\nb\"}\n\n",
                "id: 7\nevent: stdout\ndata: {\"data\":\"a\\nb\"}\n\n",
                "{\"event\":\"stdout\",\"data\":\"a\\nb\"}\n",
                "{\"event\":\"stdout\",\"event_id\":\"7\",\"data\":\"a\\nb\"}\n",
            ]
        );
        assert_eq!(ndjson("\"event\":\"x\"", "{}"), b"{\"event\":\"x\"}\n");
    }
}
