//! Which failures of create and start calls are the caller's.

use crate::docker;
use crate::runner::error::{Error, engine_lacks};

/// What the engine says when it cannot start a container because of what the request asks for. The status alone does not say it:
/// engines use 400, 404 and 500 for these, and the same for faults that are not the request's.
const ASKED_FOR: [&str; 10] = [
    "OCI runtime",
    "OCI permission denied",
    "unable to find user",
    "unable to find group",
    "starting container process",
    "is not a directory",
    "uids and gids must be in range",
    "invalid tmpfs option",
    "error while mounting volume",
    "unknown or invalid runtime name",
];

/// The error of a create call. A 400 is the engine's refusal of the request's settings. The engine had the image just before, so
/// that one without it has lost it.
pub(crate) fn create_error(error: docker::Error) -> Error {
    if error.is_no_such_image() {
        return Error::Vanished(format!(
            "the image was removed before the container was created: {error}"
        ));
    }
    match error {
        docker::Error::Status { status: 400, .. } => Error::of_the_request(error),
        error => start_error(error),
    }
}

/// The error of a start call: [`Error::StartFailed`] only if the engine's words say that the fault lies in the request. Any
/// other status says something about the container or the engine: removed by another client (404, 409), denied by a plugin
/// (403), busy (429).
pub(crate) fn start_error(error: docker::Error) -> Error {
    if error.is_object_gone() {
        return error.into();
    }
    match error {
        docker::Error::Status {
            status, message, ..
        } if is_asked_for(status, &message) => Error::StartFailed(message),
        error => error.into(),
    }
}

fn is_asked_for(status: u16, message: &str) -> bool {
    let has_any = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let is_absent_network =
        status == 404 && message.contains("network ") && message.contains(" not found");
    is_absent_network
        || (matches!(status, 400 | 404 | 500..) && has_any(&ASKED_FOR) && !engine_lacks(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_without_space_is_not_the_callers_fault_whatever_its_status() {
        for (status, message, is_callers) in [
            (400, "symlink ../x/diff /y: no space left on device", false),
            (500, "mkdir /x: no space left on device", false),
            (400, "mkdir /x: disk quota exceeded", false),
            (400, "invalid hostname format: x y", true),
        ] {
            let error = || docker::Error::Status {
                call: "container_create",
                status,
                message: message.into(),
            };
            let is_start_failed = matches!(create_error(error()), Error::StartFailed(_));
            assert_eq!(is_start_failed, is_callers, "{status} {message}");
            let is_start_failed = matches!(Error::of_the_request(error()), Error::StartFailed(_));
            assert_eq!(is_start_failed, is_callers, "{status} {message}");
        }
    }

    #[test]
    fn only_what_the_engine_blames_on_the_request_is_the_callers() {
        for (status, message, is_callers) in [
            (
                400,
                "OCI runtime create failed: exec: \"x\": executable file not found in $PATH",
                true,
            ),
            (500, "OCI runtime create failed: chdir to cwd", true),
            (400, "unable to find user x: no matching entries", true),
            (404, "network nowhere not found", true),
            (
                500,
                "preparing container 1 for attach: crun: the path `/tmp` is not a regular file: OCI permission denied",
                true,
            ),
            (
                500,
                "OCI runtime create failed: write /x: no space left on device",
                false,
            ),
            (400, "starting a stopping container", false),
            (404, "No such container: gone", false),
            (409, "container is marked for removal", false),
            (403, "denied by a plugin", false),
            (429, "slow down", false),
            (500, "cannot allocate memory", false),
        ] {
            let error = docker::Error::Status {
                call: "container_start",
                status,
                message: message.into(),
            };
            let is_start_failed = matches!(start_error(error), Error::StartFailed(_));
            assert_eq!(is_start_failed, is_callers, "{status} {message}");
        }
    }
}
