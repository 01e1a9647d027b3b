//! A run's events on the wire: server-sent events or lines of JSON, and which of them a client wants. A streamed run is
//! the plain one with another sink; a reader that is slow slows its own container and nothing else.

use super::problems;
use crate::http::{Reply, Request, StreamWriter};
use crate::problem::Problem;
use crate::runner::{Encoding, Error, Event, RunResult, RunSpec, Runner, Sink};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use serde_json::json;
use std::io;
use std::time::Duration;

/// A silent stream says that often that it is alive.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that may wait for the client to read on, of at most 32 KiB each.
const BACKLOG: usize = 16;

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In one piece.
    Json,
    /// As `text/event-stream`.
    Sse,
    /// As `application/x-ndjson`.
    Ndjson,
}

impl Delivery {
    /// The best that an `Accept` field (RFC 9110 §12.5.1) names: by quality, then by how exactly it is named. JSON for
    /// one that names none of ours.
    pub(super) fn wanted(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        let offers = [
            (Self::Ndjson, "application/x-ndjson"),
            (Self::Sse, "text/event-stream"),
            (Self::Json, "application/json"),
        ];
        let ranked = offers
            .into_iter()
            .map(|(delivery, media_type)| (rank(accept, media_type), delivery));
        match ranked.max_by_key(|(rank, _)| *rank) {
            Some(((quality, _), delivery)) if quality > 0 => delivery,
            _ => Self::Json,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// A reply of this delivery's type.
    pub(super) fn reply(
        self,
        write: impl FnOnce(&mut StreamWriter<'_>) -> io::Result<()> + Send + 'static,
    ) -> Reply {
        Reply::stream(self.media_type(), write)
    }

    /// One event; `id` is what a client may resume after.
    pub(super) fn frame(self, told: &Told, id: Option<&str>) -> Vec<u8> {
        let Told { name, json } = told;
        match (self, id) {
            (Self::Sse, Some(id)) => format!("id: {id}\nevent: {name}\ndata: {json}\n\n"),
            (Self::Sse, None) => format!("event: {name}\ndata: {json}\n\n"),
            (_, Some(id)) => ndjson(&format!("\"event\":\"{name}\",\"event_id\":\"{id}\""), json),
            (_, None) => ndjson(&format!("\"event\":\"{name}\""), json),
        }
        .into_bytes()
    }

    /// What a silent stream says.
    pub(super) fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Sse => b": keepalive\n\n",
            Self::Json | Self::Ndjson => b"",
        }
    }
}

/// The object with more members at its front, and the end of the line.
fn ndjson(members: &str, object: &str) -> String {
    let rest = object.strip_prefix('{').unwrap_or("}");
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!("{{{members}{comma}{rest}\n")
}

/// Quality in thousandths and exactness of the range that names the type most exactly.
fn rank(accept: &str, media_type: &str) -> (u32, u32) {
    let (kind, _) = media_type.split_once('/').unwrap_or_default();
    let rank_of = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let exactness = match name.as_str() {
            "*/*" => 1,
            name if name == media_type => 3,
            name if name.strip_suffix("/*") == Some(kind) => 2,
            _ => return None,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
            .map_or(Some(1.0), |q| q.trim().parse::<f64>().ok());
        let quality = quality.unwrap_or(0.0).clamp(0.0, 1.0);
        Some((exactness, (quality * 1000.0) as u32))
    };
    let best = accept.split(',').filter_map(rank_of).max();
    best.map_or((0, 0), |(exactness, quality)| (quality, exactness))
}

/// An event as it is told: its name and its object.
pub(super) struct Told {
    name: &'static str,
    json: String,
}

impl Told {
    fn new(name: &'static str, value: &impl Serialize) -> Self {
        let json = serde_json::to_string(value).unwrap_or_else(|_| "{}".into());
        Self { name, json }
    }

    /// An event of the run with this id, whose output is told in this encoding.
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

    /// So many events of the past are not kept any more.
    pub(super) fn skipped(events: u64) -> Self {
        Self::new("skipped", &json!({"events": events}))
    }

    /// The last event: what the plain answer's body would have been.
    pub(super) fn outcome(outcome: Result<&RunResult, &Error>) -> Self {
        match outcome {
            Ok(result) => Self::new("result", result),
            Err(error) => Self::new("error", &problems::problem(error)),
        }
    }
}

/// What the run's thread says to the client's.
enum Message {
    Event(Event),
    Ended(Box<Result<RunResult, Error>>),
}

struct Teller(Sender<Message>);

impl Sink for Teller {
    fn event(&self, event: Event) {
        // Nobody listens any more: then the run's cancel has fired, too.
        let _ = self.0.send(Message::Event(event));
    }
}

/// Runs and tells. What fails before there is anything to tell is answered as it is without a stream.
pub(super) fn run(runner: &Runner, request: &Request, spec: RunSpec, delivery: Delivery) -> Reply {
    let (sender, messages) = bounded(BACKLOG);
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
            let outcome = runner.run(spec, &running, &Teller(sender.clone()));
            let _ = sender.send(Message::Ended(Box::new(outcome)));
        });
    if let Err(error) = spawned {
        let error = Error::Engine(format!("no thread for the run: {error}"));
        return problems::reply(&error);
    }
    let first = messages.recv_timeout(KEEP_ALIVE);
    if let Ok(Message::Ended(outcome)) = &first
        && let Err(error) = outcome.as_ref()
    {
        return problems::reply(error);
    }
    let live = Live {
        delivery,
        id,
        encoding,
        messages,
    };
    delivery.reply(move |writer| {
        // Without a reader the run is in vain.
        live.write(first, writer).inspect_err(|_| cancel.fire())
    })
}

/// A run on its way to one client.
struct Live {
    delivery: Delivery,
    id: String,
    encoding: Encoding,
    messages: Receiver<Message>,
}

impl Live {
    fn write(
        self,
        mut next: Result<Message, RecvTimeoutError>,
        writer: &mut StreamWriter<'_>,
    ) -> io::Result<()> {
        loop {
            let told = match &next {
                Ok(Message::Event(event)) => Told::event(event, &self.id, self.encoding),
                Ok(Message::Ended(outcome)) => {
                    let told = Told::outcome(outcome.as_ref().as_ref());
                    return writer.send(&self.delivery.frame(&told, None));
                }
                Err(RecvTimeoutError::Timeout) => {
                    writer.send(self.delivery.keep_alive())?;
                    next = self.messages.recv_timeout(KEEP_ALIVE);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let words = "the run met a fault of the service; its log says more";
                    let told = Told::new("error", &Problem::new(500, "internal", words));
                    return writer.send(&self.delivery.frame(&told, None));
                }
            };
            writer.send(&self.delivery.frame(&told, None))?;
            next = self.messages.recv_timeout(KEEP_ALIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_field_chooses_and_json_is_for_everyone_else() {
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
        let told = Told::event(&Event::Stdout(b"a\nb".to_vec()), "r", Encoding::Utf8);
        let frame =
            |delivery: Delivery, id| String::from_utf8_lossy(&delivery.frame(&told, id)).into();
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
        assert_eq!(ndjson("\"event\":\"x\"", "{}"), "{\"event\":\"x\"}\n");
    }
}
