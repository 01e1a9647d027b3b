//! `/runs`: the state, the events and the cancellation of asynchronous runs; and the part of `POST /run` that creates them
//! (`Prefer`, RFC 7240, and `Idempotency-Key`).

use super::api_profile::API_PROFILE;
use super::prefer::Prefer;
use super::problems::{self, problem};
use super::stream::{Delivery, KEEP_ALIVE_INTERVAL, WireEvent, send_outcome};
use crate::cancel::Cancel;
use crate::http::{BodyError, Reply, Request, StreamWriter};
use crate::memory::Reservation;
use crate::problem::Problem;
use crate::runner::request::wire::Wire;
use crate::runner::{Error, Next, Outcome, Phase, RunEvents, RunResult, RunState, Runner};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The present state of an asynchronous run.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct RunBody<'a> {
    /// The run's id.
    pub id: &'a str,
    /// How far it has come.
    pub state: Phase,
    /// When it was accepted (RFC 3339).
    pub created_at: &'a str,
    /// When its container started.
    pub started_at: Option<&'a str>,
    /// When its result was there; of a run that a restart of the service fell into, when its container ended.
    pub finished_at: Option<&'a str>,
    /// What the plain answer's body would have been; null before the end, in lists, and when there is an error.
    pub result: Option<&'a RunResult>,
    /// Why there is no result.
    pub error: Option<Problem>,
}

/// Answer of `GET /runs`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct RunList<'a> {
    /// Newest first, without their results.
    pub runs: Vec<RunBody<'a>>,
    /// False if there are more, or may be: beyond `limit`, of another server of this name, or with a record that cannot be read.
    pub complete: bool,
}

impl<'a> RunBody<'a> {
    fn of(state: &'a RunState) -> Self {
        let outcome = state.outcome.as_deref().map(Result::as_ref);
        Self {
            id: &state.id,
            state: state.phase,
            created_at: &state.created_at,
            started_at: state.started_at.as_deref(),
            finished_at: state.finished_at.as_deref(),
            result: outcome.and_then(Result::ok),
            error: outcome.and_then(Result::err).map(problem),
        }
    }
}

/// Serializes an owned state as its [`RunBody`].
struct RunStateBody(RunState);

impl Serialize for RunStateBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RunBody::of(&self.0).serialize(serializer)
    }
}

/// Serializes the result of a shared outcome without copying it.
struct SharedResult(Arc<Outcome>);

impl Serialize for SharedResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().as_ref().ok().serialize(serializer)
    }
}

/// The reply that a synchronous run with this outcome would have.
fn outcome_reply(outcome: Arc<Outcome>) -> Reply {
    match outcome.as_ref() {
        Ok(_) => Reply::large_json(200, SharedResult(outcome)),
        Err(error) => problems::reply(error),
    }
}

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

/// Lists runs, newest first, filtered by `state` and at most `limit` of them.
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
    let limit = match request.query("limit").map(str::parse::<usize>) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => return invalid("limit", format!("expected a number from 1 to {MAX_LIMIT}")),
    };
    let listed = match runner.run_list(phase, limit) {
        Ok(listed) => listed,
        Err(error) => return problems::reply(&error),
    };
    let brief = |state| RunBody {
        result: None,
        ..RunBody::of(state)
    };
    let list = RunList {
        runs: listed.states.iter().map(brief).collect(),
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

/// Deletes a run that has finished (200), or cancels one that has not (202).
pub fn delete(runner: &Runner, id: &str) -> Reply {
    let reply = |status, state| Reply::large_json(status, RunStateBody(state));
    match runner.run_forget(id) {
        Ok(Some(state)) => reply(200, state),
        Ok(None) => match runner.run_cancel(id) {
            Ok(state) => reply(202, state),
            Err(error) => problems::reply(&error),
        },
        Err(error) => problems::reply(&error),
    }
}

/// Streams the events of a run, from the first or after `Last-Event-ID`, and then live until the run has finished. As
/// server-sent events unless `Accept` prefers NDJSON.
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
                Next::Outcome { cursor, outcome } => {
                    let outcome = (*outcome).as_ref();
                    send_outcome(outcome, Some(&cursor), self.delivery, writer)?;
                    continue;
                }
                Next::Skipped(count) => (WireEvent::skipped(count), None),
                Next::Nothing if self.draining.is_fired() => {
                    let stopping = WireEvent::problem(&stopping(self.events.id()));
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
}

/// The end of a stream whose run has not finished when the server stops.
fn stopping(id: &str) -> Problem {
    let detail = format!(
        "the server stops before the run has finished; the next server of this instance name resumes it at /runs/{id}"
    );
    Problem::new(503, "stopping", detail)
}
