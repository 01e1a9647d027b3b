//! Classifies a failed pull: credentials refused, no such image, bad reference, registry unreachable.

use crate::docker::{self, AuthConfig};
use crate::runner::error::Error;

/// The error that a failed pull means. Decided by the message, which the engine passes on from the registry: the
/// engine's status does not distinguish these cases (Docker 20.10 answers all of them with 404 or 500).
pub(crate) fn pull_error(auth: Option<&AuthConfig>, error: docker::Error) -> Error {
    let docker::Error::Status {
        status, message, ..
    } = error
    else {
        return error.into();
    };
    let lowercase = message.to_lowercase();
    let has_any = |needles: &[&str]| needles.iter().any(|needle| lowercase.contains(needle));
    if has_any(&[
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "incorrect username",
    ]) {
        return Error::RegistryDenied(message);
    }
    // To a pull of an unknown image, Docker Hub answers "pull access denied for x, repository does not exist or may
    // require 'docker login'". With credentials that counts as denied, without them as not found.
    if has_any(&["denied", "forbidden"]) && (auth.is_some() || !has_any(&["does not exist"])) {
        return Error::RegistryDenied(message);
    }
    if has_any(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "no such image",
        "no matching manifest",
    ]) {
        return Error::ImageNotFound(message);
    }
    if status == 400 || has_any(&["invalid reference format", "invalid tag format"]) {
        return Error::InvalidReference(message);
    }
    if status == 404 {
        return Error::ImageNotFound(message);
    }
    Error::RegistryUnreachable(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_errors_are_classified_by_the_registrys_message() {
        let credentials = AuthConfig::default();
        let (anonymous, with_auth) = (None, Some(&credentials));
        let denied = "pull access denied for x, repository does not exist or may require 'docker login': denied: no";
        type Case<'a> = (Option<&'a AuthConfig>, u16, &'a str, fn(&Error) -> bool);
        let cases: [Case<'_>; 7] = [
            (
                anonymous,
                404,
                "manifest for x:nope not found: manifest unknown",
                |e| matches!(e, Error::ImageNotFound(_)),
            ),
            (anonymous, 404, denied, |e| {
                matches!(e, Error::ImageNotFound(_))
            }),
            (with_auth, 404, denied, |e| {
                matches!(e, Error::RegistryDenied(_))
            }),
            (
                anonymous,
                500,
                "Head \"http://r/v2\": no basic auth credentials",
                |e| matches!(e, Error::RegistryDenied(_)),
            ),
            (
                anonymous,
                500,
                "Get \"https://r/v2/\": unauthorized: bad",
                |e| matches!(e, Error::RegistryDenied(_)),
            ),
            (
                anonymous,
                500,
                "dial tcp 127.0.0.1:5: connect: connection refused",
                |e| matches!(e, Error::RegistryUnreachable(_)),
            ),
            (anonymous, 400, "invalid reference format", |e| {
                matches!(e, Error::InvalidReference(_))
            }),
        ];
        for (auth, status, message, expected) in cases {
            let error = docker::Error::Status {
                call: "image_pull",
                status,
                message: message.into(),
            };
            let error = pull_error(auth, error);
            assert!(expected(&error), "{message}: {error:?}");
        }
    }
}
