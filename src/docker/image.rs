//! Endpoints below `/images`.
use super::call::{Call, Timeouts, path};
use super::client::Client;
use super::error::Error;
use super::messages::Messages;
use super::reference::split_tag;
use super::registry_auth;
use super::types::{AuthConfig, ImageInspect, ImageSummary, PullProgress};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::io::Read;
use std::time::Duration;
use ureq::http::Method;

/// Interval of the calls of `progress` while no message arrives.
const PULL_TICK: Duration = Duration::from_secs(1);
/// Messages that are buffered while `progress` is busy.
const PULL_BACKLOG: usize = 64;

impl Client {
    /// `GET /images/{name}/json`
    pub fn image_inspect(&self, name: &str) -> Result<ImageInspect, Error> {
        let name = path("image_inspect", "/images", name, "/json")?;
        self.send(Call::new("image_inspect", Method::GET, name))?
            .json()
    }

    /// `GET /images/json`
    pub fn image_list(&self) -> Result<Vec<ImageSummary>, Error> {
        self.send(Call::new("image_list", Method::GET, "/images/json".into()))?
            .json()
    }

    /// `POST /images/create?fromImage=&tag=&platform=` with `X-Registry-Auth`. Blocks until the pull has ended.
    ///
    /// `progress` gets every message. If it returns false, the connection is dropped and the outcome is
    /// [`Error::Source`]. An error that the engine reports within the stream is [`Error::Status`].
    ///
    /// There is no time limit, and the engine can be silent for minutes, even before the head of its response. While
    /// nothing arrives, `progress` is called once a second with an empty message, so that it can enforce a limit. The
    /// engine cancels a pull whose connection is dropped, but not at once: 20.10 first waits for the registry's manifest.
    pub fn image_pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<&AuthConfig>,
        progress: &mut dyn FnMut(PullProgress) -> bool,
    ) -> Result<(), Error> {
        let agent = self.separate_agent();
        let call = pull_call(reference, platform, auth).with_agent(agent.clone());
        let (sender, events) = bounded(PULL_BACKLOG);
        let client = self.clone();
        // On a thread of its own, so that this one can call `progress` while the engine is silent. The thread ends with
        // the call.
        let thread = std::thread::Builder::new().name("pull".into());
        let spawned = thread.spawn(move || {
            let outcome = client.pull(call, &sender);
            let _ = sender.send(PullEvent::Ended(outcome));
        });
        spawned.map_err(|error| Error::Exhausted {
            call: "image_pull",
            detail: error.to_string(),
        })?;
        loop {
            let message = match events.recv_timeout(PULL_TICK) {
                Ok(PullEvent::Ended(outcome)) => return outcome,
                Ok(PullEvent::Progress(message)) => message,
                Err(RecvTimeoutError::Timeout) => PullProgress::default(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(source_error("the pulling thread is gone"));
                }
            };
            if !progress(message) {
                agent.shutdown();
                return Err(source_error("the caller ended the pull"));
            }
        }
    }

    fn pull(&self, call: Call<'static>, events: &Sender<PullEvent>) -> Result<(), Error> {
        let mut messages = Messages::new("image_pull", self.send(call)?.into_stream());
        while let Some(message) = messages.next()? {
            // The receiver is gone: the pull was cancelled. Returning closes the connection.
            if events.send(PullEvent::Progress(message)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// `POST /images/create?fromSrc=-&repo=&tag=&changes=`: imports an uncompressed tar as an image and returns the
    /// image's id. `changes` are Dockerfile instructions.
    pub fn image_import(
        &self,
        repo: &str,
        tag: &str,
        changes: &[&str],
        tar: &mut (dyn Read + Send),
    ) -> Result<String, Error> {
        let mut call = Call::new("image_import", Method::POST, "/images/create".into())
            .query("fromSrc", "-")
            .query("repo", repo)
            .query("tag", tag);
        for change in changes {
            call = call.query("changes", change);
        }
        let response = self.send(call.tar(tar).timeouts(Timeouts::PerReadAndWrite))?;
        let mut messages = Messages::new("image_import", response.into_stream());
        let mut last = String::new();
        while let Some(message) = messages.next()? {
            last = message.status;
        }
        if last.starts_with("sha256:") {
            return Ok(last);
        }
        Err(Error::Malformed {
            call: "image_import",
            detail: "no image id in the answer".into(),
        })
    }
}

enum PullEvent {
    Progress(PullProgress),
    Ended(Result<(), Error>),
}

fn pull_call(reference: &str, platform: Option<&str>, auth: Option<&AuthConfig>) -> Call<'static> {
    let (image, tag) = split_reference(reference);
    let mut call = Call::new("image_pull", Method::POST, "/images/create".into())
        .query("fromImage", image)
        .query("tag", tag)
        .timeouts(Timeouts::UntilSent);
    if let Some(platform) = platform {
        call = call.query("platform", platform);
    }
    if let Some(auth) = auth {
        call = call.header("x-registry-auth", registry_auth::header_value(auth));
    }
    call
}

/// Splits a reference into repository and tag or digest. Without either the tag is `latest`, because an empty one would
/// pull all tags. A digest wins over a tag.
fn split_reference(reference: &str) -> (&str, &str) {
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    let (repository, tag) = split_tag(named);
    (repository, digest.or(tag).unwrap_or("latest"))
}

fn source_error(detail: &str) -> Error {
    Error::Source {
        call: "image_pull",
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_split_into_repository_and_tag_or_digest() {
        let cases = [
            ("alpine", ("alpine", "latest")),
            ("alpine:3", ("alpine", "3")),
            ("reg:5000/x", ("reg:5000/x", "latest")),
            ("reg:5000/x:1", ("reg:5000/x", "1")),
            ("reg:5000/x@sha256:ab", ("reg:5000/x", "sha256:ab")),
            ("reg:5000/x:1@sha256:ab", ("reg:5000/x", "sha256:ab")),
            ("ghcr.io/a/b/c", ("ghcr.io/a/b/c", "latest")),
        ];
        for (reference, expected) in cases {
            assert_eq!(split_reference(reference), expected);
        }
    }
}
