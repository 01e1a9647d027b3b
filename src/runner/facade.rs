//! The runner as `rest` and `mcp` see it: every operation, each executed in the caller's own thread. It creates the rooms' parts
//! and hands each of them only what it needs.

use crate::cancel::Cancel;
use crate::docker::{self, Client};
use crate::memory::MemoryBudget;
use crate::process_identity::ProcessIdentity;
use crate::runner::changes::Changes;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Identity;
use crate::runner::cleanup::owners::Unheard;
use crate::runner::cleanup::reaper::Reaper;
use crate::runner::cleanup::removal::Removal;
use crate::runner::dry_run::{self, RunPlan};
use crate::runner::error::Error;
use crate::runner::init::choice::InitMode;
use crate::runner::init::delivery::InitDelivery;
use crate::runner::jobs::entry::RunState;
use crate::runner::jobs::record_keeper::Persistence;
use crate::runner::jobs::registry::Retention;
use crate::runner::jobs::submit::{JobSettings, Jobs};
use crate::runner::plain::registry::PlainRuns;
use crate::runner::policy::Policy;
use crate::runner::reports::{Health, Occupancy};
use crate::runner::request::check::ApiProfile;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::RunKind;
use crate::runner::rounds::Rounds;
use crate::runner::run::admission::Admission;
use crate::runner::run::archive_checks::{ArchiveChecks, refusal};
use crate::runner::run::lifecycle::Executor;
use crate::runner::run::pull::Images;
use crate::runner::run::result::{RunResult, Sink};
use crate::runner::run::user::UserCache;
use crate::runner::run::warm_images::WarmImages;
use crate::runner::run::warm_start::surroundings;
use crate::runner::takeover::life_signs::{Asker, answer_questions};
use crate::runner::volumes::named::{VolumeContent, Volumes};
use crate::runner::warm::pool::{WarmPool, WarmSettings};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod runs;

/// Runs containers on one engine. Clones share everything.
#[derive(Clone)]
pub struct Runner {
    parts: Arc<Parts>,
}

/// How a runner works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Instance name, by which leftovers are recognized after a restart. Two live servers may share it for a while.
    pub instance: String,
    /// How many runs are executed at once.
    pub max_concurrent_runs: usize,
    /// How many runs whose callers wait may be queued.
    pub queue_length: usize,
    /// Longest time for a pull.
    pub pull_timeout: Duration,
    /// Which runs that do not say it themselves have this service's PID 1.
    pub init: InitMode,
    /// Containers that wait for runs.
    pub warm: WarmSettings,
    /// How many asynchronous runs and results are kept, and for how long.
    pub retention: Retention,
    /// What asynchronous runs survive.
    pub persistence: Persistence,
    /// Longest request and longest result of an asynchronous run that are stored in the engine, in bytes.
    pub max_record_bytes: u64,
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
    plain: PlainRuns,
    changes: Changes,
    archive_checks: ArchiveChecks,
    /// Slots for calls that fill named volumes.
    fills: Admission,
    volumes: Volumes,
    reaper: Reaper,
    asker: Asker,
    warm_images: WarmImages,
    /// In the order in which they are stopped.
    patrol: Mutex<Vec<Rounds>>,
}

/// How long the engine may take to answer a health check.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(1800);
const REMOVAL_THREADS: usize = 4;
/// How often dead servers and leftovers are looked for.
const PATROL_PERIOD: Duration = Duration::from_secs(30);
/// The period while another server of the same instance name lives.
const OVERLAP_PERIOD: Duration = Duration::from_secs(10);
/// The period while the engine cannot be reached.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Most calls that wait to fill a named volume.
const FILL_QUEUE_LENGTH: usize = 256;

impl Runner {
    /// A runner that is ready for requests. It does nothing about what a dead predecessor left until [`Runner::patrol`] is called.
    /// Errors: no threads.
    pub fn new(settings: Settings, client: Client) -> std::io::Result<Self> {
        let (slots, queue_length) = (settings.max_concurrent_runs, settings.queue_length);
        let policy = Arc::new(settings.policy);
        let changes = Changes::default();
        let active = Active::default();
        let engine = engine(settings.instance, &client)?;
        let admission = Admission::new(slots, queue_length);
        let surroundings = surroundings(&engine, &active, &admission, settings.warm.idle);
        let executor = Executor {
            engine: engine.clone(),
            admission,
            warm: WarmPool::start(&settings.warm, surroundings)?,
            active: active.clone(),
            images: Images::new(client, settings.pull_timeout),
            users: UserCache::default(),
            memory: settings.memory.clone(),
            init: InitDelivery::new(engine.clone(), active.clone(), settings.init),
        };
        let archive_checks = ArchiveChecks::new(cores());
        let job_settings = JobSettings {
            archive_checks: archive_checks.clone(),
            retention: settings.retention,
            persistence: settings.persistence,
            max_record_bytes: settings.max_record_bytes,
            policy: policy.clone(),
            changes: changes.clone(),
        };
        let memory = settings.memory;
        let volumes = Volumes::new(engine.clone(), active.clone(), policy.clone(), memory);
        let parts = Parts {
            slots,
            queue_length,
            jobs: Jobs::start(job_settings, &executor)?,
            plain: PlainRuns::new(changes.clone()),
            changes,
            executor,
            archive_checks,
            fills: Admission::new(slots, FILL_QUEUE_LENGTH),
            volumes,
            policy,
            reaper: Reaper::new(engine.clone(), active.clone()),
            asker: Asker { engine, active },
            warm_images: WarmImages::new(settings.warm.images),
            patrol: Mutex::default(),
        };
        Ok(Self {
            parts: Arc::new(parts),
        })
    }

    /// Starts a thread that adopts the asynchronous runs of dead predecessors and sweeps leftovers, now and every 30 s. Does not
    /// wait for the engine. From here on this process answers when others ask whether it lives. Errors: no thread.
    pub fn patrol(&self) -> std::io::Result<()> {
        let parts = self.parts.clone();
        let round = move |stop: &Cancel| match parts.take_over(stop) {
            Ok(Found::NobodyElse) => PATROL_PERIOD,
            Ok(Found::OtherServer) => OVERLAP_PERIOD,
            Err(error) => {
                log::debug!("the sweep failed: {error}");
                RETRY_PERIOD
            }
        };
        let life_signs = answer_questions(&self.parts.executor.engine)?;
        let patrol = Rounds::start("reaper", round)?;
        self.parts.lock_patrol().extend([patrol, life_signs]);
        let executor = &self.parts.executor;
        self.parts.warm_images.start(executor, &self.parts.policy)
    }

    /// Sweeps once. Blocks for some 15 s if servers have to be asked whether they live. Returns the number of objects removed.
    pub fn sweep(&self) -> Result<u64, Error> {
        let Parts { reaper, asker, .. } = &*self.parts;
        let stop = Cancel::new();
        let swept = reaper.sweep(&Unheard::default(), &stop)?;
        let dead = asker.ask(&swept.suspects, &stop)?.dead;
        let rest = match dead.is_empty() {
            true => 0,
            false => reaper.sweep(&dead, &stop)?.removed,
        };
        Ok(swept.removed + rest)
    }

    /// Checks a run request (an object with [`RunRequest`](crate::runner::RunRequest)'s fields) against its types and the
    /// policy, all but the content of its archives, which [`Runner::run`], [`Runner::submit`] and [`Runner::plan`] check.
    pub fn check(&self, request: Value, profile: ApiProfile) -> Result<RunSpec, Error> {
        RunSpec::from_json(request, profile, &self.parts.policy)
    }

    /// Runs a container. Blocks until the result is there; firing `cancel`, as [`Runner::run_cancel`], ends the run with
    /// [`Reason::Cancelled`](crate::runner::Reason::Cancelled). Whatever happens, everything that the run created in the engine
    /// is removed, after this returns.
    pub fn run(&self, spec: RunSpec, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        let execute = |spec: RunSpec, cancel: &Cancel, sink: &dyn Sink| {
            self.parts.executor.execute(spec, cancel, sink)
        };
        self.parts.plain.follow(spec, cancel, sink, execute)
    }

    /// What a run of this kind would do. Checks the archives, does nothing, and does not call the engine. Errors: a fault of an
    /// archive, too many checks at once, or `cancel` fired first.
    pub fn plan(&self, spec: RunSpec, kind: RunKind, cancel: &Cancel) -> Result<RunPlan, Error> {
        self.parts.archive_checks.check(&spec, cancel)?;
        let identity = &self.parts.executor.engine.identity;
        let warm = kind == RunKind::Plain && self.parts.executor.may_be_warm(&spec);
        Ok(RunPlan {
            warm,
            ..dry_run::plan(spec, kind, identity)
        })
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
        cancel: &Cancel,
    ) -> Result<RunState, Error> {
        self.parts.jobs.submit(request, profile, key, cancel)
    }

    /// Creates a named volume and fills it (an object with [`VolumeRequest`](crate::runner::VolumeRequest)'s fields), or
    /// writes over one of ours. Returns a sentence that says what was done. If it fails, a volume that this call created is
    /// removed again. As many calls are executed at once as runs; others wait, until `cancel` fires.
    pub fn volume_create(
        &self,
        request: Value,
        profile: ApiProfile,
        cancel: &Cancel,
    ) -> Result<String, Error> {
        let slot = self.parts.fills.enter(cancel, &mut |_| {});
        let _slot = slot.map_err(refusal)?;
        self.parts.volumes.create(request, profile, cancel)
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
            init: self.parts.executor.init.health(),
        })
    }

    /// Cancels all asynchronous runs that no later server resumes, and removes the containers that wait for runs. Does not wait for their end.
    pub fn cancel_all(&self) {
        self.parts.executor.warm.empty();
        self.parts.jobs.cancel_all();
    }

    /// Stops the runner. Blocks until everything that runs left is removed, at most until `deadline`. Returns the number of objects
    /// left, and of runs that did not end.
    pub fn close(&self, deadline: Instant) -> usize {
        let rounds = std::mem::take(&mut *self.parts.lock_patrol());
        let mut rounds = rounds.into_iter();
        self.parts.executor.warm.empty();
        self.parts.warm_images.stop(deadline);
        // First, because the patrol may be waiting for what this stops.
        self.parts.jobs.close(deadline);
        if let Some(patrol) = rounds.next() {
            patrol.stop(deadline);
        }
        let executor = &self.parts.executor;
        executor.warm.close(deadline);
        let removal = &executor.engine.removal;
        removal.settle(deadline);
        let left = executor.init.close(&self.parts.reaper, deadline);
        // Not before: until this process has ended, what it took over cannot be taken over from it.
        self.parts.jobs.give_up_lead();
        let left = left + removal.finish(deadline);
        let left = left + executor.active.count_unheld();
        // Until here this process lives, and others leave its objects alone.
        rounds.for_each(|life_signs| life_signs.stop(deadline));
        left
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
            memory_used_bytes: parts.executor.memory.used_bytes(),
            memory_limit_bytes: parts.executor.memory.limit_bytes(),
            warm: parts.executor.warm.census(),
        }
    }
}

/// Whether another server of the same instance name lives.
enum Found {
    NobodyElse,
    OtherServer,
}

impl Parts {
    /// Adopts and sweeps what dead servers left: at once where their death is certain, else after they were asked.
    fn take_over(&self, stop: &Cancel) -> Result<Found, docker::Error> {
        let certainly_dead = Unheard::default();
        // One does not wait for the other: what cannot be adopted must not keep leftovers in the engine.
        let adopted = self.jobs.adopt(&certainly_dead);
        let mut suspects = self.reaper.sweep(&certainly_dead, stop)?.suspects;
        let others = adopted?;
        suspects.extend(others.suspects);
        let answers = self.asker.ask(&suspects, stop)?;
        if !answers.dead.is_empty() {
            let adopted = self.jobs.adopt(&answers.dead);
            self.reaper.sweep(&answers.dead, stop)?;
            adopted?;
        }
        if !stop.is_fired() {
            self.jobs.set_adopted();
            self.executor.init.look();
        }
        Ok(match answers.alive.is_empty() && !others.have_runs {
            true => Found::NobodyElse,
            false => Found::OtherServer,
        })
    }

    fn lock_patrol(&self) -> MutexGuard<'_, Vec<Rounds>> {
        self.patrol.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn engine(instance: String, client: &Client) -> std::io::Result<Engine> {
    Ok(Engine {
        removal: Removal::start(client, REMOVAL_THREADS)?,
        identity: Identity {
            instance,
            owner: ProcessIdentity::current(),
        },
        client: client.clone(),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
