//! `/runs`: asynchronous runs, how they stand and what they tell. They begin at `POST /run` (RFC 7240 `Prefer`).

use super::run::FRONT;
use super::stream::{Delivery, KEEP_ALIVE, Told};
use super::{problem, problems};
use crate::cancel::Cancel;
use crate::http::{Reply, Request, StreamWriter};
use crate::problem::Problem;
use crate::runner::request::wire::Wire;
use crate::runner::{Error, Next, Outcome, Phase, RunEvents, RunResult, RunState, Runner};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An asynchronous run as it stands.
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
    /// When its result was there.
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

/// A state that is written as its [`RunBody`].
struct Standing(RunState);

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RunBody::of(&self.0).serialize(serializer)
    }
}

/// A result that others share.
struct Shared(Arc<Outcome>);

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().as_ref().ok().serialize(serializer)
    }
}

/// An outcome in one piece.
fn plain(outcome: Arc<Outcome>) -> Reply {
    match outcome.as_ref() {
        Ok(_) => Reply::large_json(200, Shared(outcome)),
        Err(error) => problems::reply(error),
    }
}

/// What a request says about when it wants its answer.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// `Prefer: respond-async`.
    respond_async: bool,
    /// `Prefer: wait=`.
    wait: Option<Duration>,
    /// `Idempotency-Key`.
    key: Option<String>,
}

impl Wish {
    /// `None`: the answer, on this connection, as soon as it is there.
    pub(super) fn of(request: &Request) -> Result<Option<Self>, Error> {
        let mut wish = Self::default();
        let preferences = request.headers.iter().filter(|(name, _)| name == "prefer");
        for preference in preferences.flat_map(|(_, value)| value.split([',', ';'])) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => wish.respond_async = true,
                // What is not understood is ignored (RFC 7240 §2).
                "wait" => {
                    let secs = value.trim().trim_matches('"').parse().ok();
                    wish.wait = secs.map(Duration::from_secs);
                }
                _ => {}
            }
        }
        if let Some(key) = request.header("idempotency-key") {
            if key.is_empty() || key.len() > 255 {
                let msg = "expected 1 to 255 characters";
                return Err(Error::invalid(&["header", "Idempotency-Key"], msg));
            }
            wish.key = Some(key.to_owned());
        }
        let is_plain = !wish.respond_async && wish.wait.is_none() && wish.key.is_none();
        Ok((!is_plain).then_some(wish))
    }

    /// How long to wait for the answer; `None`: until it is there.
    fn patience(&self) -> Option<Duration> {
        match (self.wait, self.respond_async) {
            (Some(wait), _) => Some(wait),
            (None, true) => Some(Duration::ZERO),
            (None, false) => None,
        }
    }

    /// What was done of it (RFC 7240 §3).
    fn applied(&self, is_finished: bool) -> Option<String> {
        match self.wait {
            Some(wait) if is_finished || !self.respond_async => {
                Some(format!("wait={}", wait.as_secs()))
            }
            _ => self.respond_async.then(|| "respond-async".into()),
        }
    }
}

/// Accepts a run; answers with its outcome if that is there in time, else with how it stands.
pub(super) fn submit(runner: &Runner, mut request: Request, body: Value, wish: &Wish) -> Reply {
    let submitted = runner.submit(body, FRONT, wish.key.as_deref());
    let state = match submitted {
        Ok(state) => state,
        Err(error) => return problems::reply(&error),
    };
    // From here on the engine has what was in the body.
    drop(request.take_body_reservation());
    let delivery = Delivery::wanted(request.header("accept"));
    if wish.patience().is_none() && delivery != Delivery::Json {
        return events(runner, &state.id, &request);
    }
    let waited = runner.run_wait(&state.id, wish.patience(), &request.cancel);
    // It may have been cancelled and forgotten by somebody else.
    let state = waited.unwrap_or(state);
    let reply = match &state.outcome {
        // Who asked for an answer later gets the same every time.
        Some(outcome) if wish.wait.is_some() || !wish.respond_async => plain(outcome.clone()),
        _ => Reply::json(202, &RunBody::of(&state)),
    };
    let reply = reply.with_header("Location", format!("/runs/{}", state.id));
    match wish.applied(state.outcome.is_some()) {
        Some(applied) => reply.with_header("Preference-Applied", applied),
        None => reply,
    }
}

/// Runs, newest first.
pub fn list(runner: &Runner, request: &Request) -> Reply {
    const USUAL: usize = 100;
    const MOST: usize = 1000;
    let phase = match request.query("state") {
        None | Some("") => None,
        Some(wanted) => match Phase::from_word(wanted) {
            Some(phase) => Some(phase),
            None => return invalid("state", format!("expected {}", Phase::EXPECTED)),
        },
    };
    let limit = match request.query("limit").map(str::parse::<usize>) {
        None => USUAL,
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => limit,
        Some(_) => return invalid("limit", format!("expected a number from 1 to {MOST}")),
    };
    let states = runner.run_list(phase, limit);
    let brief = |state| RunBody {
        result: None,
        ..RunBody::of(state)
    };
    let runs = states.iter().map(brief).collect();
    Reply::json(200, &RunList { runs })
}

fn invalid(parameter: &str, msg: String) -> Reply {
    problems::reply(&Error::invalid(&["query", parameter], msg))
}

/// How a run stands.
pub fn get(runner: &Runner, id: &str) -> Reply {
    match runner.run_state(id) {
        Ok(state) => Reply::large_json(200, Standing(state)),
        Err(error) => problems::reply(&error),
    }
}

/// Cancels a run, or forgets one that has finished.
pub fn delete(runner: &Runner, id: &str) -> Reply {
    let reply = |status, state| Reply::large_json(status, Standing(state));
    match runner.run_forget(id) {
        Ok(Some(state)) => reply(200, state),
        Ok(None) => match runner.run_cancel(id) {
            Ok(state) => reply(202, state),
            Err(error) => problems::reply(&error),
        },
        Err(error) => problems::reply(&error),
    }
}

/// What a run told, from the start or after `Last-Event-ID`, and then live, to its end.
pub fn events(runner: &Runner, id: &str, request: &Request) -> Reply {
    let delivery = match Delivery::wanted(request.header("accept")) {
        Delivery::Json => Delivery::Sse,
        delivery => delivery,
    };
    let events = match runner.run_events(id, request.header("last-event-id")) {
        Ok(events) => events,
        Err(error) => return problems::reply(&error),
    };
    let stops = [request.cancel.clone(), request.draining.clone()];
    delivery.reply(move |writer| tell(events, delivery, &[&stops[0], &stops[1]], writer))
}

fn tell(
    mut events: RunEvents,
    delivery: Delivery,
    stops: &[&Cancel],
    writer: &mut StreamWriter<'_>,
) -> io::Result<()> {
    loop {
        let (told, cursor) = match events.next(KEEP_ALIVE, stops) {
            Next::Event { cursor, event } => {
                let told = Told::event(&event, events.id(), events.output_encoding());
                (told, Some(cursor))
            }
            Next::Outcome { cursor, outcome } => (Told::outcome((*outcome).as_ref()), Some(cursor)),
            Next::Skipped(count) => (Told::skipped(count), None),
            Next::Nothing => {
                writer.send(delivery.keep_alive())?;
                continue;
            }
            Next::Over => return Ok(()),
        };
        writer.send(&delivery.frame(&told, cursor.as_deref()))?;
    }
}
