//! Choice of the Engine API version. Pure: [`super::client`] sends the `/_ping` whose header is read here.
//!
//! [Versioning](https://docs.docker.com/reference/api/engine/#api-version-matrix)
use super::error::Error;

/// The newest version that this client was written for (Engine 27).
const NEWEST: Version = Version(1, 47);
/// The oldest version that has every endpoint and field used here (Docker 19.03).
const OLDEST: Version = Version(1, 40);

/// Major and minor number, which compare as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// What an engine speaks.
#[derive(Clone, Debug)]
pub(super) struct SpokenApi {
    /// The version for all calls, such as `1.41`.
    pub(super) version: String,
    /// It is Podman, which imitates the Engine API.
    pub(super) is_podman: bool,
}

impl SpokenApi {
    /// Whether calls use this version or a newer one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        parse(&self.version).is_some_and(|version| version >= Version(major, minor))
    }
}

/// The version to use with an engine whose `/_ping` answered with this `Api-Version` header: the older of the engine's
/// newest version and [`NEWEST`]. Errors: no header, not a version, or older than [`OLDEST`].
pub(super) fn negotiated(call: &'static str, header: Option<&str>) -> Result<String, Error> {
    let malformed = |detail: &str| Error::Malformed {
        call,
        detail: detail.into(),
    };
    let header = header.ok_or_else(|| {
        malformed("no Api-Version in the answer to /_ping; is this a Docker engine?")
    })?;
    match parse(header) {
        None => Err(malformed(
            "the Api-Version in the answer to /_ping is not a version",
        )),
        Some(version) if version < OLDEST => Err(too_old(call, version)),
        Some(version) => {
            let Version(major, minor) = version.min(NEWEST);
            Ok(format!("{major}.{minor}"))
        }
    }
}

/// Checks the newest and the oldest version that an engine says it has. One that is no version is not checked. Error: the
/// engine is too old or too new for this client.
pub(super) fn check_range(call: &'static str, newest: &str, oldest: &str) -> Result<(), Error> {
    match (parse(newest), parse(oldest)) {
        (Some(newest), _) if newest < OLDEST => Err(too_old(call, newest)),
        (_, Some(oldest)) if oldest > NEWEST => Err(Error::Unreachable {
            call,
            detail: format!(
                "the engine refuses API versions before {}.{}; this client has {}.{} at most",
                oldest.0, oldest.1, NEWEST.0, NEWEST.1
            ),
        }),
        _ => Ok(()),
    }
}

fn too_old(call: &'static str, version: Version) -> Error {
    Error::Unreachable {
        call,
        detail: format!(
            "the engine speaks API {}.{} only, too old; {}.{} (Docker 19.03) is needed",
            version.0, version.1, OLDEST.0, OLDEST.1
        ),
    }
}

/// Checks a value of `DOCKER_API_VERSION`, because it becomes part of every path. One that is newer than [`NEWEST`] may work:
/// the engine decides. Errors, in words: not a version, or older than [`OLDEST`].
pub(super) fn pinned(text: &str) -> Result<String, String> {
    match parse(text.trim().trim_start_matches('v')) {
        Some(version) if version < OLDEST => Err(format!(
            "DOCKER_API_VERSION is too old: {}.{} (Docker 19.03) or newer is needed",
            OLDEST.0, OLDEST.1
        )),
        Some(Version(major, minor)) => Ok(format!("{major}.{minor}")),
        None => Err("DOCKER_API_VERSION is not a version such as 1.41".into()),
    }
}

/// Checks a version that is to be used instead of the negotiated one. Errors: not a version, or not one that this client
/// speaks.
pub fn check_api_version(text: &str) -> Result<(), String> {
    match parse(text.trim().trim_start_matches('v')) {
        Some(version) if (OLDEST..=NEWEST).contains(&version) => Ok(()),
        _ => Err(format!(
            "expected an Engine API version from {}.{} to {}.{}, such as 1.41",
            OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
        )),
    }
}

fn parse(text: &str) -> Option<Version> {
    let (major, minor) = text.split_once('.')?;
    Some(Version(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_whose_versions_do_not_overlap_with_the_clients_is_refused() {
        for (newest, oldest, words) in [
            ("1.39", "1.12", "too old"),
            ("1.99", "1.48", "refuses API versions before 1.48"),
        ] {
            let error = check_range("version", newest, oldest).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        for (newest, oldest) in [("1.40", ""), ("1.99", "1.47"), ("", "")] {
            assert!(check_range("version", newest, oldest).is_ok());
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("1.9") < parse("1.41"));
        assert_eq!(pinned(" v1.41\n").as_deref(), Ok("1.41"));
        for text in [
            "", "1", "1.x", "../", "1.41/..", "-1.2", "1.10", "1.39", "0.99",
        ] {
            assert!(pinned(text).is_err(), "{text}");
        }
    }
}
