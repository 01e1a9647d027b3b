//! Decides whether a run's container has the service's own PID 1, and finds out why one could not have it.

use crate::docker::ImageInspect;
use crate::init::protocol::INIT_DIRECTORY;
use crate::random_id;
use crate::runner::error::Error;
use crate::runner::init::choice::is_wanted;
use crate::runner::init::delivery::InitDelivery;
use crate::runner::init::words::Words;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{Pid1, container_name};

/// What is decided for a container.
pub(crate) struct Choice {
    /// `None`: the command is PID 1, or the engine's own init if the request asked for one.
    pub(crate) pid_1: Option<Pid1>,
    /// The decision in one word, for metrics.
    pub(crate) word: &'static str,
    /// What could not be done as asked.
    pub(crate) warning: Option<String>,
}

/// Decides for one run. `fault` is why an earlier container of this run could not have it. May wait for the delivery of the init.
pub(crate) fn choose(
    init: &InitDelivery,
    spec: &RunSpec,
    image: &ImageInspect,
    fault: Option<&str>,
) -> Choice {
    let words = Words::of(spec, &image.config);
    let argv = words.argv();
    // The engine says what is wrong with an empty command.
    if argv.is_empty() || !is_wanted(init.mode(), spec.init, words.program()) {
        return Choice {
            pid_1: None,
            word: "command",
            warning: None,
        };
    }
    let volume = || match fault {
        Some(_) => None,
        None => init.volume(),
    };
    let pid_1 = random_id::unguessable().ok().and_then(|nonce| {
        volume().map(|volume| Pid1 {
            volume,
            nonce,
            argv,
        })
    });
    let is_lacking = pid_1.is_none();
    Choice {
        pid_1,
        word: match is_lacking {
            true => init.lack(),
            false => "init",
        },
        warning: (is_lacking && spec.init == Some(true)).then(|| {
            let reason = fault.map(str::to_owned).or(init.health().reason);
            let reason = reason.unwrap_or_default();
            format!(
                "init: the engine's own init is PID 1, since this service's cannot be: {reason}"
            )
        }),
    }
}

/// The cause of a failed start, if it is the container's PID 1 that could not be started. Errors: it is another, the given one.
pub(crate) fn explain(
    init: &InitDelivery,
    pid_1: &Pid1,
    spec: &RunSpec,
    error: Error,
) -> Result<Unstartable, Error> {
    match error {
        Error::StartFailed(words) if words.contains(INIT_DIRECTORY) => {
            let was_removed = init.reject(&pid_1.volume, &container_name(spec), &words);
            let detail = format!("its container cannot have this service's PID 1: {words}");
            Ok(Unstartable {
                fault: (!was_removed).then_some(words),
                error: Error::Vanished(detail),
            })
        }
        error => Err(error),
    }
}

/// A PID 1 that could not be started.
pub(crate) struct Unstartable {
    /// Why the run has to go without. `None`: the volume with the init was removed, and there will be another.
    pub(crate) fault: Option<String>,
    /// Makes the run be set up again.
    pub(crate) error: Error,
}
