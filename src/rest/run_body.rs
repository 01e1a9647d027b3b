//! The JSON of a run's state.

use super::problems::{self, problem};
use crate::http::Reply;
use crate::problem::Problem;
use crate::runner::{
    Encoding, Outcome, Phase, Reason, RunKind, RunResult, RunState, Timings, Usage,
};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// The present state of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunBody<'a> {
    /// The run's id.
    pub id: &'a str,
    /// `plain`: its caller waits for the result; `async`: it does not.
    pub kind: RunKind,
    /// How far it has come.
    pub state: Phase,
    /// The image, as it was asked for; empty where a record of version 0.1.0 does not have it.
    pub image: &'a str,
    /// The beginning of its command; null: the image's own.
    pub command: Option<&'a [String]>,
    /// Whether `command` is not the whole one; absent when it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub command_cut: bool,
    /// How its output is encoded, in events too.
    pub output_encoding: Encoding,
    /// When it was accepted (RFC 3339).
    pub created_at: &'a str,
    /// When its container started.
    pub started_at: Option<&'a str>,
    /// When its result was there; of a run that a restart of the service fell into, when its container ended.
    pub finished_at: Option<&'a str>,
    /// As in the plain answer, or `failed`; null before the end.
    pub status: Option<&'a str>,
    /// Why the container ended; null before the end, and without a result.
    pub reason: Option<Reason>,
    /// The exit code, where there is one.
    pub exit_code: Option<i64>,
    /// Milliseconds spent in each step; null before the end, and without a result.
    pub timings: Option<Timings>,
    /// What the run used; null before the end, and without a result.
    pub usage: Option<Usage>,
    /// What the plain answer's body would have been; null before the end, in lists, when there is an error, and of a plain run.
    pub result: Option<&'a RunResult>,
    /// Why there is no result.
    pub error: Option<Problem>,
    /// Why `result` is null though the run has one; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_detail: Option<&'static str>,
}

/// Answer of `GET /runs`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunList<'a> {
    /// Newest first, without their results.
    pub runs: Vec<RunBody<'a>>,
    /// False if there are more, or may be: beyond `limit`, of another server of this name, or with a record that cannot be read.
    pub complete: bool,
}

/// What a plain run's state says of its result.
const NOT_KEPT: &str = "the result of a plain run is in the answer to its caller, and not kept";

impl<'a> RunBody<'a> {
    pub(super) fn of(state: &'a RunState) -> Self {
        let outcome = state.outcome.as_deref().map(Result::as_ref);
        let end = state.end.as_ref();
        let details = end.and_then(|end| end.details);
        let is_not_kept = end.is_some() && outcome.is_none();
        Self {
            id: &state.id,
            kind: state.kind,
            state: state.phase,
            image: &state.image,
            command: state.command.words.as_deref(),
            command_cut: state.command.is_cut,
            output_encoding: state.output_encoding,
            created_at: &state.created_at,
            started_at: state.started_at.as_deref(),
            finished_at: state.finished_at.as_deref(),
            status: end.map(|end| end.status.as_str()),
            reason: details.map(|details| details.reason),
            exit_code: details.and_then(|details| details.exit_code),
            timings: details.map(|details| details.timings),
            usage: details.map(|details| details.usage),
            result: outcome.and_then(Result::ok),
            error: outcome.and_then(Result::err).map(problem),
            result_detail: is_not_kept.then_some(NOT_KEPT),
        }
    }

    /// Without the result, as in lists.
    pub(super) fn brief(state: &'a RunState) -> Self {
        Self {
            result: None,
            result_detail: None,
            ..Self::of(state)
        }
    }
}

/// Serializes an owned state as its [`RunBody`].
pub(super) struct RunStateBody(pub(super) RunState);

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
pub(super) fn outcome_reply(outcome: Arc<Outcome>) -> Reply {
    match outcome.as_ref() {
        Ok(_) => Reply::large_json(200, SharedResult(outcome)),
        Err(error) => problems::reply(error),
    }
}
