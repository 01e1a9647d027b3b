//! The tools around runs that go on whoever listens: `run_container` with `detach`, and how such a run stands, what it
//! printed, its cancellation, and which there are.

use super::report;
use super::{CallContext, Containers, arguments};
use crate::problem::Fault;
use crate::runner::request::wire::{Reader, kind_of, wire_struct};
use crate::runner::{Encoding, Error, Event, Phase, RunLogs, RunState};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest that `wait_secs` can ask for.
const LONGEST_WAIT_SECS: u64 = 3600;
/// How long a cancelled run may take to end before its state is told as it is.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
/// About how much output one `run_logs` shows.
const PAGE_BYTES: usize = 200_000;
/// Runs that `list_runs` shows unless told otherwise, and at most.
const USUAL_RUNS: u64 = 20;
const MOST_RUNS: u64 = 200;

wire_struct! {
    /// What `run_status` takes.
    #[schemars(extend("required" = ["id"]))]
    pub(super) struct StatusRequest {
        /// The run's id, as run_container gave it.
        id: String,
        /// Wait up to so many seconds for the run to finish, then tell how it stands; 0 unless said otherwise.
        wait_secs: u64,
    }
}

wire_struct! {
    /// What `run_logs` takes.
    #[schemars(extend("required" = ["id"]))]
    pub(super) struct LogsRequest {
        /// The run's id, as run_container gave it.
        id: String,
        /// Only what was printed after this: the `cursor` of an earlier run_logs. From the start unless given.
        cursor: String,
        /// Wait up to so many seconds for new output, or for the end; 0 unless said otherwise.
        wait_secs: u64,
    }
}

wire_struct! {
    /// What `cancel_run` takes.
    #[schemars(extend("required" = ["id"]))]
    pub(super) struct CancelRequest {
        /// The run's id, as run_container gave it.
        id: String,
    }
}

wire_struct! {
    /// What `list_runs` takes.
    pub(super) struct ListRequest {
        /// Only runs that have come this far.
        state: Phase,
        /// Show at most so many, newest first; 20 unless said otherwise, 200 at the most.
        limit: u64,
    }
}

/// A detached run in a few words.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunBrief {
    /// The run's id.
    pub(super) id: String,
    /// How far it has come.
    pub(super) state: Phase,
    /// How it came out, once it has: as in `result.status`, or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<String>,
    /// When it was accepted (RFC 3339).
    pub(super) created_at: String,
    /// When its container started.
    pub(super) started_at: Option<String>,
    /// When its result was there.
    pub(super) finished_at: Option<String>,
}

/// What `list_runs` gives.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunBriefs {
    /// Newest first.
    pub(super) runs: Vec<RunBrief>,
}

/// What `run_logs` gives.
#[derive(Serialize, JsonSchema)]
pub(super) struct LogPage {
    /// The run's id.
    pub(super) id: String,
    /// How far it has come. Once it is `finished` and `has_more` is false, nothing follows.
    pub(super) state: Phase,
    /// What was printed to standard output: text, or base64 where the run asked for it.
    pub(super) stdout: String,
    /// What was printed to standard error, likewise.
    pub(super) stderr: String,
    /// What to pass as `cursor` to read on.
    pub(super) cursor: Option<String>,
    /// Whether there is more already.
    pub(super) has_more: bool,
    /// What is missing here, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

impl RunBrief {
    fn of(state: &RunState) -> Self {
        Self {
            id: state.id.clone(),
            state: state.phase,
            status: state.outcome.as_deref().map(|outcome| match outcome {
                Ok(run) => run.status.clone(),
                Err(_) => "failed".into(),
            }),
            created_at: state.created_at.clone(),
            started_at: state.started_at.clone(),
            finished_at: state.finished_at.clone(),
        }
    }
}

/// Takes `detach` out of the arguments of `run_container`, together with every fault of the others if it has one.
pub(super) fn take_detach(
    request: &mut Map<String, Value>,
    containers: &dyn Containers,
) -> Result<bool, Error> {
    match request.remove("detach") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(detach)) => Ok(detach),
        Some(other) => {
            let found = kind_of(&other);
            let mut faults = vec![Fault {
                loc: vec![super::FRONT.root.into(), "detach".into()],
                msg: format!("expected true or false, got {found}"),
            }];
            if let Err(Error::Invalid(others)) = containers.check(Value::Object(request.clone())) {
                faults.extend(others);
            }
            Err(Error::Invalid(faults))
        }
    }
}

/// Accepts a run that goes on by itself.
pub(super) fn submit(
    request: Map<String, Value>,
    context: &CallContext<'_>,
) -> Result<Value, Error> {
    let state = context.containers.submit(Value::Object(request))?;
    Ok(report::accepted(&state))
}

pub(super) fn run_status(
    arguments: Option<&Value>,
    context: &CallContext<'_>,
) -> Result<Value, Error> {
    let (id, wait) = arguments::read(arguments, |request: StatusRequest, reader| {
        let wait = patience(request.wait_secs, reader);
        (arguments::required(request.id, "id", reader), wait)
    })?;
    let state = context.containers.run_state(&id, wait, context.cancel)?;
    Ok(report::standing(&state))
}

pub(super) fn run_logs(
    arguments: Option<&Value>,
    context: &CallContext<'_>,
) -> Result<Value, Error> {
    let (id, cursor, wait) = arguments::read(arguments, |request: LogsRequest, reader| {
        let wait = patience(request.wait_secs, reader);
        let id = arguments::required(request.id, "id", reader);
        (id, request.cursor, wait)
    })?;
    let (place, wait) = ((cursor.as_deref(), PAGE_BYTES), (wait, context.cancel));
    let logs = context.containers.run_logs(&id, place, wait)?;
    Ok(report::logs(&logs))
}

pub(super) fn cancel_run(
    arguments: Option<&Value>,
    context: &CallContext<'_>,
) -> Result<Value, Error> {
    let id = arguments::read(arguments, |request: CancelRequest, reader| {
        arguments::required(request.id, "id", reader)
    })?;
    let containers = context.containers;
    if let Some(state) = containers.run_forget(&id)? {
        return Ok(report::ended(&state, "It is forgotten now."));
    }
    containers.run_cancel(&id)?;
    // What it printed is worth waiting for.
    let state = containers.run_state(&id, CANCEL_PATIENCE, context.cancel)?;
    Ok(report::ended(
        &state,
        "It is remembered for a while, or until the next cancel_run.",
    ))
}

pub(super) fn list_runs(
    arguments: Option<&Value>,
    context: &CallContext<'_>,
) -> Result<Value, Error> {
    let (phase, limit) = arguments::read(arguments, |request: ListRequest, reader| {
        let limit = request.limit.unwrap_or(USUAL_RUNS);
        if !(1..=MOST_RUNS).contains(&limit) {
            reader.fault_at("limit", format!("expected 1 to {MOST_RUNS}"));
        }
        (request.state, limit)
    })?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let runs = context.containers.run_list(phase, limit);
    let runs = runs.iter().map(RunBrief::of).collect();
    Ok(report::briefs(&RunBriefs { runs }))
}

fn patience(wait_secs: Option<u64>, reader: &mut Reader) -> Duration {
    let secs = wait_secs.unwrap_or(0);
    if secs > LONGEST_WAIT_SECS {
        reader.fault_at(
            "wait_secs",
            format!("expected at most {LONGEST_WAIT_SECS} seconds"),
        );
    }
    Duration::from_secs(secs)
}

/// As many pieces of a page as fit into `budget` bytes, but one at least.
pub(super) fn page(logs: &RunLogs, budget: usize) -> LogPage {
    let (mut stdout, mut stderr, mut bytes, mut count) = (Vec::new(), Vec::new(), 0, 0);
    for piece in &logs.pieces {
        let (Event::Stdout(text) | Event::Stderr(text)) = &piece.event else {
            continue;
        };
        if count > 0 && bytes + text.len() > budget {
            break;
        }
        (bytes, count) = (bytes + text.len(), count + 1);
        match piece.event {
            Event::Stdout(_) => stdout.extend_from_slice(text),
            _ => stderr.extend_from_slice(text),
        }
    }
    let is_whole = count == logs.pieces.len();
    let last = match is_whole {
        true => logs.cursor.clone(),
        false => logs.pieces.get(count - 1).map(|last| last.cursor.clone()),
    };
    let text = |bytes: Vec<u8>| match logs.output_encoding {
        Encoding::Utf8 => String::from_utf8_lossy(&bytes).into_owned(),
        Encoding::Base64 => STANDARD.encode(bytes),
    };
    LogPage {
        id: logs.state.id.clone(),
        state: logs.state.phase,
        stdout: text(stdout),
        stderr: text(stderr),
        cursor: last,
        has_more: !is_whole || logs.has_more,
        detail: gap(logs),
    }
}

fn gap(logs: &RunLogs) -> Option<String> {
    let restarted = "the server was restarted since, or the cursor is of another run: this begins at the run's start";
    let skipped = logs.skipped_events;
    match (logs.is_from_start, skipped) {
        (true, _) => Some(restarted.into()),
        (false, 0) => None,
        (false, _) => Some(format!(
            "{skipped} pieces of output before this were too old to be kept"
        )),
    }
}
