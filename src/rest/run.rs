//! `POST /run`, and what it would do.

use super::stream::{self, Delivery};
use super::{body, problems, runs};
use crate::http::{Reply, Request};
use crate::runner::{ApiProfile, Error, PullPolicy, Runner, Silent};

/// How REST requests differ from MCP's.
pub(super) const FRONT: ApiProfile = ApiProfile {
    root: "body",
    pull_policy: PullPolicy::Always,
};

/// Runs a container once and answers with its result: in one piece, as a stream of events, or later. With `?dry_run=1`,
/// only with what that would do.
pub fn post(runner: &Runner, mut request: Request) -> Reply {
    let is_dry = match is_dry_run(&request.query) {
        Ok(is_dry) => is_dry,
        Err(error) => return problems::reply(&error),
    };
    let value = match body::json(&mut request) {
        Ok(value) => value,
        Err(reply) => return *reply,
    };
    if is_dry {
        return match runner.check(value, FRONT) {
            Ok(spec) => Reply::json(200, &runner.plan(&spec)),
            Err(error) => problems::reply(&error),
        };
    }
    match runs::Wish::of(&request) {
        Err(error) => return problems::reply(&error),
        Ok(Some(wish)) => return runs::submit(runner, request, value, &wish),
        Ok(None) => {}
    }
    let mut spec = match runner.check(value, FRONT) {
        Ok(spec) => spec,
        Err(error) => return problems::reply(&error),
    };
    spec.keep_with_content(Box::new(request.take_body_reservation()));
    match Delivery::wanted(request.header("accept")) {
        Delivery::Json => match runner.run(spec, &request.cancel, &Silent) {
            Ok(result) => Reply::large_json(200, result),
            Err(error) => problems::reply(&error),
        },
        delivery => stream::run(runner, &request, spec, delivery),
    }
}

/// A parameter that nobody knows is refused: it may be a misspelt `dry_run`, and then nothing must be run.
fn is_dry_run(query: &[(String, String)]) -> Result<bool, Error> {
    let mut is_dry = false;
    for (name, value) in query {
        is_dry = match (name.as_str(), value.as_str()) {
            ("dry_run", "1" | "true") => true,
            ("dry_run", "0" | "false") => false,
            ("dry_run", _) => {
                return Err(Error::invalid(
                    &["query", name],
                    "expected 1, 0, true or false",
                ));
            }
            _ => {
                let loc = ["query", name.as_str()];
                return Err(Error::invalid(&loc, "unknown parameter; expected: dry_run"));
            }
        };
    }
    Ok(is_dry)
}
