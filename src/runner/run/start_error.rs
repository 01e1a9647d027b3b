//! Which failures of create and start calls are the caller's.

use crate::docker;
use crate::runner::error::Error;

/// A create call fails for the caller's faults with 400, 404 and 409.
pub(crate) fn create_error(error: docker::Error) -> Error {
    let is_missing = error.is_no_such_image();
    match error {
        docker::Error::Status { message, .. } if is_missing => Error::ImageNotFound(message),
        error => start_error(error),
    }
}

/// What the engine says when the fault lies in what was asked.
pub(crate) fn start_error(error: docker::Error) -> Error {
    let docker::Error::Status {
        status, message, ..
    } = &error
    else {
        return error.into();
    };
    let asked_for = [
        "OCI runtime",
        "unable to find user",
        "unable to find group",
        "starting container process",
        "is not a directory",
        "uids and gids must be in range",
        "invalid tmpfs option",
        "error while mounting volume",
    ];
    if (400..500).contains(status) || asked_for.iter().any(|words| message.contains(words)) {
        return Error::StartFailed(message.clone());
    }
    error.into()
}
