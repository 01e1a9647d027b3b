//! What is different in the life of a run whose container an earlier server process has started.

use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{image_digest, image_volumes};
use crate::runner::run::context::RunContext;
use crate::runner::run::create::{Created, StageObjects};
use crate::runner::run::engine_away::{follow_through, until_reachable};
use crate::runner::run::follow::{StartedContainer, end_unbegun};
use crate::runner::run::lifecycle::{Executor, Run, StartedRun};
use crate::runner::run::result::RunResult;
use crate::runner::run::streams::OutputStreams;
use crate::runner::run::tally::observe;
use std::time::Instant;

impl Executor {
    /// Ends a container whose stdin was cut when an earlier process died. Returns whether its command has not begun, so that the run
    /// can be set up again.
    pub(crate) fn end_unbegun(
        &self,
        spec: &RunSpec,
        started: &StartedRun,
        context: &RunContext<'_>,
    ) -> bool {
        let followed = StartedContainer {
            client: &self.engine.client,
            container: started.container.id(),
            spec,
            context,
        };
        end_unbegun(followed, started.nonce.as_deref())
    }
}

impl Run<'_> {
    /// The time that no server was there counts only as far as the container ran. Errors: [`Error::StdinLost`] if the command has not
    /// begun and never will, so that the run can be set up again.
    pub(super) fn resume(mut self, spec: &RunSpec, run: StartedRun) -> Result<RunResult, Error> {
        let engine = &self.executor.engine;
        let id = run.container.id().to_owned();
        let helper = run.helper.as_ref().map(|helper| helper.id().to_owned());
        self.owned.add_first(run.container);
        run.helper
            .into_iter()
            .for_each(|helper| self.owned.add_last(helper));
        let cancel = self.context.cancel;
        let stage = until_reachable((&engine.client, cancel), || {
            Ok(StageObjects::of_container(
                &engine.client,
                &id,
                &spec.id,
                helper.clone(),
            )?)
        })?;
        let Some(stage) = stage else {
            return Ok(self.cancelled());
        };
        if let Some(volume) = &stage.volume {
            let volume = Object::Volume(volume.clone());
            self.owned.add_last(engine.removal.own(volume));
        }
        let followed = StartedContainer {
            client: &engine.client,
            container: &id,
            spec,
            context: &self.context,
        };
        let mut streams = OutputStreams::new(spec, run.nonce.as_deref(), self.context.sink);
        if run.nonce.is_none() {
            streams.announce_start();
        }
        let followed = follow_through(followed, &mut streams).inspect_err(|error| {
            if matches!(error, Error::StdinLost(_)) {
                // Before its container is gone.
                self.context.hooks.not_started();
            }
        })?;
        let Some(followed) = followed else {
            return Ok(self.cancelled());
        };
        let now = Instant::now();
        self.context.accepted = now.checked_sub(followed.elapsed).unwrap_or(now);
        self.timings.run_ms = observe("run", followed.ending.run);
        // By its id: by now, the reference may name another image.
        let image = engine.client.image_inspect(&followed.image);
        let (digest, image_volumes) = match image {
            Ok(image) => (image_digest(&spec.image, &image), image_volumes(&image)),
            Err(_) => (followed.image, Vec::new()),
        };
        let created = Created {
            container: id,
            stage,
            pid_1: None,
            image_digest: digest,
            image_volumes,
            warnings: followed.warnings,
        };
        let collection = self.collect(spec, &created, followed.ending.reason);
        Ok(self.answer(created, followed.ending, collection))
    }
}
