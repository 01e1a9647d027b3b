//! Decides whether a run's container has the service's own PID 1, and finds out why one could not have it.

use crate::docker::ImageInspect;
use crate::init::protocol::INIT_DIRECTORY;
use crate::metrics::{self, Label};
use crate::random_id;
use crate::runner::error::Error;
use crate::runner::init::choice::is_wanted;
use crate::runner::init::delivery::{InitDelivery, Refused};
use crate::runner::init::variables::kept_from_pid_1;
use crate::runner::init::words::Words;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{Pid1, container_name};
use crate::runner::run::create::Created;

/// What is decided for a container.
pub(crate) struct Choice {
    /// `None`: the command is PID 1, or the engine's own init if the request asked for one.
    pub(crate) pid_1: Option<Pid1>,
    /// The decision in one word, for metrics.
    pub(crate) word: &'static str,
    /// What could not be done as asked.
    pub(crate) warning: Option<String>,
}

/// Decides for the containers of one run.
pub(crate) struct Pid1Choice<'a> {
    init: &'a InitDelivery,
    /// Id of the run's image.
    image: String,
    /// Why an earlier container of this run, or of its image, could not have it.
    fault: Option<String>,
}

impl<'a> Pid1Choice<'a> {
    pub(crate) fn new(init: &'a InitDelivery) -> Self {
        Self {
            init,
            image: String::new(),
            fault: None,
        }
    }

    /// Decides for the next container. May wait for the delivery of the init.
    pub(crate) fn choose(&mut self, spec: &RunSpec, image: &ImageInspect) -> Choice {
        let init = self.init;
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
        self.image.clone_from(&image.id);
        if self.fault.is_none() {
            self.fault = init.refusal(&image.id);
        }
        let volume = || match self.fault {
            Some(_) => None,
            None => init.volume(),
        };
        let nonce = random_id::unguessable().ok();
        let pid_1 = nonce.and_then(|nonce| {
            volume().map(|volume| Pid1 {
                volume,
                nonce,
                argv,
                env: kept_from_pid_1(&spec.env, &image.config.env)
                    .into_iter()
                    .collect(),
            })
        });
        let is_lacking = pid_1.is_none();
        Choice {
            pid_1,
            word: match is_lacking {
                true => init.lack(),
                false => "init",
            },
            warning: (is_lacking && spec.init == Some(true)).then(|| self.warning()),
        }
    }

    fn warning(&self) -> String {
        let reason = self.fault.clone().or(self.init.health().reason);
        let reason = reason.unwrap_or_default();
        format!("init: the engine's own init is PID 1, since this service's cannot be: {reason}")
    }

    /// To be called when a container has started.
    pub(crate) fn started(&self, created: &Created, word: &'static str) {
        if let Some(pid_1) = &created.pid_1 {
            self.init.confirm(&pid_1.volume);
        }
        metrics::RUN_CONTAINERS.add([Label::Word(word)]);
    }

    /// The error of a start, or, if it was the container's PID 1 that could not be started, one that makes the run be set up again:
    /// with another volume if that with the init was removed, else without.
    pub(crate) fn explain(&mut self, created: &Created, spec: &RunSpec, error: Error) -> Error {
        match (&created.pid_1, error) {
            (Some(pid_1), Error::StartFailed(words)) if words.contains(INIT_DIRECTORY) => {
                let was_removed = self.init.reject(&Refused {
                    volume: &pid_1.volume,
                    container: &container_name(spec),
                    image: &self.image,
                    reason: &words,
                });
                let detail = format!("its container cannot have this service's PID 1: {words}");
                self.fault = (!was_removed).then_some(words);
                Error::Vanished(detail)
            }
            // The mount of the init may be below a link of the image, over a directory that the engine needs. If it is not, the next
            // start fails as well.
            (Some(_), Error::StartFailed(words))
                if self.fault.is_none()
                    && words.contains("to rootfs at")
                    && words.contains("read-only file system") =>
            {
                self.fault = Some(words.clone());
                Error::Vanished(words)
            }
            (_, error) => error,
        }
    }
}
