//! Which volumes are removed, from `GET /events`.
use super::call::{Call, Timeouts};
use super::client::Client;
use super::error::Error;
use serde::Deserialize;
use std::io::BufReader;
use std::time::Duration;
use ureq::http::Method;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Actor", default)]
    actor: Actor,
}

impl Client {
    /// `GET /events?filters={"type":["volume"],"event":["destroy"]}`: names of the volumes that are removed from now on. The event
    /// does not say their labels. Iterating blocks; it ends when the engine ends the stream or sends nothing for `silence`.
    pub fn volume_removals(
        &self,
        silence: Duration,
    ) -> Result<impl Iterator<Item = String> + use<>, Error> {
        let filters = serde_json::json!({ "type": ["volume"], "event": ["destroy"] });
        let call = Call::new("volume_removals", Method::GET, "/events".into())
            .query("filters", &filters.to_string())
            .timeouts(Timeouts::UntilHeadThenPerRead(silence));
        let events = BufReader::new(self.send(call)?.into_stream());
        let events = serde_json::Deserializer::from_reader(events).into_iter::<Event>();
        Ok(events.map_while(|event| Some(event.ok()?.actor.id)))
    }
}
