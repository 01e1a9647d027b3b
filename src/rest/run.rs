//! `POST /run`, with its query parameter `dry_run`.

use super::api_profile::API_PROFILE;
use super::stream::{self, Delivery};
use super::{body, flags, problems, runs};
use crate::http::{Reply, Request};
use crate::runner::{RunKind, Runner, Silent};

/// Runs a container once. Replies with its result as JSON, or with a stream of events (`Accept`), or with 202 and the
/// state of an asynchronous run (`Prefer`, `Idempotency-Key`). With `?dry_run=1` checks the request and replies with the
/// plan of the run that it would be without that.
pub fn post(runner: &Runner, mut request: Request) -> Reply {
    let is_dry = match flags::is_set(&request.query, "dry_run") {
        Ok(is_dry) => is_dry,
        Err(error) => return problems::reply(&error),
    };
    let value = match body::json(&mut request) {
        Ok(value) => value,
        Err(reply) => return *reply,
    };
    let preferences = match runs::Preferences::from_request(&request) {
        Ok(preferences) => preferences,
        Err(error) => return problems::reply(&error),
    };
    if is_dry {
        let kind = match preferences {
            Some(_) => RunKind::Asynchronous,
            None => RunKind::Plain,
        };
        let checked = runner.check(value, API_PROFILE);
        return match checked.and_then(|spec| runner.plan(spec, kind, &request.cancel)) {
            Ok(plan) => Reply::json(200, &plan),
            Err(error) => problems::reply(&error),
        };
    }
    if let Some(preferences) = preferences {
        return runs::submit(runner, request, value, &preferences);
    }
    let mut spec = match runner.check(value, API_PROFILE) {
        Ok(spec) => spec,
        Err(error) => return problems::reply(&error),
    };
    if let Some(memory) = request.take_body_memory() {
        spec.charge_to(memory);
    }
    match Delivery::wanted(request.header("accept")) {
        Delivery::Json => match runner.run(spec, &request.cancel, &Silent) {
            Ok(result) => Reply::large_json(200, result),
            Err(error) => problems::reply(&error),
        },
        delivery => stream::run(runner, &request, spec, delivery),
    }
}
