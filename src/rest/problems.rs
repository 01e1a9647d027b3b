//! Conversion of a runner's [`Error`] to an HTTP problem; the only place that assigns a status and a code.

use crate::http::Reply;
use crate::problem::{Fault, Problem};
use crate::runner::Error;

/// The reply for an error: the problem, and `Retry-After` where it applies.
pub(super) fn reply(error: &Error) -> Reply {
    let reply = Reply::problem(&problem(error));
    match error {
        Error::QueueFull {
            retry_after_secs, ..
        } => reply.with_header("Retry-After", retry_after_secs.to_string()),
        Error::Overloaded(_) | Error::NotKnownYet(_) | Error::OutOfMemory => {
            reply.with_header("Retry-After", "1".to_owned())
        }
        _ => reply,
    }
}

/// The problem for an error.
pub fn problem(error: &Error) -> Problem {
    let (status, code) = match error {
        Error::Invalid(faults) => return invalid(faults),
        Error::InvalidReference(msg) => {
            return invalid(&[Fault {
                loc: vec!["body".into(), "image".into()],
                msg: msg.clone(),
            }]);
        }
        Error::Forbidden { code, .. } => (403, *code),
        Error::QueueFull { .. } => (429, "queue_full"),
        Error::OutOfMemory => (429, "memory_full"),
        Error::ImageNotFound(_) => (404, "image_not_found"),
        Error::RegistryDenied(_) => (403, "registry_denied"),
        Error::RegistryUnreachable(_) => (502, "registry_unreachable"),
        Error::PullTimeout { .. } => (504, "pull_timeout"),
        Error::StartFailed(_) => (422, "start_failed"),
        Error::StdinLost(_) => (503, "stdin_lost"),
        Error::NotFound { code, .. } => (404, *code),
        Error::Conflict { code, .. } => (409, *code),
        Error::TooLarge(_) => (413, "too_large"),
        Error::Overloaded(_) => (503, "overloaded"),
        Error::Vanished(_) => (502, "object_removed"),
        Error::NotKnownYet(_) => (503, "not_known_yet"),
        Error::Engine(_) => (502, "engine_error"),
        Error::EngineUnreachable(_) => (503, "engine_unreachable"),
    };
    Problem::new(status, code, error.to_string())
}

/// A 422 that lists all faults in `errors` and the first five in `detail`.
fn invalid(faults: &[Fault]) -> Problem {
    const SHOWN: usize = 5;
    let mut lines: Vec<String> = faults
        .iter()
        .take(SHOWN)
        .map(|fault| format!("{}: {}", fault.loc.join("."), fault.msg))
        .collect();
    if faults.len() > SHOWN {
        lines.push(format!("and {} more", faults.len() - SHOWN));
    }
    let mut problem = Problem::new(422, "invalid_request", lines.join("; "));
    problem.errors = faults.to_vec();
    problem
}
