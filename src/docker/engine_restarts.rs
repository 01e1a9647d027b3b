//! Whether the engine was restarted, from `GET /events`.
use super::call::{Call, Timeouts};
use super::client::Client;
use super::error::Error;
use serde::Deserialize;
use std::io::BufReader;
use std::time::Duration;
use ureq::http::Method;

/// The engine keeps 256 events in memory, and none from before its own start. With less than this it has forgotten none, whatever
/// came between the moment that is asked about and the call.
const FEW_EVENTS: usize = 128;
/// How long to wait for the next past event.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
}

impl Client {
    /// `GET /events?since=1&until={now_millis}`. Whether the engine was restarted since it started this container, because it does not
    /// remember the start although it has not begun to forget. `now_millis` is its clock, in milliseconds since 1970. False if
    /// that cannot be known; Podman keeps its events elsewhere.
    pub fn has_restarted_since_start(
        &self,
        container: &str,
        now_millis: u64,
    ) -> Result<bool, Error> {
        if self.is_podman()? {
            return Ok(false);
        }
        let now = format!("{}.{:03}000000", now_millis / 1000, now_millis % 1000);
        let call = Call::new("has_restarted", Method::GET, "/events".into())
            .query("since", "1")
            .query("until", &now)
            .timeouts(Timeouts::UntilHeadThenPerRead(SILENCE));
        let events = BufReader::new(self.send(call)?.into_stream());
        let events = serde_json::Deserializer::from_reader(events).into_iter::<Event>();
        let mut count = 0;
        for event in events.map_while(Result::ok) {
            count += 1;
            if event.action == "start" && event.actor.id == container {
                return Ok(false);
            }
        }
        Ok(count < FEW_EVENTS)
    }
}
