//! `POST /run`.

use super::stream::{self, Delivery};
use super::{body, problems};
use crate::http::{Reply, Request};
use crate::runner::{Error, Front, PullPolicy, RunResult, Runner, Silent};

/// How REST requests differ from MCP's.
pub(super) const FRONT: Front = Front {
    root: "body",
    pull_policy: PullPolicy::Always,
};

/// Runs a container once and answers with its result, in one piece or as a stream of events.
pub fn post(runner: &Runner, mut request: Request) -> Reply {
    let value = match body::json(&mut request) {
        Ok(value) => value,
        Err(problem) => return Reply::problem(&problem),
    };
    let spec = match runner.check(value, FRONT) {
        Ok(spec) => spec,
        Err(error) => return problems::reply(&error),
    };
    match Delivery::wanted(request.header("accept")) {
        Delivery::Json => plain(runner.run(spec, &request.cancel, &Silent)),
        delivery => stream::run(runner, &request, spec, delivery),
    }
}

fn plain(outcome: Result<RunResult, Error>) -> Reply {
    match outcome {
        Ok(result) => Reply::json(200, &result),
        Err(error) => problems::reply(&error),
    }
}
