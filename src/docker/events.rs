//! How a container exited, from `GET /events`, or from `wait` where no event comes.
use super::call::{Call, Timeouts};
use super::client::Client;
use super::container::PendingWait;
use super::error::Error;
use super::response::BodyStream;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use ureq::http::Method;

const CALL: &str = "container_end";
/// How long to wait for an event before asking `wait`: the container may have closed its output and still run, or this
/// engine (or a proxy in front of it) may send no such events.
const EVENT_TIMEOUT: Duration = Duration::from_secs(2);

/// After this many exits in a row without an event, only `wait` is used: this engine sends no events (as Podman).
const MAX_MISSED_EVENTS: u32 = 2;

/// How a container exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// The exit code; 128 + signal if a signal ended the main process.
    pub exit_code: i64,
    /// Whether the engine had reported an out-of-memory kill before the exit. False is not final: the engine may notice
    /// the kill only later, so ask [`Client::container_oom_killed`] where it matters.
    pub oom_killed: bool,
    /// Whether the connection on which the exit was waited for broke, so that the engine was asked again: other connections, such as
    /// that of the output, may have broken with it.
    pub after_break: bool,
}

/// Watches for a container's exit from before its start; [`PendingExit::finish`] blocks for it.
pub struct PendingExit {
    client: Client,
    container: String,
    source: Source,
}

enum Source {
    Events(BufReader<BodyStream>),
    /// `GET /events` failed, or this engine sends no events.
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
    /// `GET /events?filters={"container":[id],"event":["die","oom"]}`. Call it before start. Returns once the engine
    /// sends events.
    ///
    /// The engine sends `die` before it takes down the container's network and answers `wait` after that, which is 50 to
    /// 100 ms later on a bridge.
    pub fn container_end(&self, id: &str) -> Result<PendingExit, Error> {
        let pending = |source| PendingExit {
            client: self.clone(),
            container: id.to_owned(),
            source,
        };
        if self.missed_exit_events().load(Relaxed) >= MAX_MISSED_EVENTS {
            return Ok(pending(Source::Wait(self.container_wait_next_exit(id)?)));
        }
        let filters = serde_json::json!({ "container": [id], "event": ["die", "oom"] });
        let call = Call::new(CALL, Method::GET, "/events".into())
            // An event between the head of the response and the engine's subscription is then replayed. Any past time
            // will do, since the filter names this container; 1 needs no agreement of clocks.
            .query("since", "1")
            .query("filters", &filters.to_string());
        let timeouts = Timeouts::UntilHeadThenPerRead(EVENT_TIMEOUT);
        let source = match self.send(call.timeouts(timeouts)) {
            Ok(response) => Source::Events(BufReader::new(response.into_stream())),
            Err(error) => {
                log::debug!("no events, so wait has to tell: {error}");
                Source::Wait(self.container_wait_next_exit(id)?)
            }
        };
        Ok(pending(source))
    }

    /// The exit of a container that has been started, from `wait`. Blocks until it has exited, without a time limit.
    pub fn container_ended(&self, id: &str) -> Result<ContainerExit, Error> {
        Ok(ContainerExit {
            exit_code: self.container_wait_stopped(id)?.finish()?.status_code,
            oom_killed: self.container_oom_killed(id)?,
            after_break: false,
        })
    }

    /// `State.OOMKilled` of `GET /containers/{id}/json`; false if the container has been removed. After an exit, the
    /// engine answers only once it has finished handling that exit.
    pub fn container_oom_killed(&self, id: &str) -> Result<bool, Error> {
        match self.container_inspect(id) {
            Ok(inspected) => Ok(inspected.state.oom_killed),
            Err(Error::Status { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn exit_without_event(&self, id: &str, missed: &MissedEvent) -> Result<ContainerExit, Error> {
        log::debug!("no event of the end of {id}: {}", missed.reason);
        let inspected = self.container_inspect(id);
        if missed.is_engine_silent && inspected.is_ok_and(|found| !found.state.running) {
            self.missed_exit_events().fetch_add(1, Relaxed);
        }
        let mut exit = self.container_ended(id)?;
        exit.oom_killed |= missed.oom_killed;
        exit.after_break = !missed.is_engine_silent;
        Ok(exit)
    }
}

impl PendingExit {
    /// Blocks until the container has exited, without a time limit: the caller kills the container at its own. Call it
    /// when the container's output has ended, because the event follows soon after that.
    pub fn finish(self) -> Result<ContainerExit, Error> {
        let events = match self.source {
            Source::Events(events) => events,
            Source::Wait(wait) => {
                return Ok(ContainerExit {
                    exit_code: wait.finish()?.status_code,
                    oom_killed: self.client.container_oom_killed(&self.container)?,
                    after_break: false,
                });
            }
        };
        match read_exit(events) {
            Ok(exit) => {
                self.client.missed_exit_events().store(0, Relaxed);
                Ok(exit)
            }
            Err(missed) => self.client.exit_without_event(&self.container, &missed),
        }
    }
}

/// The stream of events ended, or could not be parsed, before a `die` event.
#[derive(Debug, PartialEq, Eq)]
struct MissedEvent {
    /// Whether an `oom` event had come.
    oom_killed: bool,
    reason: String,
    /// The connection did not break: the engine sent no usable `die` event.
    is_engine_silent: bool,
}

/// Reads events up to the first `die`.
fn read_exit(source: impl Read) -> Result<ContainerExit, MissedEvent> {
    let mut oom_killed = false;
    for event in serde_json::Deserializer::from_reader(source).into_iter::<Event>() {
        let missed = |reason: String, is_engine_silent| MissedEvent {
            oom_killed,
            reason,
            is_engine_silent,
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
                    after_break: false,
                });
            }
            _ => {}
        }
    }
    Err(MissedEvent {
        oom_killed,
        reason: "the events ended".into(),
        is_engine_silent: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_die_event_gives_the_exit() {
        let oom = r#"{"status":"oom","id":"x","Type":"container","Action":"oom","Actor":{"ID":"x","Attributes":{}}}"#;
        let die = r#"{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":{"exitCode":"137","image":"i"}},"time":1}"#;
        let exit = |exit_code, oom_killed| {
            Ok(ContainerExit {
                exit_code,
                oom_killed,
                after_break: false,
            })
        };
        assert_eq!(read_exit(format!("{die}\n").as_bytes()), exit(137, false));
        assert_eq!(
            read_exit(format!("{oom}\n{oom}\n{die}\n{{").as_bytes()),
            exit(137, true)
        );
        for (broken, oom_killed) in [
            ("", false),
            (oom, true),
            ("{", false),
            ("[]", false),
            (r#"{"Action":"die"}"#, false),
        ] {
            let missed = read_exit(broken.as_bytes()).map_err(|missed| missed.oom_killed);
            assert_eq!(missed, Err(oom_killed), "{broken}");
        }
    }
}
