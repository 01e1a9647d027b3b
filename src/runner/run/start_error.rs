//! Which failures of create and start calls are the caller's.

use crate::docker;
use crate::runner::error::Error;

/// The error of a create call. The engine answers 400, 404 or 409 where the fault lies in the request.
pub(crate) fn create_error(error: docker::Error) -> Error {
    let is_missing = error.is_no_such_image();
    match error {
        docker::Error::Status { message, .. } if is_missing => Error::ImageNotFound(message),
        error => start_error(error),
    }
}

/// The error of a start call: [`Error::StartFailed`] if the engine's words say that the fault lies in the request.
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
