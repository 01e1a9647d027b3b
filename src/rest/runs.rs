//! `/runs`: the state, the events and the cancellation of runs; and the part of `POST /run` that creates asynchronous ones
//! (`Prefer`, RFC 7240, and `Idempotency-Key`).

use super::api_profile::API_PROFILE;
use super::prefer::Prefer;
use super::run_body::{RunBody, RunList, RunStateBody, outcome_reply};
use super::stream::{Delivery, KEEP_ALIVE_INTERVAL, WireEvent, send_outcome};
use super::{flags, problems};
use crate::cancel::Cancel;
use crate::http::{BodyError, Reply, Request, StreamWriter};
use crate::memory::Reservation;
use crate::problem::Problem;
use crate::runner::request::wire::Wire;
use crate::runner::{Error, Next, Phase, RunEvents, RunFilter, RunKind, Runner};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// The header fields of `POST /run` that select an asynchronous run.
#[derive(Debug)]
pub(super) struct Preferences {
    /// `Prefer: respond-async`.
    respond_async: bool,
    /// `Prefer: wait=`.
    wait: Option<Duration>,
    /// `Idempotency-Key`.
    key: Option<String>,
}

impl Preferences {
    /// Parses the fields. `None` if the request has none of them: the run is then synchronous. Error: an
    /// `Idempotency-Key` that is empty or too long.
    pub(super) fn from_request(request: &Request) -> Result<Option<Self>, Error> {
        let fields = request.headers.iter().filter(|(name, _)| name == "prefer");
        let prefer = Prefer::parse(fields.map(|(_, value)| value.as_str()));
        let mut preferences = Self {
            respond_async: prefer.value("respond-async") == Some(""),
            wait: prefer.value("wait").and_then(seconds),
            key: None,
        };
        if let Some(key) = request.header("idempotency-key") {
            if key.is_empty() || key.len() > 255 {
                let msg = "expected 1 to 255 characters";
                return Err(Error::invalid(&["header", "Idempotency-Key"], msg));
            }
            preferences.key = Some(key.to_owned());
        }
        let is_plain =
            !preferences.respond_async && preferences.wait.is_none() && preferences.key.is_none();
        Ok((!is_plain).then_some(preferences))
    }

    /// How long to wait for the outcome before a 202; `None` for no limit.
    fn wait_limit(&self) -> Option<Duration> {
        match (self.wait, self.respond_async) {
            (Some(wait), _) => Some(wait),
            (None, true) => Some(Duration::ZERO),
            (None, false) => None,
        }
    }

    /// Value of `Preference-Applied` (RFC 7240 §3).
    fn preference_applied(&self, is_finished: bool) -> Option<String> {
        match self.wait {
            Some(wait) if is_finished || !self.respond_async => {
                Some(format!("wait={}", wait.as_secs()))
            }
            _ => self.respond_async.then(|| "respond-async".into()),
        }
    }
}

/// The seconds of a `wait`. `None`: it is no number, and the preference is ignored, as unknown ones are.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let secs = text.parse().ok().filter(|_| is_number);
    secs.map(Duration::from_secs)
}

/// Submits an asynchronous run. Waits as long as `preferences` say, then replies with the outcome if there is one, else
/// with 202 and the run's state.
pub(super) fn submit(
    runner: &Runner,
    mut request: Request,
    body: Value,
    preferences: &Preferences,
) -> Reply {
    let copy = match request.body_memory.as_ref().map(memory_of_copy) {
        Some(None) => return Reply::from(BodyError::OutOfMemory),
        copy => copy.flatten(),
    };
    let submitted = runner.submit(
        body,
        API_PROFILE,
        preferences.key.as_deref(),
        &request.cancel,
    );
    let state = match submitted {
        Ok(state) => state,
        Err(error) => return problems::reply(&error),
    };
    // The engine has stored the request, so the body's memory can be given back.
    drop((copy, request.take_body_memory()));
    let delivery = Delivery::wanted(request.header("accept"));
    if preferences.wait_limit().is_none() && delivery != Delivery::Json {
        return events(runner, &state.id, &request);
    }
    let waited = runner.run_wait(&state.id, preferences.wait_limit(), &request.cancel);
    // An error means that another request has deleted the run meanwhile.
    let state = waited.unwrap_or(state);
    let reply = match &state.outcome {
        // With `respond-async` alone the reply is always 202, even if the run has finished already.
        Some(outcome) if preferences.wait.is_some() || !preferences.respond_async => {
            outcome_reply(outcome.clone())
        }
        _ => Reply::json(202, &RunBody::of(&state)),
    };
    let reply = reply.with_header("Location", request.path_prefix() + "/runs/" + &state.id);
    match preferences.preference_applied(state.outcome.is_some()) {
        Some(applied) => reply.with_header("Preference-Applied", applied),
        None => reply,
    }
}

/// The memory of a copy of a request, which storing it takes. `None`: the budget does not have it.
fn memory_of_copy(request: &Reservation) -> Option<Reservation> {
    let copy = request.another();
    copy.grow(request.bytes()).then_some(copy)
}

/// Lists runs, newest first, filtered by `kind` and `state`, and at most `limit` of them.
pub fn list(runner: &Runner, request: &Request) -> Reply {
    const DEFAULT_LIMIT: usize = 100;
    const MAX_LIMIT: usize = 1000;
    let phase = match request.query("state") {
        None | Some("") => None,
        Some(wanted) => match Phase::from_word(wanted) {
            Some(phase) => Some(phase),
            None => return invalid("state", format!("expected {}", Phase::EXPECTED)),
        },
    };
    let kind = match request.query("kind") {
        None | Some("") => None,
        Some(wanted) => match RunKind::from_word(wanted) {
            Some(kind) => Some(kind),
            None => return invalid("kind", format!("expected {}", RunKind::EXPECTED)),
        },
    };
    let limit = match request.query("limit").map(str::parse::<usize>) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => return invalid("limit", format!("expected a number from 1 to {MAX_LIMIT}")),
    };
    let filter = RunFilter { kind, phase, limit };
    let listed = match runner.run_list(&filter) {
        Ok(listed) => listed,
        Err(error) => return problems::reply(&error),
    };
    let list = RunList {
        runs: listed.states.iter().map(RunBody::brief).collect(),
        complete: listed.is_complete,
    };
    Reply::json(200, &list)
}

/// A 422 for a query parameter.
fn invalid(parameter: &str, msg: String) -> Reply {
    problems::reply(&Error::invalid(&["query", parameter], msg))
}

/// The state of a run, and its result or error once it has finished.
pub fn get(runner: &Runner, id: &str) -> Reply {
    match runner.run_state(id) {
        Ok(state) => Reply::large_json(200, RunStateBody(state)),
        Err(error) => problems::reply(&error),
    }
}

/// Deletes a run that has finished (200), or cancels one that has not (202). With `cancel_only`, a finished run stays as it is (200).
pub fn delete(runner: &Runner, id: &str, request: &Request) -> Reply {
    let reply = |status, state| Reply::large_json(status, RunStateBody(state));
    let (forgotten, if_finished) = match flags::is_set(&request.query, "cancel_only") {
        Ok(true) => (Ok(None), 200),
        Ok(false) => (runner.run_forget(id), 202),
        Err(error) => (Err(error), 202),
    };
    let state = match forgotten {
        Ok(Some(state)) => return reply(200, state),
        Ok(None) => runner.run_cancel(id),
        Err(error) => Err(error),
    };
    match state {
        Ok(state) if state.phase == Phase::Finished => reply(if_finished, state),
        Ok(state) => reply(202, state),
        Err(error) => problems::reply(&error),
    }
}

/// Streams the events of a run, from the first or after `Last-Event-ID`, and then live until the run has finished. As
/// server-sent events unless `Accept` prefers NDJSON. The result of a plain run is its caller's only, so that its last event is a
/// summary.
pub fn events(runner: &Runner, id: &str, request: &Request) -> Reply {
    let delivery = match Delivery::wanted(request.header("accept")) {
        Delivery::Json => Delivery::Sse,
        delivery => delivery,
    };
    let events = match runner.run_events(id, request.header("last-event-id")) {
        Ok(events) => events,
        Err(error) => return problems::reply(&error),
    };
    let (left, draining) = (request.cancel.clone(), request.draining.clone());
    let stream = EventStream {
        is_plain: events.state().kind == RunKind::Plain,
        events,
        delivery,
        left,
        draining,
    };
    delivery.reply(move |writer| stream.write(writer))
}

/// The events of a run on their way to a client.
struct EventStream {
    events: RunEvents,
    is_plain: bool,
    delivery: Delivery,
    /// Fires when the client has left.
    left: Cancel,
    /// Fires when the server starts to stop.
    draining: Cancel,
}

impl EventStream {
    /// Writes events until the run has finished or the client has left. If the server stops before, the last event is an
    /// error that says so. Error: the client cannot be written to.
    fn write(mut self, writer: &mut StreamWriter<'_>) -> io::Result<()> {
        loop {
            let (told, cursor) = match self.next() {
                Next::Event { cursor, event } => {
                    let encoding = self.events.output_encoding();
                    let told = WireEvent::event(&event, self.events.id(), encoding);
                    (told, Some(cursor))
                }
                Next::Outcome { cursor, .. } if self.is_plain => {
                    let told = WireEvent::new("ended", &RunBody::of(&self.events.state()));
                    (told, Some(cursor))
                }
                Next::Outcome { cursor, outcome } => {
                    let outcome = (*outcome).as_ref();
                    send_outcome(outcome, Some(&cursor), self.delivery, writer)?;
                    continue;
                }
                Next::Skipped(count) => (WireEvent::skipped(count), None),
                Next::Nothing if self.draining.is_fired() => {
                    let stopping = WireEvent::problem(&self.stopping());
                    return writer.send(&self.delivery.frame(&stopping, None));
                }
                Next::Nothing => {
                    writer.send(self.delivery.keep_alive())?;
                    continue;
                }
                Next::Over => return Ok(()),
            };
            writer.send(&self.delivery.frame(&told, cursor.as_deref()))?;
        }
    }

    /// The next event. [`Next::Over`]: the outcome was read, or the client has left. When the server stops, returns what is
    /// left, and then [`Next::Nothing`] at once.
    fn next(&mut self) -> Next {
        let stops = [&self.left, &self.draining];
        match self.events.next(KEEP_ALIVE_INTERVAL, &stops) {
            Next::Over if !self.left.is_fired() => self.events.next(Duration::ZERO, &[]),
            next => next,
        }
    }

    /// The end of a stream whose run has not finished when the server stops.
    fn stopping(&self) -> Problem {
        let id = self.events.id();
        let then = match self.is_plain {
            true => "its caller gets what it has printed".to_owned(),
            false => format!("the next server of this instance name resumes it at /runs/{id}"),
        };
        let detail = format!("the server stops before the run has finished; {then}");
        Problem::new(503, "stopping", detail)
    }
}
