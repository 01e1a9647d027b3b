//! The runner as `rest` and `mcp` see it: every operation, each executed in the caller's own thread. It creates the rooms' parts
//! and hands each of them only what it needs.

use crate::cancel::Cancel;
use crate::docker::{Client, ImageSummary};
use crate::memory::MemoryBudget;
use crate::process_identity::ProcessIdentity;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Identity;
use crate::runner::cleanup::reaper::{Patrol, Reaper};
use crate::runner::cleanup::removal::Removal;
use crate::runner::dry_run::{self, RunPlan};
use crate::runner::error::Error;
use crate::runner::jobs::entry::{Phase, RunState};
use crate::runner::jobs::logs::{LogQuery, RunEvents, RunLogs};
use crate::runner::jobs::record_keeper::Persistence;
use crate::runner::jobs::registry::Retention;
use crate::runner::jobs::submit::{JobSettings, Jobs};
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::admission::Admission;
use crate::runner::run::lifecycle::Executor;
use crate::runner::run::pull::Images;
use crate::runner::run::result::{RunResult, Sink};
use crate::runner::run::user::UserCache;
use crate::runner::volumes::named::{VolumeContent, Volumes};
use serde::Serialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs containers on one engine. Clones share everything.
#[derive(Clone)]
pub struct Runner {
    parts: Arc<Parts>,
}

/// How a runner works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Instance name, by which leftovers are recognized after a restart. No two live servers should share it.
    pub instance: String,
    /// How many runs are executed at once.
    pub max_concurrent_runs: usize,
    /// How many runs whose callers wait may be queued.
    pub queue_length: usize,
    /// Longest time for a pull.
    pub pull_timeout: Duration,
    /// How many asynchronous runs and results are kept, and for how long.
    pub retention: Retention,
    /// What asynchronous runs survive.
    pub persistence: Persistence,
    /// What callers may ask for.
    pub policy: Policy,
    /// The memory budget, from which results and contents of volumes are taken.
    pub memory: MemoryBudget,
}

struct Parts {
    slots: usize,
    queue_length: usize,
    policy: Arc<Policy>,
    executor: Executor,
    jobs: Jobs,
    volumes: Volumes,
    reaper: Reaper,
    patrol: Mutex<Option<Patrol>>,
}

/// Answer of `GET /health`.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The engine's version.
    pub docker_version: String,
    /// The newest API version the engine speaks.
    pub api_version: String,
}

/// How many runs a runner executes and could execute.
#[derive(Clone, Copy, Debug)]
pub struct Occupancy {
    /// Runs that may be executed at once.
    pub slots: usize,
    /// Slots that are free.
    pub free: usize,
    /// Runs whose callers wait that may be queued.
    pub queue_length: usize,
    /// Runs that are queued.
    pub waiting: usize,
    /// Runs and volume operations that have objects in the engine, or soon will.
    pub active: usize,
    /// Leftovers that the reaper has removed.
    pub reaped: u64,
}

/// An image the engine has.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Image {
    /// Its content's digest.
    pub id: String,
    /// `repo:tag` names.
    pub tags: Vec<String>,
    /// `repo@sha256:…` names.
    pub digests: Vec<String>,
    /// Size in bytes.
    pub size_bytes: i64,
    /// When it was built, in seconds since 1970.
    pub created: i64,
}

/// How long the engine may take to answer a health check.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(1800);
const REMOVAL_THREADS: usize = 4;

impl Runner {
    /// A runner that is ready for requests. It does nothing about what a dead predecessor left until [`Runner::patrol`] is called.
    /// Errors: no threads.
    pub fn new(settings: Settings, client: Client) -> std::io::Result<Self> {
        let (slots, queue_length) = (settings.max_concurrent_runs, settings.queue_length);
        let policy = Arc::new(settings.policy);
        let active = Active::default();
        let engine = Engine {
            removal: Removal::start(&client, REMOVAL_THREADS)?,
            identity: Identity {
                instance: settings.instance,
                owner: ProcessIdentity::current(),
            },
            client: client.clone(),
        };
        let executor = Executor {
            engine: engine.clone(),
            admission: Admission::new(slots, queue_length),
            active: active.clone(),
            images: Images::new(client, settings.pull_timeout),
            users: UserCache::default(),
            memory: settings.memory.clone(),
        };
        let job_settings = JobSettings {
            retention: settings.retention,
            persistence: settings.persistence,
            policy: policy.clone(),
        };
        let parts = Parts {
            slots,
            queue_length,
            jobs: Jobs::start(job_settings, &executor)?,
            executor,
            volumes: Volumes::new(
                engine.clone(),
                active.clone(),
                policy.clone(),
                settings.memory,
            ),
            policy,
            reaper: Reaper::new(engine, active),
            patrol: Mutex::new(None),
        };
        Ok(Self {
            parts: Arc::new(parts),
        })
    }

    /// Adopts the asynchronous runs of a dead predecessor, and starts sweeping leftovers, now and every 30 s. Errors: no thread.
    pub fn patrol(&self) -> std::io::Result<()> {
        // If the engine cannot be reached now, every sweep tries again.
        if let Err(error) = self.parts.jobs.adopt_once() {
            log::warn!("the runs of before are not known yet: {error}");
        }
        let runner = self.clone();
        let reaper = self.parts.reaper.clone();
        let patrol = reaper.patrol(move || runner.parts.jobs.adopt_once())?;
        *self
            .parts
            .patrol
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(patrol);
        Ok(())
    }

    /// Sweeps once. Returns the number of objects removed.
    pub fn sweep(&self) -> Result<u64, Error> {
        Ok(self.parts.reaper.sweep()?)
    }

    /// Checks a run request (an object with [`RunRequest`](crate::runner::RunRequest)'s fields) against its types and the
    /// policy.
    pub fn check(&self, request: Value, profile: ApiProfile) -> Result<RunSpec, Error> {
        RunSpec::from_json(request, profile, &self.parts.policy)
    }

    /// Runs a container. Blocks until the result is there; firing `cancel` ends the run with
    /// [`Reason::Cancelled`](crate::runner::Reason::Cancelled). Whatever happens, everything that the run created in the engine
    /// is removed, after this returns.
    pub fn run(&self, spec: RunSpec, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        self.parts.executor.execute(spec, cancel, sink)
    }

    /// What [`Runner::run`] would do. Does nothing, and does not call the engine.
    pub fn plan(&self, spec: &RunSpec) -> RunPlan {
        dry_run::plan(spec, &self.parts.executor.engine.identity)
    }

    /// What requests are checked against.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// Accepts an asynchronous run (see [`Runner::check`]). The same `key` with the same request gives the same run. Errors: as
    /// `check`, too many runs, or a key that was used with another request.
    pub fn submit(
        &self,
        request: Value,
        profile: ApiProfile,
        key: Option<&str>,
    ) -> Result<RunState, Error> {
        self.parts.jobs.submit(request, profile, key)
    }

    /// State and result of one asynchronous run.
    pub fn run_state(&self, id: &str) -> Result<RunState, Error> {
        self.parts.jobs.state(id)
    }

    /// Blocks until the run has finished, `timeout` has passed (`None`: no limit) or `stop` fires. Returns the state then.
    pub fn run_wait(
        &self,
        id: &str,
        timeout: Option<Duration>,
        stop: &Cancel,
    ) -> Result<RunState, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.parts.jobs.wait(id, deadline, stop)
    }

    /// Cancels an asynchronous run that waits or runs, without waiting for its end. Its output is kept. A finished run stays as
    /// it is.
    pub fn run_cancel(&self, id: &str) -> Result<RunState, Error> {
        self.parts.jobs.cancel(id)
    }

    /// Forgets a finished asynchronous run, and returns its last state. `None`: it has not finished.
    pub fn run_forget(&self, id: &str) -> Result<Option<RunState>, Error> {
        self.parts.jobs.forget(id)
    }

    /// Asynchronous runs of one phase or of all, newest first.
    pub fn run_list(&self, phase: Option<Phase>, limit: usize) -> Vec<RunState> {
        self.parts.jobs.list(phase, limit)
    }

    /// A reader of an asynchronous run's events, from the start or after a cursor. A cursor of another run or of an earlier process
    /// reads from the start.
    pub fn run_events(&self, id: &str, cursor: Option<&str>) -> Result<RunEvents, Error> {
        self.parts.jobs.events(id, cursor)
    }

    /// A page of an asynchronous run's output. Errors: not a cursor, or no such run.
    pub fn run_logs(&self, id: &str, query: &LogQuery<'_>) -> Result<RunLogs, Error> {
        self.parts.jobs.logs(id, query)
    }

    /// Creates a named volume and fills it (an object with [`VolumeRequest`](crate::runner::VolumeRequest)'s fields), or
    /// writes over one of ours. Returns a sentence that says what was done. If it fails, a volume that this call created is
    /// removed again.
    pub fn volume_create(&self, request: Value, profile: ApiProfile) -> Result<String, Error> {
        self.parts.volumes.create(request, profile)
    }

    /// Content of a named volume of ours.
    pub fn volume_read(&self, name: &str) -> Result<VolumeContent, Error> {
        self.parts.volumes.read(name)
    }

    /// Removes a named volume of ours.
    pub fn volume_delete(&self, name: &str) -> Result<(), Error> {
        self.parts.volumes.delete(name)
    }

    /// Asks the engine for its version, within 2 s.
    pub fn health(&self) -> Result<Health, Error> {
        let client = &self.parts.executor.engine.client;
        let version = client.version(HEALTH_TIMEOUT)?;
        Ok(Health {
            status: "ok".into(),
            docker_version: version.version,
            api_version: version.api_version,
        })
    }

    /// The images that the engine has.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        let images = self.parts.executor.engine.client.image_list()?;
        let image = |image: ImageSummary| Image {
            id: image.id,
            tags: named(image.repo_tags),
            digests: named(image.repo_digests),
            size_bytes: image.size,
            created: image.created,
        };
        Ok(images.into_iter().map(image).collect())
    }

    /// Stops the runner. Blocks until everything that runs left is removed, at most until `deadline`. Returns the number of objects
    /// left, and of runs that did not end.
    pub fn close(&self, deadline: Instant) -> usize {
        let patrol = self
            .parts
            .patrol
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(patrol) = patrol {
            patrol.stop();
        }
        self.parts.jobs.close(deadline);
        let executor = &self.parts.executor;
        executor.engine.removal.finish(deadline) + executor.active.count_unheld()
    }

    /// How many runs it executes and could execute.
    pub fn occupancy(&self) -> Occupancy {
        let parts = &self.parts;
        let (free, waiting) = parts.executor.admission.occupancy();
        Occupancy {
            slots: parts.slots,
            free,
            queue_length: parts.queue_length,
            waiting,
            active: parts.executor.active.count(),
            reaped: parts.reaper.removed(),
        }
    }
}

/// An untagged image is listed under this name by some engines (20.10).
fn named(names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| !name.starts_with("<none>"))
        .collect()
}
