//! `POST /run`.

use super::stream::{self, Delivery};
use super::{body, problems, runs};
use crate::http::{Reply, Request};
use crate::runner::{Error, Front, PullPolicy, RunResult, Runner, Silent};

/// How REST requests differ from MCP's.
pub(super) const FRONT: Front = Front {
    root: "body",
    pull_policy: PullPolicy::Always,
};

/// Runs a container once and answers with its result: in one piece, as a stream of events, or later.
pub fn post(runner: &Runner, mut request: Request) -> Reply {
    let value = match body::json(&mut request) {
        Ok(value) => value,
        Err(problem) => return Reply::problem(&problem),
    };
    match runs::Wish::of(&request) {
        Err(error) => return problems::reply(&error),
        Ok(Some(wish)) => return runs::submit(runner, &request, value, &wish),
        Ok(None) => {}
    }
    let spec = match runner.check(value, FRONT) {
        Ok(spec) => spec,
        Err(error) => return problems::reply(&error),
    };
    match Delivery::wanted(request.header("accept")) {
        Delivery::Json => plain(runner.run(spec, &request.cancel, &Silent).as_ref()),
        delivery => stream::run(runner, &request, spec, delivery),
    }
}

/// An outcome in one piece.
pub(super) fn plain(outcome: Result<&RunResult, &Error>) -> Reply {
    match outcome {
        Ok(result) => Reply::json(200, result),
        Err(error) => problems::reply(error),
    }
}
