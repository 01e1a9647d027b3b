//! The images of which containers wait from the start: resolved again and again, since a name may come to mean another image.

use crate::cancel::Cancel;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::lifecycle::Executor;
use crate::runner::run::pid_1;
use crate::runner::run::result::Silent;
use crate::runner::run::warm_start::shape;
use crate::runner::warm::pool::WarmImage;
use crate::runner::warm::shape::misfit;
use std::sync::Arc;

/// Keeps containers waiting for runs that name this image and nothing else that makes a difference. Pulls it if the engine does not have
/// it.
pub(crate) fn keep_warm(
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
