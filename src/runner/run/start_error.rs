//! Which failures of create and start calls are the caller's.

use crate::docker;
use crate::runner::error::Error;

/// The error of a create call. The engine had the image just before, so that one without it has lost it.
pub(crate) fn create_error(error: docker::Error) -> Error {
    if error.is_no_such_image() {
        return Error::Vanished(format!(
            "the image was removed before the container was created: {error}"
        ));
    }
    start_error(error)
}

/// The error of a start call: [`Error::StartFailed`] if the engine's words say that the fault lies in the request,
/// [`Error::Vanished`] if the container, its image or a volume is gone.
pub(crate) fn start_error(error: docker::Error) -> Error {
    if error.is_object_gone() {
        return error.into();
    }
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
