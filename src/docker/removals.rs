//! Which containers are removed, from `GET /events`.
use super::call::{Call, Timeouts};
use super::client::Client;
use super::error::Error;
use super::types::Labels;
use serde::Deserialize;
use std::io::BufReader;
use std::time::Duration;
use ureq::http::Method;

/// A container that was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RemovedContainer {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its labels, among other attributes such as its name.
    #[serde(rename = "Attributes")]
    pub labels: Labels,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Actor", default)]
    actor: RemovedContainer,
}

impl Client {
    /// `GET /events?filters={"event":["destroy"],"label":[…]}`: the containers with all of `labels` (`key` or `key=value`) that
    /// are removed from now on. Iterating blocks; it ends when the engine ends the stream or sends nothing for `silence`.
    pub fn container_removals(
        &self,
        labels: &[String],
        silence: Duration,
    ) -> Result<impl Iterator<Item = RemovedContainer> + use<>, Error> {
        let filters =
            serde_json::json!({ "type": ["container"], "event": ["destroy"], "label": labels });
        let call = Call::new("container_removals", Method::GET, "/events".into())
            .query("filters", &filters.to_string())
            .timeouts(Timeouts::UntilHeadThenPerRead(silence));
        let events = BufReader::new(self.send(call)?.into_stream());
        let events = serde_json::Deserializer::from_reader(events).into_iter::<Event>();
        Ok(events.map_while(|event| Some(event.ok()?.actor)))
    }
}
