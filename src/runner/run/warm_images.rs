//! The images of which containers wait from the start: resolved again and again, since a name may come to mean another image.

use crate::cancel::Cancel;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::rounds::Rounds;
use crate::runner::run::lifecycle::Executor;
use crate::runner::run::pid_1::Pid1Choice;
use crate::runner::run::result::Silent;
use crate::runner::run::warm_start::shape;
use crate::runner::warm::pool::WarmImage;
use crate::runner::warm::shape::misfit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the images are looked up.
const PERIOD: Duration = Duration::from_secs(30);
/// The same while one of them cannot have containers.
const RETRY_PERIOD: Duration = Duration::from_secs(10);

/// The images that the settings name.
pub(crate) struct WarmImages {
    images: Vec<WarmImage>,
    rounds: Mutex<Option<Rounds>>,
}

impl WarmImages {
    /// Does nothing yet.
    pub(crate) fn new(images: Vec<WarmImage>) -> Self {
        Self {
            images,
            rounds: Mutex::default(),
        }
    }

    /// Starts a thread that keeps their containers waiting, if there is any. Errors: no thread.
    pub(crate) fn start(&self, executor: &Executor, policy: &Arc<Policy>) -> std::io::Result<()> {
        if self.images.is_empty() {
            return Ok(());
        }
        let (images, executor, policy) =
            (self.images.clone(), executor.clone(), Arc::clone(policy));
        let round = move |stop: &Cancel| {
            let mut pause = PERIOD;
            for image in &images {
                if let Err(error) = keep_warm(&executor, image, &policy, stop)
                    && !stop.is_fired()
                {
                    log::warn!("no container waits for runs of {}: {error}", image.image);
                    pause = RETRY_PERIOD;
                }
            }
            pause
        };
        *self.lock_rounds() = Some(Rounds::start("warm-images", round)?);
        Ok(())
    }

    /// Stops the thread. Blocks for a moment at most.
    pub(crate) fn stop(&self, deadline: Instant) {
        if let Some(rounds) = self.lock_rounds().take() {
            rounds.stop(deadline);
        }
    }

    fn lock_rounds(&self) -> MutexGuard<'_, Option<Rounds>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps containers waiting for runs that name this image and nothing else that makes a difference. Pulls it if the engine does not have
/// it.
fn keep_warm(
    executor: &Executor,
    image: &WarmImage,
    policy: &Policy,
    stop: &Cancel,
) -> Result<(), Error> {
    let profile = ApiProfile {
        root: "RUNNER_WARM_IMAGES",
        pull_policy: PullPolicy::Missing,
        spelling: Spelling::Exact,
    };
    let request = serde_json::json!({ "image": image.image });
    let spec = RunSpec::from_json(request, profile, policy)?;
    if let Some(reason) = misfit(&spec) {
        return Err(Error::Engine(format!("not possible: {reason}")));
    }
    let Some(found) = executor.images.ensure(&spec, stop, &Silent)? else {
        return Ok(());
    };
    let choice = Pid1Choice::new(&executor.init).choose(&spec, &found);
    let pid_1 = choice.pid_1.ok_or_else(|| {
        let reason = executor.init.health().reason;
        let reason = reason.unwrap_or_else(|| "its program wants to be PID 1 itself".into());
        Error::Engine(format!(
            "its containers have no PID 1 of this service: {reason}"
        ))
    })?;
    let shape = shape(&spec, &found, &pid_1.volume);
    executor.warm.keep(image, &Arc::new(shape));
    Ok(())
}
