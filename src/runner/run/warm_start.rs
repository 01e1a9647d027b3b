//! Starts containers that wait for their command, and gives one to a run.

use crate::docker::container::Attached;
use crate::docker::{Client, ContainerConfig, ImageInspect, Labels};
use crate::init::protocol::Description;
use crate::metrics::{self, Label};
use crate::random_id;
use crate::runner::cleanup::active::{Active, HeldId};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{HOST_PATHS, OBJECT_SLACK, WARM, without_effect};
use crate::runner::cleanup::owned::Owned;
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::error::Error;
use crate::runner::init::choice::is_wanted;
use crate::runner::init::delivery::InitDelivery;
use crate::runner::init::words::Words;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::admission::Admission;
use crate::runner::run::container_config::{Pid1, container, with_pid_1};
use crate::runner::run::pid_1::Pid1Choice;
use crate::runner::run::supervise::{Handover, JustStarted, hand_over};
use crate::runner::warm::host_memory;
use crate::runner::warm::pool::{Room, ShapeUse, Surroundings, UsedContainer, WarmPool};
use crate::runner::warm::shape::{Shape, env_changes, misfit};
use crate::runner::warm::waiting::Waiting;
use std::sync::Arc;
use std::time::Duration;

/// How often a run takes another container because the one that it had taken ended before its command began.
const MOST_LOST: u32 = 3;

/// What one run has of the pool.
#[derive(Default)]
pub(crate) struct WarmUse {
    /// Makes the pool start a container for the next run of the same shape.
    shape: Option<ShapeUse>,
    /// Keeps the container that it uses from the reaper.
    held: Option<HeldId>,
    /// Whether it uses one.
    pub(crate) is_warm: bool,
    /// How often a container was lost.
    lost: u32,
    /// Why it cannot have one. Counted once.
    refused: Option<&'static str>,
}

/// What giving a container to a run needs.
pub(crate) struct WarmStart<'a> {
    pub(crate) client: &'a Client,
    pub(crate) init: &'a InitDelivery,
    pub(crate) pool: &'a WarmPool,
    pub(crate) spec: &'a RunSpec,
    pub(crate) image: &'a ImageInspect,
}

/// What a run needs of a container, and gives to it.
struct Fit {
    shape: Arc<Shape>,
    argv: Vec<String>,
    /// Changes of the container's variables.
    env: Vec<String>,
}

/// A container that had waited and now runs a command.
pub(crate) struct WarmStarted {
    pub(crate) guard: RemovalGuard,
    pub(crate) started: JustStarted,
    pub(crate) warnings: Vec<String>,
}

impl WarmUse {
    /// To be called when the run's container ended, or could not start the command, before that began. Returns whether the run is to
    /// be started again.
    pub(crate) fn may_repeat(&mut self, spec: &RunSpec, error: &Error) -> bool {
        if !std::mem::take(&mut self.is_warm) {
            return false;
        }
        match error {
            Error::Vanished(_) => {
                self.lost += 1;
                if self.lost >= MOST_LOST {
                    self.refuse("died");
                }
                true
            }
            // The engine makes the directory where there is none.
            Error::StartFailed(words)
                if spec.working_dir.is_some() && words.contains("chdir to cwd") =>
            {
                self.refuse("working_dir");
                true
            }
            _ => false,
        }
    }

    /// To be called at the end of the run, with what it has in the engine. If it used a container that had waited, takes all of that,
    /// to be removed behind the answer.
    pub(crate) fn retire(&mut self, owned: &mut Owned) {
        if let (Some(shape), Some(held)) = (&mut self.shape, self.held.take()) {
            shape.retire(UsedContainer {
                _owned: std::mem::take(owned),
                _held: held,
            });
        }
    }

    fn refuse(&mut self, reason: &'static str) {
        if self.refused.is_none() {
            metrics::WARM_RUNS.add([Label::Word(reason)]);
        }
        self.refused = Some(reason);
    }
}

impl WarmStart<'_> {
    /// Gives the run a container that waits. `None`: it has to be started with one of its own.
    pub(crate) fn begin(&self, usage: &mut WarmUse) -> Option<WarmStarted> {
        if !self.pool.is_on() || usage.refused.is_some() {
            return None;
        }
        let fit = match self.fit() {
            Ok(fit) => fit,
            Err(reason) => {
                usage.refuse(reason);
                return None;
            }
        };
        if usage.shape.is_none() {
            usage.shape = Some(self.pool.enter(&fit.shape));
        }
        while let Some(waiting) = self.pool.claim(&fit.shape) {
            if !waiting.runs(self.client) {
                metrics::WARM_RUNS.add([Label::Word("died")]);
                continue;
            }
            let description = self.describe(&waiting, &fit);
            match self.start(waiting, description, usage) {
                Ok(started) => {
                    self.pool.confirm(&fit.shape);
                    usage.is_warm = true;
                    metrics::WARM_RUNS.add([Label::Word("hit")]);
                    return Some(started);
                }
                Err(error) => {
                    log::info!("run {}: a waiting container is lost: {error}", self.spec.id);
                    metrics::WARM_RUNS.add([Label::Word("died")]);
                }
            }
        }
        metrics::WARM_RUNS.add([Label::Word("none_waiting")]);
        None
    }

    /// Errors: why the run cannot have a waiting container, in one word.
    fn fit(&self) -> Result<Fit, &'static str> {
        if let Some(reason) = misfit(self.spec) {
            return Err(reason);
        }
        let mut env = env_changes(self.spec, self.image).ok_or("variables")?;
        let choice = Pid1Choice::new(self.init).choose(self.spec, self.image);
        let pid_1 = choice.pid_1.ok_or("init")?;
        env.extend(pid_1.env);
        Ok(Fit {
            shape: Arc::new(shape(self.spec, self.image, &pid_1.volume)),
            argv: pid_1.argv,
            env,
        })
    }

    fn describe(&self, waiting: &Waiting, fit: &Fit) -> Vec<u8> {
        let description = Description {
            nonce: waiting.nonce.clone(),
            argv: fit.argv.clone(),
            env: fit.env.clone(),
            working_dir: self.spec.working_dir.clone(),
            feeds_stdin: self.spec.stdin.is_some(),
            time_limit_ms: u64::try_from(self.spec.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        description.encode()
    }

    fn start(
        &self,
        waiting: Waiting,
        description: Vec<u8>,
        usage: &mut WarmUse,
    ) -> Result<WarmStarted, Error> {
        let Waiting {
            guard,
            held,
            nonce,
            output,
            stdin,
            warnings,
            ..
        } = waiting;
        let handover = Handover {
            container: guard.id().to_owned(),
            nonce,
            output: Attached::from(output),
            stdin,
            description,
        };
        let started = hand_over(handover, self.spec)?;
        usage.held = Some(held);
        Ok(WarmStarted {
            guard,
            started,
            warnings,
        })
    }
}

/// Whether a run can have a waiting container, as far as its request says.
pub(crate) fn is_possible(spec: &RunSpec, init: &InitDelivery) -> bool {
    // Of no image: its program is not known.
    let image = ContainerConfig::default();
    let words = Words::of(spec, &image);
    misfit(spec).is_none() && is_wanted(init.mode(), spec.init, words.program())
}

/// The shape of this run's container.
pub(crate) fn shape(spec: &RunSpec, image: &ImageInspect, init_volume: &str) -> Shape {
    Shape::new(
        container(spec, None, Labels::new()),
        spec,
        image,
        init_volume,
    )
}

/// Starts containers that wait.
struct WarmStarter {
    engine: Engine,
    active: Active,
    /// How long one waits at most, if nothing is kept.
    idle: Duration,
}

impl WarmStarter {
    /// Creates and starts a container of this shape. Its PID 1 may not be ready yet: what is sent to it waits in its stdin.
    fn start(&self, shape: &Shape) -> Result<Waiting, Error> {
        let nonce = random_id::unguessable()
            .map_err(|error| Error::Overloaded(format!("no randomness: {error}")))?;
        let id = random_id::unique();
        let name = format!("oneoff-{id}-warm");
        let held = self.active.hold(&id);
        let own = self.engine.identity.labels(&id, self.idle + OBJECT_SLACK);
        let mut labels = without_effect(&shape.image_labels);
        labels.extend(own);
        labels.insert(HOST_PATHS.into(), String::new());
        labels.insert(WARM.into(), "1".into());
        let pid_1 = Pid1 {
            volume: shape.init_volume.clone(),
            nonce,
            argv: Vec::new(),
            env: Vec::new(),
        };
        let mut body = shape.body.clone();
        body.labels.clone_from(&labels);
        let body = with_pid_1(body, &pid_1, &name, &labels);
        let client = &self.engine.client;
        let mut guard = self.engine.removal.own(Object::Container(name.clone()));
        let created = client.container_create(Some(&name), shape.platform.as_deref(), &body)?;
        guard.become_object(Object::Container(created.id.clone()));
        let waiting = Waiting {
            guard,
            held,
            nonce: pid_1.nonce,
            output: client.container_attach_parked(&created.id)?,
            stdin: client.container_attach_stdin(&created.id)?,
            host_config: client.container_inspect(&created.id)?.host_config,
            warnings: created.warnings,
        };
        client.container_start(&created.id)?;
        Ok(waiting)
    }
}

/// What a pool needs: how containers are started that wait at most for `idle`, and whether runs leave room.
pub(crate) fn surroundings(
    engine: &Engine,
    active: &Active,
    admission: &Admission,
    idle: Duration,
) -> Surroundings {
    let starter = WarmStarter {
        engine: engine.clone(),
        active: active.clone(),
        idle,
    };
    let is_local = engine.client.is_local();
    let admission = admission.clone();
    Surroundings {
        start: Box::new(move |shape| starter.start(shape)),
        room: Box::new(move || match admission.occupancy() {
            (_, 1..) => Room::Short,
            _ if is_local && host_memory::is_short() => Room::Short,
            (0, _) => Room::Busy,
            _ => Room::Free,
        }),
    }
}
