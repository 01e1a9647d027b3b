//! `GET /health`.

use super::problems;
use crate::http::Reply;
use crate::runner::Runner;

/// 200 with the engine's version, or 503 if the engine does not answer. Blocks for 2 s at most.
pub fn get(runner: &Runner) -> Reply {
    match runner.health() {
        Ok(health) => Reply::json(200, &health),
        // Any failure of the engine means that this service is unavailable, so the status is 503 whatever the error.
        Err(error) => {
            let mut problem = problems::problem(&error);
            problem.status = 503;
            problem.title = crate::problem::reason_phrase(503).into();
            Reply::problem(&problem)
        }
    }
}
