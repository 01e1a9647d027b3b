//! What is different in the life of a run that has a container which had waited for it.

use crate::docker::ImageInspect;
use crate::metrics::{self, Label};
use crate::runner::cleanup::owned::Owned;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{image_digest, image_volumes};
use crate::runner::run::create::{Created, StageObjects};
use crate::runner::run::ending::Ending;
use crate::runner::run::engine_away::{Begun, watch_through};
use crate::runner::run::lifecycle::{Executor, Run, Started};
use crate::runner::run::warm_start::{self, WarmStart, WarmStarted};

impl Executor {
    /// Whether a run could have a container that waits, as far as its request says.
    pub(crate) fn may_be_warm(&self, spec: &RunSpec) -> bool {
        self.warm.is_on() && warm_start::is_possible(spec, &self.init)
    }
}

impl Run<'_> {
    /// Blocks until the container has ended. If it is one that had waited, and it ended before the command began, the run is started
    /// again. `None`: cancelled.
    pub(super) fn start_and_watch(
        &mut self,
        spec: &mut RunSpec,
    ) -> Result<Option<(Created, Ending)>, Error> {
        let client = &self.executor.engine.client;
        loop {
            let Some(Started { created, container }) = self.start(spec)? else {
                return Ok(None);
            };
            // The engine has the content, so that ours is dropped.
            spec.forget_content();
            match watch_through(client, container, spec, &self.context) {
                Err(error) if self.warm.may_repeat(spec, &error) => {
                    log::info!("run {} is started again: {error}", self.id);
                    self.owned = Owned::default();
                }
                ended => return Ok(ended?.map(|ending| (created, ending))),
            }
        }
    }

    /// Starts the run in a container that waits, if there is one.
    pub(super) fn begin_warm(&mut self, spec: &RunSpec, image: &ImageInspect) -> Option<Started> {
        if self.context.cancel.is_fired() {
            return None;
        }
        let executor = self.executor;
        let start = WarmStart {
            client: &executor.engine.client,
            init: &executor.init,
            pool: &executor.warm,
            spec,
            image,
        };
        let WarmStarted {
            guard,
            started,
            warnings,
        } = start.begin(&mut self.warm)?;
        let created = Created {
            container: guard.id().to_owned(),
            stage: StageObjects::default(),
            pid_1: None,
            image_digest: image_digest(&spec.image, image),
            image_volumes: image_volumes(image),
            warnings,
        };
        self.owned.add_first(guard);
        metrics::RUN_CONTAINERS.add([Label::Word("init")]);
        Some(Started {
            created,
            container: Begun::JustStarted(Box::new(started)),
        })
    }
}

impl Started {
    pub(super) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.created.warnings.extend(warnings);
        self
    }
}
