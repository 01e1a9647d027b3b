//! `POST /run`.

use super::{body, problems};
use crate::http::{Reply, Request};
use crate::runner::{Front, PullPolicy, Runner, Silent};

/// How REST requests differ from MCP's.
pub(super) const FRONT: Front = Front {
    root: "body",
    pull_policy: PullPolicy::Always,
};

/// Runs a container once and answers with its result.
pub fn post(runner: &Runner, mut request: Request) -> Reply {
    let value = match body::json(&mut request) {
        Ok(value) => value,
        Err(problem) => return Reply::problem(&problem),
    };
    let result = runner
        .check(value, FRONT)
        .and_then(|spec| runner.run(spec, &request.cancel, &Silent));
    match result {
        Ok(result) => Reply::json(200, &result),
        Err(error) => problems::reply(&error),
    }
}
