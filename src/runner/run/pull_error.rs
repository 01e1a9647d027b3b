//! Classifies failed pulls by the registry's message.

use crate::docker::{self, AuthConfig};
use crate::runner::error::Error;

/// What a failed pull means. The engine's status does not tell these apart (20.10 answers 404 or 500 to all), its
/// words, which are the registry's, do.
pub(crate) fn pull_error(auth: Option<&AuthConfig>, error: docker::Error) -> Error {
    let docker::Error::Status {
        status, message, ..
    } = error
    else {
        return error.into();
    };
    let words = message.to_lowercase();
    let says = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    if says(&[
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "incorrect username",
    ]) {
        return Error::RegistryDenied(message);
    }
    if says(&["denied", "forbidden"]) && (auth.is_some() || !says(&["does not exist"])) {
        return Error::RegistryDenied(message);
    }
    if says(&[
        "not found",
        "manifest unknown",
        "does not exist",
        "no such image",
        "no matching manifest",
    ]) {
        return Error::ImageNotFound(message);
    }
    if status == 400 || says(&["invalid reference format", "invalid tag format"]) {
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
    fn a_failed_pull_is_told_apart_by_the_registrys_words() {
        let credentials = AuthConfig::default();
        let (open, with_auth) = (None, Some(&credentials));
        let denied = "pull access denied for x, repository does not exist or may require 'docker login': denied: no";
        type Case<'a> = (Option<&'a AuthConfig>, u16, &'a str, fn(&Error) -> bool);
        let cases: [Case<'_>; 7] = [
            (
                open,
                404,
                "manifest for x:nope not found: manifest unknown",
                |e| matches!(e, Error::ImageNotFound(_)),
            ),
            (open, 404, denied, |e| matches!(e, Error::ImageNotFound(_))),
            (with_auth, 404, denied, |e| {
                matches!(e, Error::RegistryDenied(_))
            }),
            (
                open,
                500,
                "Head \"http://r/v2\": no basic auth credentials",
                |e| matches!(e, Error::RegistryDenied(_)),
            ),
            (open, 500, "Get \"https://r/v2/\": unauthorized: bad", |e| {
                matches!(e, Error::RegistryDenied(_))
            }),
            (
                open,
                500,
                "dial tcp 127.0.0.1:5: connect: connection refused",
                |e| matches!(e, Error::RegistryUnreachable(_)),
            ),
            (open, 400, "invalid reference format", |e| {
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
