//! The life of a run, step by step: wait for a slot, pull, stage, create, start and supervise, collect, answer. Every object
//! in the engine is owned from before its create call, and removed behind the answer.

use crate::cancel::Cancel;
use crate::docker::ImageInspect;
use crate::memory::{MemoryBudget, Reservation};
use crate::metrics::{self, Label};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::request::mounts::MountSource;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::admission::{Admission, Refused};
use crate::runner::run::answer::Answer;
use crate::runner::run::answer_memory::{CollectRoom, MemoryTerms};
use crate::runner::run::collect::{Collection, Sources};
use crate::runner::run::container_config::image_digest;
use crate::runner::run::context::{NoHooks, RunContext};
use crate::runner::run::create::{Created, create};
use crate::runner::run::ending::Ending;
use crate::runner::run::pull::Images;
use crate::runner::run::result::{Event, Reason, RunResult, Sink, Timings};
use crate::runner::run::stage::{Staged, stage};
use crate::runner::run::supervise::{StartedContainer, follow, supervise};
use crate::runner::run::user::UserCache;
use crate::runner::volumes::named::require_volume;
use std::time::{Duration, Instant};

/// Executes runs. Clones share everything.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) engine: Engine,
    pub(crate) admission: Admission,
    pub(crate) active: Active,
    pub(crate) images: Images,
    pub(crate) users: UserCache,
    pub(crate) memory: MemoryBudget,
}

/// What an earlier process left of a run that it had started.
pub(crate) struct StartedRun {
    pub(crate) container: RemovalGuard,
    pub(crate) staged: Option<Staged>,
    pub(crate) started: Moment,
}

impl Executor {
    /// Runs a spec whose caller waits. Blocks until the result is there.
    pub(crate) fn execute(
        &self,
        spec: RunSpec,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<RunResult, Error> {
        let accepted = Instant::now();
        let admitted = self.admission.enter(cancel, &mut |position| {
            sink.event(Event::Queued { position });
        });
        match admitted {
            Ok(slot) => {
                let context = RunContext {
                    accepted,
                    cancel,
                    sink,
                    hooks: &NoHooks,
                    memory: MemoryTerms::SYNCHRONOUS,
                };
                let outcome = self.execute_admitted(spec, context);
                drop(slot);
                outcome
            }
            Err(Refused::Cancelled) => Ok(cancelled_before_start(spec.id, accepted)),
            Err(Refused::Full) => {
                metrics::RUNS.add([Label::Word("refused")]);
                Err(Error::QueueFull {
                    retry_after_secs: 1,
                })
            }
        }
    }

    /// Runs a spec for which the caller holds a slot. Blocks until the result is there.
    pub(crate) fn execute_admitted(
        &self,
        spec: RunSpec,
        context: RunContext<'_>,
    ) -> Result<RunResult, Error> {
        let _active = self.active.enter_as(spec.id.clone());
        let mut run = Run::new(self, &spec, context);
        // Before anything is started: a run that was executed must not be refused.
        let memory = context.memory.take(&run.memory, &spec, context.cancel);
        run.timings.queue_ms = observe("queue", context.accepted.elapsed());
        let outcome = match memory {
            Ok(()) => run.execute(spec),
            Err(_) if context.cancel.is_fired() => Ok(run.cancelled()),
            Err(error) => Err(error),
        };
        count(&outcome);
        outcome
    }

    /// Resumes a run after a restart: follows its container's log to the end and collects its outputs.
    pub(crate) fn resume(
        &self,
        spec: &RunSpec,
        started: StartedRun,
        context: RunContext<'_>,
    ) -> Result<RunResult, Error> {
        let _active = self.active.enter_as(spec.id.clone());
        let run = Run::new(self, spec, context);
        context.memory.take_anyway(&run.memory, spec);
        let outcome = run.resume(spec, started);
        count(&outcome);
        outcome
    }
}

/// A run under way.
struct Run<'a> {
    executor: &'a Executor,
    id: String,
    context: RunContext<'a>,
    timings: Timings,
    /// The memory of its answer.
    memory: Reservation,
}

impl<'a> Run<'a> {
    fn new(executor: &'a Executor, spec: &RunSpec, context: RunContext<'a>) -> Self {
        Self {
            executor,
            id: spec.id.clone(),
            context,
            timings: Timings::default(),
            memory: match &spec.content_memory {
                Some(content) => content.another(),
                None => executor.memory.reservation(),
            },
        }
    }

    fn execute(mut self, mut spec: RunSpec) -> Result<RunResult, Error> {
        let Some(image) = self.pull(&spec)? else {
            return Ok(self.cancelled());
        };
        let staged = self.stage(&mut spec, &image)?;
        let created = self.create(&spec, &image, staged)?;
        if self.context.cancel.is_fired() {
            return Ok(self.cancelled());
        }
        self.context.hooks.before_start()?;
        let ending = self.supervise(&mut spec, &created)?;
        self.answer(&spec, created, ending)
    }

    fn resume(mut self, spec: &RunSpec, run: StartedRun) -> Result<RunResult, Error> {
        let client = &self.executor.engine.client;
        let container = StartedContainer {
            id: run.container.id(),
            started: run.started,
        };
        let ending = follow(client, &container, spec, &self.context)?;
        self.timings.run_ms = observe("run", ending.run);
        let image = client.image_inspect(&spec.image);
        let created = Created {
            container: run.container,
            staged: run.staged,
            image_digest: image.map_or(String::new(), |image| image_digest(&spec.image, &image)),
            warnings: Vec::new(),
        };
        self.answer(spec, created, ending)
    }

    /// `None`: cancelled while pulling.
    fn pull(&mut self, spec: &RunSpec) -> Result<Option<ImageInspect>, Error> {
        let begun = Instant::now();
        let (images, context) = (&self.executor.images, &self.context);
        let image = images.ensure(spec, context.cancel, context.sink)?;
        if image.is_some() {
            self.timings.pull_ms = observe("pull", begun.elapsed());
        }
        Ok(image)
    }

    /// The engine then has the content, so that ours is dropped.
    fn stage(&mut self, spec: &mut RunSpec, image: &ImageInspect) -> Result<Option<Staged>, Error> {
        let engine = &self.executor.engine;
        for mount in &spec.mounts {
            // A typo must not make a volume, as it would with `docker run`.
            if let MountSource::Named(name) = &mount.source {
                require_volume(&engine.client, name)?;
            }
        }
        let begun = Instant::now();
        let owner = self.executor.users.owner(engine, spec, image)?;
        let staged = stage(engine, spec, owner)?;
        spec.forget_content();
        self.timings.stage_ms = observe("stage", begun.elapsed());
        Ok(staged)
    }

    fn create(
        &mut self,
        spec: &RunSpec,
        image: &ImageInspect,
        staged: Option<Staged>,
    ) -> Result<Created, Error> {
        let begun = Instant::now();
        let created = create(&self.executor.engine, spec, image, staged)?;
        self.timings.create_ms = observe("create", begun.elapsed());
        Ok(created)
    }

    fn supervise(&mut self, spec: &mut RunSpec, created: &Created) -> Result<Ending, Error> {
        let client = &self.executor.engine.client;
        let ending = supervise(client, created.container.id(), spec, &self.context)?;
        // Stdin was its last part.
        spec.content_memory = None;
        self.timings.start_ms = observe("start", ending.start);
        self.timings.run_ms = observe("run", ending.run);
        Ok(ending)
    }

    /// Collects what was asked for. The container and the stage are removed behind the answer.
    fn answer(
        mut self,
        spec: &RunSpec,
        mut created: Created,
        ending: Ending,
    ) -> Result<RunResult, Error> {
        let begun = Instant::now();
        let collection = self.collect(spec, &created, ending.reason)?;
        self.timings.collect_ms = observe("collect", begun.elapsed());
        let hooks = self.context.hooks;
        let result = self.result(Answer {
            ending,
            collection,
            image_digest: std::mem::take(&mut created.image_digest),
            warnings: std::mem::take(&mut created.warnings),
        });
        hooks.keep_outcome(&result);
        Ok(result)
    }

    /// Nothing is collected from a cancelled run: nobody waits for it.
    fn collect(
        &self,
        spec: &RunSpec,
        created: &Created,
        reason: Reason,
    ) -> Result<Collection, Error> {
        if reason == Reason::Cancelled {
            return Ok(Collection::default());
        }
        Sources {
            engine: &self.executor.engine,
            staged: created.staged.as_ref(),
            container: created.container.id(),
            run: &self.id,
            limit_bytes: spec.max_collect_bytes,
            room: CollectRoom::new(&self.memory, self.context.cancel),
        }
        .collect(&spec.mounts)
    }

    fn cancelled(self) -> RunResult {
        self.result(Answer::cancelled())
    }

    fn result(self, answer: Answer) -> RunResult {
        let mut result = answer.into_result(self.id, self.context.accepted, self.timings);
        self.context.memory.settle(self.memory, &mut result);
        result
    }
}

/// The result of a run that was cancelled while it waited for a slot. It is counted here.
pub(crate) fn cancelled_before_start(id: String, accepted: Instant) -> RunResult {
    metrics::RUNS.add([Label::Word("cancelled")]);
    Answer::cancelled().into_result(id, accepted, Timings::default())
}

fn count(outcome: &Result<RunResult, Error>) {
    let reason = match outcome {
        Ok(result) => result.reason.word(),
        Err(Error::OutOfMemory) => "refused",
        Err(_) => "failed",
    };
    metrics::RUNS.add([Label::Word(reason)]);
}

/// Counts how long a phase took, and returns it in milliseconds.
fn observe(phase: &'static str, duration: Duration) -> u64 {
    metrics::PHASES.observe([Label::Word(phase)], duration);
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
