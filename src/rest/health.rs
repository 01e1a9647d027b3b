//! `GET /health`.

use super::problems;
use crate::http::Reply;
use crate::runner::Runner;

/// Whether the engine answers, and which it is.
pub fn get(runner: &Runner) -> Reply {
    match runner.health() {
        Ok(health) => Reply::json(200, &health),
        // Whatever ails the engine, this service cannot serve just now.
        Err(error) => {
            let mut problem = problems::problem(&error);
            problem.status = 503;
            problem.title = crate::problem::reason_phrase(503).into();
            Reply::problem(&problem)
        }
    }
}
