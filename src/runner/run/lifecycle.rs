//! The life of a run, step by step: wait for a slot, pull, stage, create, start and supervise, collect, answer. Every object
//! in the engine is owned from before its create call, and removed behind the answer.

use crate::cancel::Cancel;
use crate::docker::ImageInspect;
use crate::memory::{MemoryBudget, Reservation};
use crate::metrics::{self, Label};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::owned::Owned;
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::error::{Error, RunLimit};
use crate::runner::init::delivery::InitDelivery;
use crate::runner::request::archives::Checked;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::run::abilities::check_abilities;
use crate::runner::run::admission::{Admission, Refused};
use crate::runner::run::answer::Answer;
use crate::runner::run::answer_memory::{CollectRoom, MemoryTerms};
use crate::runner::run::collect::{Collection, cancelled, collect};
use crate::runner::run::collectable::require_collectable;
use crate::runner::run::container_config::image_volumes;
use crate::runner::run::context::{NoHooks, RunContext};
use crate::runner::run::create::{Created, Ingredients, create};
use crate::runner::run::ending::Ending;
use crate::runner::run::engine_away::{Begun, collect_through, start_through};
use crate::runner::run::executable::check_executable;
use crate::runner::run::pid_1::Pid1Choice;
use crate::runner::run::pull::Images;
use crate::runner::run::result::{Event, Reason, RunResult, Sink, Timings};
use crate::runner::run::sources::Sources;
use crate::runner::run::stage::{Contents, Staged, stage};
use crate::runner::run::supervise::ask_whether_oom;
use crate::runner::run::tally::{count, observe};
use crate::runner::run::user::UserCache;
use crate::runner::run::warm_start::WarmUse;
use crate::runner::run::watchdog::require_threads;
use crate::runner::volumes::named::require_mountable;
use crate::runner::warm::pool::WarmPool;
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
    pub(crate) init: InitDelivery,
    pub(crate) warm: WarmPool,
}

/// What an earlier process left of a run that it had started.
pub(crate) struct StartedRun {
    pub(crate) container: RemovalGuard,
    /// The helper, if it is still there.
    pub(crate) helper: Option<RemovalGuard>,
    /// The nonce of its PID 1's marks.
    pub(crate) nonce: Option<String>,
}

/// How often, and at least how long, a run is set up again if other clients of the engine remove parts of it before its container
/// has started. Beside prunes in a loop, few tries succeed.
const MOST_SETUPS: u32 = 50;
const SETUP_PATIENCE: Duration = Duration::from_secs(30);
/// How often the image is asked for, and pulled if the policy says so, for one run.
const MOST_PULLS: u32 = 3;
/// How long the removal of a run's objects is waited for.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);

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
                    limit: RunLimit::Queue,
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
pub(super) struct Run<'a> {
    pub(super) executor: &'a Executor,
    pub(super) id: String,
    pub(super) context: RunContext<'a>,
    pub(super) timings: Timings,
    /// Everything that it has in the engine.
    pub(super) owned: Owned,
    image: Option<ImageInspect>,
    pulls: u32,
    pid_1: Pid1Choice<'a>,
    pub(super) warm: WarmUse,
    /// The memory of its answer.
    memory: Reservation,
}

/// A run whose container was started.
pub(super) struct Started {
    pub(super) created: Created,
    pub(super) container: Begun,
}

impl<'a> Run<'a> {
    fn new(executor: &'a Executor, spec: &RunSpec, context: RunContext<'a>) -> Self {
        Self {
            executor,
            id: spec.id.clone(),
            context,
            timings: Timings::default(),
            owned: Owned::default(),
            image: None,
            pulls: 0,
            pid_1: Pid1Choice::new(&executor.init),
            warm: WarmUse::default(),
            memory: match &spec.content_memory {
                Some(content) => content.another(),
                None => executor.memory.reservation(),
            },
        }
    }

    /// The run's objects are removed behind the answer; but before it if the run mounts something that the caller may use next.
    fn execute(mut self, mut spec: RunSpec) -> Result<RunResult, Error> {
        let mut outcome = self.run(&mut spec);
        self.warm.retire(&mut self.owned);
        let is_shared = spec.mounts.iter().any(MountSpec::is_shared);
        if is_shared && !self.remove_objects() {
            let warning = "the run's container is not removed yet; it still uses what it mounted";
            log::warn!("run {}: {warning}", self.id);
            if let Ok(result) = &mut outcome {
                result.warnings.push(warning.into());
            }
        }
        outcome
    }

    fn run(&mut self, spec: &mut RunSpec) -> Result<RunResult, Error> {
        if self.check_archives(spec)? == Checked::Cancelled {
            return Ok(self.cancelled());
        }
        let Some((created, mut ending)) = self.start_and_watch(spec)? else {
            return Ok(self.cancelled());
        };
        // Stdin was its last part.
        spec.stdin = None;
        spec.content_memory = None;
        let client = &self.executor.engine.client;
        self.timings.start_ms = observe("start", ending.start);
        self.timings.run_ms = observe("run", ending.run);
        let collection = self.collect(spec, &created, ending.reason);
        ask_whether_oom(client, &created.container, &mut ending);
        Ok(self.answer(created, ending, collection))
    }

    /// Gets the image, stages the content, creates the container and starts it. Until it has started nothing has run, so that all
    /// of this is done again if another client of the engine, such as a prune, removes any of it. `None`: cancelled.
    pub(super) fn start(&mut self, spec: &RunSpec) -> Result<Option<Started>, Error> {
        let deadline = Instant::now() + SETUP_PATIENCE;
        let mut setups = 0;
        loop {
            setups += 1;
            match self.try_start(spec) {
                Err(Error::Vanished(what)) if setups < MOST_SETUPS || Instant::now() < deadline => {
                    log::info!("run {} is set up again: {what}", self.id);
                    self.context.hooks.not_started();
                }
                outcome => return outcome,
            }
            // The names of its objects are needed again.
            if !self.remove_objects() {
                return Err(Error::Engine(
                    "what is left of an attempt to start this run cannot be removed".into(),
                ));
            }
        }
    }

    /// Errors: [`Error::Vanished`] if an object was removed before the container had started.
    fn try_start(&mut self, spec: &RunSpec) -> Result<Option<Started>, Error> {
        let Some(image) = self.image(spec)? else {
            return Ok(None);
        };
        check_executable(spec, &image)?;
        let warnings = check_abilities(&self.executor.engine.client, spec, &image)?;
        let engine = &self.executor.engine;
        // It may wait for its threads, so that those which have them lose no time.
        if let Some(warm) = self.begin_warm(spec, &image) {
            return Ok(Some(warm.with_warnings(warnings)));
        }
        require_threads()?;
        let staged = self.stage(spec, &image)?;
        let begun = Instant::now();
        let choice = self.pid_1.choose(spec, &image);
        let ingredients = Ingredients {
            image: &image,
            staged,
            pid_1: choice.pid_1,
        };
        let mut created = create(engine, spec, ingredients, &mut self.owned)?;
        created
            .warnings
            .extend(warnings.into_iter().chain(choice.warning));
        self.timings.create_ms = observe("create", begun.elapsed());
        if self.context.cancel.is_fired() {
            return Ok(None);
        }
        self.context.hooks.before_start()?;
        let container = start_through(&engine.client, &created, spec, &self.context)
            .map_err(|error| self.pid_1.explain(&created, spec, error))
            .map_err(|error| created.stage.explain(&engine.client, spec, error))?;
        self.pid_1.started(&created, choice.word);
        Ok(container.map(|container| Started { created, container }))
    }

    /// An asynchronous run's were checked before it was accepted.
    fn check_archives(&self, spec: &RunSpec) -> Result<Checked, Error> {
        match spec.is_detached {
            true => Ok(Checked::Sound),
            false => spec.check_archives(self.context.cancel),
        }
    }

    /// The image, which is pulled again if it was removed after an earlier attempt to start the run. `None`: cancelled.
    fn image(&mut self, spec: &RunSpec) -> Result<Option<ImageInspect>, Error> {
        let images = &self.executor.images;
        if let Some(image) = &self.image
            && images.has(image)?
        {
            return Ok(Some(image.clone()));
        }
        if self.pulls == MOST_PULLS {
            return Err(Error::ImageNotFound(format!(
                "{} was there {MOST_PULLS} times, and each time another client of the engine removed it before it could be used",
                spec.image
            )));
        }
        self.pulls += 1;
        let begun = Instant::now();
        self.image = images.ensure(spec, self.context.cancel, self.context.sink)?;
        if self.image.is_some() {
            self.timings.pull_ms += observe("pull", begun.elapsed());
        }
        Ok(self.image.clone())
    }

    fn stage(&mut self, spec: &RunSpec, image: &ImageInspect) -> Result<Option<Staged>, Error> {
        let engine = &self.executor.engine;
        for mount in &spec.mounts {
            // A typo must not make a volume, as it would with `docker run`.
            if let MountSource::Named(name) = &mount.source {
                let volume = require_mountable(&engine.client, name, spec.volume_owners)?;
                require_collectable(spec, &volume)?;
            }
        }
        let begun = Instant::now();
        let owner = self.executor.users.owner(engine, spec, image)?;
        let image_volumes = image_volumes(image);
        let contents = Contents {
            spec,
            owner,
            image_volumes: &image_volumes,
        };
        let staged = stage(engine, &contents, &mut self.owned)?;
        self.timings.stage_ms = observe("stage", begun.elapsed());
        Ok(staged)
    }

    pub(super) fn answer(
        &mut self,
        mut created: Created,
        ending: Ending,
        mut collection: Collection,
    ) -> RunResult {
        for helper in collection.helpers.drain(..) {
            self.owned.add_first(helper);
        }
        let result = self.result(Answer {
            ending,
            collection,
            image_digest: std::mem::take(&mut created.image_digest),
            warnings: std::mem::take(&mut created.warnings),
        });
        self.context.hooks.keep_outcome(&result);
        result
    }

    /// Collects what was asked for. Nothing is collected from a cancelled run: nobody waits for it.
    pub(super) fn collect(
        &mut self,
        spec: &RunSpec,
        created: &Created,
        reason: Reason,
    ) -> Collection {
        let begun = Instant::now();
        let sources = Sources {
            engine: &self.executor.engine,
            run: &self.id,
            created,
        };
        let room = || CollectRoom::new(&self.memory, self.context.cancel);
        let collection = match reason {
            Reason::Cancelled => cancelled(spec),
            _ => collect_through(spec, self.context.cancel, || {
                collect(&sources, spec, room())
            }),
        };
        self.timings.collect_ms = observe("collect", begun.elapsed());
        collection
    }

    /// Removes everything of this run from the engine, and waits for that. False: it takes too long, and continues behind.
    fn remove_objects(&mut self) -> bool {
        self.owned.remove_by(Instant::now() + REMOVAL_PATIENCE)
    }

    pub(super) fn cancelled(&mut self) -> RunResult {
        self.result(Answer::cancelled())
    }

    /// Hands the memory of the answer to the result.
    fn result(&mut self, answer: Answer) -> RunResult {
        self.timings.warm = self.warm.is_warm;
        let mut result = answer.into_result(self.id.clone(), self.context.accepted, self.timings);
        let memory = self.memory.clone();
        self.context.memory.settle(memory, &mut result);
        result
    }
}

/// The result of a run that was cancelled while it waited for a slot. It is counted here.
pub(crate) fn cancelled_before_start(id: String, accepted: Instant) -> RunResult {
    metrics::RUNS.add([Label::Word("cancelled")]);
    Answer::cancelled().into_result(id, accepted, Timings::default())
}
