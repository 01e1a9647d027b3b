//! `/_ping` and `/version`, and which version of the API is spoken.
use super::call::{Call, Timeouts};
use super::{Client, Error, Version};
use std::time::Duration;
use ureq::http::Method;

/// The newest version that this client was written for (Engine 27), and the oldest that has all it needs (19.03).
const NEWEST: (u32, u32) = (1, 47);
const OLDEST: (u32, u32) = (1, 40);

impl Client {
    /// `GET /version` within `timeout`, whatever state the engine is in.
    pub fn version(&self, timeout: Duration) -> Result<Version, Error> {
        let call = Call::new("version", Method::GET, "/version".into());
        self.send(call.unversioned().timeouts(Timeouts::Total(timeout)))?
            .json()
    }

    /// `GET /_ping`: the older of the engine's newest version and ours.
    pub(super) fn negotiate(&self, call: &'static str) -> Result<String, Error> {
        let answer = self.send(Call::new(call, Method::GET, "/_ping".into()).unversioned())?;
        let theirs = answer.header("api-version").map(str::to_owned);
        answer.done()?;
        let malformed = |detail: String| Error::Malformed { call, detail };
        let Some(theirs) = theirs else {
            return Err(malformed(
                "no Api-Version in the answer to /_ping; is this a Docker engine?".into(),
            ));
        };
        match parse(&theirs) {
            None => Err(malformed(
                "the Api-Version in the answer to /_ping is not a version".into(),
            )),
            Some(version) if version < OLDEST => Err(Error::Unreachable {
                call,
                detail: format!(
                    "the engine speaks API {}.{} only, too old; {}.{} (Docker 19.03) is needed",
                    version.0, version.1, OLDEST.0, OLDEST.1
                ),
            }),
            Some(version) => {
                let (major, minor) = version.min(NEWEST);
                Ok(format!("{major}.{minor}"))
            }
        }
    }
}

/// `DOCKER_API_VERSION`, checked, since it becomes part of every path.
pub(super) fn pinned_version(text: &str) -> Result<String, String> {
    match parse(text.trim().trim_start_matches('v')) {
        Some((major, minor)) => Ok(format!("{major}.{minor}")),
        None => Err("DOCKER_API_VERSION is not a version such as 1.41".into()),
    }
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("1.9") < parse("1.41"));
        assert_eq!(pinned_version(" v1.41\n").as_deref(), Ok("1.41"));
        for text in ["", "1", "1.x", "../", "1.41/..", "-1.2"] {
            assert!(pinned_version(text).is_err(), "{text}");
        }
    }
}
