//! Makes sure that the engine has an image before a run: inspects it, and pulls it as the pull policy demands.

use crate::cancel::Cancel;
use crate::docker::{self, Client, ImageInspect, PullProgress};
use crate::runner::error::Error;
use crate::runner::request::platform::Platform;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::result::{Event, Sink};
use crate::runner::run::shared_pull::{PullKey, SharedPulls, WaitEnd};
use std::time::{Duration, Instant};

/// The engine's images and the pulls in progress. Clones share them.
#[derive(Clone)]
pub(crate) struct Images {
    client: Client,
    pull_timeout: Duration,
    pulls: SharedPulls,
}

impl Images {
    pub(crate) fn new(client: Client, pull_timeout: Duration) -> Self {
        Self {
            pulls: SharedPulls::new(client.clone()),
            client,
            pull_timeout,
        }
    }

    /// Pulls the image if `spec.pull_policy` demands it, and inspects it. Blocks until then, at most for the pull timeout.
    /// `Ok(None)`: cancelled while waiting.
    pub(crate) fn ensure(
        &self,
        spec: &RunSpec,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<Option<ImageInspect>, Error> {
        if spec.pull_policy != PullPolicy::Always
            && let Some(image) = self.inspect_local(spec)?
        {
            return Ok(Some(image));
        }
        if !self.pull(spec, cancel, sink)? {
            return Ok(None);
        }
        self.client
            .image_inspect(&spec.image)
            .map(Some)
            .map_err(|error| match is_not_found(&error) {
                true => Error::Vanished(format!(
                    "{} was removed from the engine after it was pulled",
                    spec.image
                )),
                false => engine_error(error),
            })
    }

    /// Whether the engine still has an image that [`Images::ensure`] returned.
    pub(crate) fn has(&self, image: &ImageInspect) -> Result<bool, Error> {
        match self.client.image_inspect(&image.id) {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Inspects the image that the engine already has. `Ok(None)`: it must be pulled.
    fn inspect_local(&self, spec: &RunSpec) -> Result<Option<ImageInspect>, Error> {
        let detail = match self.client.image_inspect(&spec.image) {
            Ok(image) if is_for_platform(&image, spec.platform.as_ref()) => {
                return Ok(Some(image));
            }
            Ok(_) => format!(
                "{} is there, but not for the platform asked for",
                spec.image
            ),
            Err(error) if is_not_found(&error) => format!(
                "the engine does not have {}, and pull_policy is never",
                spec.image
            ),
            Err(error) => return Err(engine_error(error)),
        };
        match spec.pull_policy {
            PullPolicy::Never => Err(Error::ImageNotFound(detail)),
            PullPolicy::Always | PullPolicy::Missing => Ok(None),
        }
    }

    /// Waits for a pull of the image, which other runs may share. `Ok(false)`: cancelled.
    fn pull(&self, spec: &RunSpec, cancel: &Cancel, sink: &dyn Sink) -> Result<bool, Error> {
        let key = PullKey {
            reference: spec.image.clone(),
            platform: spec.platform.as_ref().map(ToString::to_string),
            auth: spec
                .auth
                .as_ref()
                .and_then(|auth| serde_json::to_string(auth).ok()),
        };
        // Sent first, because the registry's first answer may take long.
        sink.event(Event::Pull {
            status: "Contacting the registry".into(),
            id: spec.image.clone(),
            current: 0,
            total: 0,
        });
        let pull = self.pulls.join(&key, spec.auth.clone());
        let deadline = Instant::now() + self.pull_timeout;
        let end = pull.wait(deadline, cancel, &|progress| {
            sink.event(pull_event(progress));
        });
        match end {
            WaitEnd::Complete(result) => result.map(|()| true),
            WaitEnd::DeadlinePassed => Err(Error::PullTimeout {
                timeout_secs: self.pull_timeout.as_secs(),
            }),
            WaitEnd::Cancelled => Ok(false),
        }
    }
}

fn pull_event(progress: PullProgress) -> Event {
    Event::Pull {
        status: progress.status,
        id: progress.id,
        current: progress.progress_detail.current,
        total: progress.progress_detail.total,
    }
}

fn is_not_found(error: &docker::Error) -> bool {
    matches!(error, docker::Error::Status { status: 404, .. })
}

/// The engine answers 400 to a reference that it cannot parse.
fn engine_error(error: docker::Error) -> Error {
    match error {
        docker::Error::Status {
            status: 400,
            message,
            ..
        } => Error::InvalidReference(message),
        other => other.into(),
    }
}

/// Whether a local image is for the requested platform.
fn is_for_platform(image: &ImageInspect, platform: Option<&Platform>) -> bool {
    platform.is_none_or(|platform| {
        platform.matches(&Platform::new(
            &image.os,
            &image.architecture,
            &image.variant,
        ))
    })
}
