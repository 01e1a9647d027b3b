//! How one container ends: told by `GET /events`, and by `wait` where events do not come.
use super::call::{Call, Timeouts};
use super::container::PendingWait;
use super::response::EngineStream;
use super::{Client, Error};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use ureq::http::Method;

const CALL: &str = "container_end";
/// How long an event may be late once the container's output has ended. Later, `wait` is asked: the container may have
/// closed its output and live on, or this engine (or a proxy before it) tells no such events.
const PATIENCE: Duration = Duration::from_secs(2);

/// After so many ends in a row without an event this engine is taken to tell none (Podman does not), and only `wait` is
/// asked.
const ENOUGH_MISSED: u32 = 2;

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// The exit code; 128 + signal where a signal ended it.
    pub exit_code: i64,
    /// Whether the engine told, before the end, that a process was killed for want of memory. It may still come to know.
    pub oom_killed: bool,
}

/// A container's end, watched since before its start; [`PendingExit::finish`] blocks for it.
pub struct PendingExit {
    client: Client,
    container: String,
    source: Source,
}

enum Source {
    Events(BufReader<EngineStream>),
    /// The engine does not let us listen.
    Wait(PendingWait),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    actor: Actor,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Actor {
    attributes: BTreeMap<String, String>,
}

impl Client {
    /// `GET /events?filters={"container":[id],"event":["die","oom"]}`, to be issued before start. The event comes before
    /// the engine takes the container's network down, which `wait` waits for: 50 to 100 ms sooner on a bridge.
    pub fn container_end(&self, id: &str) -> Result<PendingExit, Error> {
        let pending = |source| PendingExit {
            client: self.clone(),
            container: id.to_owned(),
            source,
        };
        if self.missed_ends().load(Relaxed) >= ENOUGH_MISSED {
            return Ok(pending(Source::Wait(self.container_wait_next_exit(id)?)));
        }
        let filters = serde_json::json!({ "container": [id], "event": ["die", "oom"] });
        let call = Call::new(CALL, Method::GET, "/events".into())
            // Whatever the clocks say: nothing is lost between the head of the answer and the subscription.
            .query("since", "1")
            .query("filters", &filters.to_string());
        let source = match self.send(call.timeouts(Timeouts::Paced(PATIENCE))) {
            Ok(answer) => Source::Events(BufReader::new(answer.stream())),
            Err(error) => {
                log::debug!("no events, so wait has to tell: {error}");
                Source::Wait(self.container_wait_next_exit(id)?)
            }
        };
        Ok(pending(source))
    }

    /// The end of a container that has been started, as `wait` tells it: at once if it has ended.
    pub fn container_ended(&self, id: &str) -> Result<ContainerExit, Error> {
        Ok(ContainerExit {
            exit_code: self.container_wait_stopped(id)?.finish()?.status_code,
            oom_killed: self.container_oom_killed(id)?,
        })
    }

    /// What `GET /containers/{id}/json` says of it; the answer waits until the end has been dealt with. One that somebody
    /// removed was not.
    pub fn container_oom_killed(&self, id: &str) -> Result<bool, Error> {
        match self.container_inspect(id) {
            Ok(inspected) => Ok(inspected.state.oom_killed),
            Err(Error::Status { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn end_without_event(&self, id: &str, missed: &Missed) -> Result<ContainerExit, Error> {
        log::debug!("no event of the end of {id}: {}", missed.reason);
        let inspected = self.container_inspect(id);
        if missed.is_untold && inspected.is_ok_and(|found| !found.state.running) {
            self.missed_ends().fetch_add(1, Relaxed);
        }
        let mut end = self.container_ended(id)?;
        end.oom_killed |= missed.oom_killed;
        Ok(end)
    }
}

impl PendingExit {
    /// Blocks until the container has ended, without a deadline (something else kills it). To be called when its output
    /// has ended, soon after which the event is due.
    pub fn finish(self) -> Result<ContainerExit, Error> {
        let events = match self.source {
            Source::Events(events) => events,
            Source::Wait(wait) => {
                return Ok(ContainerExit {
                    exit_code: wait.finish()?.status_code,
                    oom_killed: self.client.container_oom_killed(&self.container)?,
                });
            }
        };
        match end(events) {
            Ok(end) => {
                self.client.missed_ends().store(0, Relaxed);
                Ok(end)
            }
            Err(missed) => self.client.end_without_event(&self.container, &missed),
        }
    }
}

/// The events ended, or made no sense, before they told of the end.
#[derive(Debug, PartialEq, Eq)]
struct Missed {
    oom_killed: bool,
    reason: String,
    /// The connection stood: it is the engine that says nothing.
    is_untold: bool,
}

fn end(source: impl Read) -> Result<ContainerExit, Missed> {
    let mut oom_killed = false;
    for event in serde_json::Deserializer::from_reader(source).into_iter::<Event>() {
        let missed = |reason: String, is_untold| Missed {
            oom_killed,
            reason,
            is_untold,
        };
        let event = event.map_err(|error| {
            let is_late = error.io_error_kind() == Some(ErrorKind::TimedOut);
            missed(error.to_string(), is_late)
        })?;
        match event.action.as_str() {
            "oom" => oom_killed = true,
            "die" => {
                let code = event.actor.attributes.get("exitCode");
                let exit_code = code.and_then(|code| code.parse().ok());
                let exit_code = exit_code.ok_or_else(|| missed("no exit code".into(), true))?;
                return Ok(ContainerExit {
                    exit_code,
                    oom_killed,
                });
            }
            _ => {}
        }
    }
    Err(Missed {
        oom_killed,
        reason: "the events ended".into(),
        is_untold: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_by_the_first_die_event() {
        let oom = r#"{"status":"oom","id":"x","Type":"container","Action":"oom","Actor":{"ID":"x","Attributes":{}}}"#;
        let die = r#"{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":{"exitCode":"137","image":"i"}},"time":1}"#;
        let told = |exit_code, oom_killed| {
            Ok(ContainerExit {
                exit_code,
                oom_killed,
            })
        };
        assert_eq!(end(format!("{die}\n").as_bytes()), told(137, false));
        assert_eq!(
            end(format!("{oom}\n{oom}\n{die}\n{{").as_bytes()),
            told(137, true)
        );
        for (broken, oom_killed) in [
            ("", false),
            (oom, true),
            ("{", false),
            ("[]", false),
            (r#"{"Action":"die"}"#, false),
        ] {
            let missed = end(broken.as_bytes()).map_err(|missed| missed.oom_killed);
            assert_eq!(missed, Err(oom_killed), "{broken}");
        }
    }
}
