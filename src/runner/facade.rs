//! The runner as its fronts see it: every operation, each in the caller's own thread.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::{self, Client};
use crate::process_identity::ProcessIdentity;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::labels::Identity;
use crate::runner::cleanup::reaper::{Patrol, Reaper};
use crate::runner::cleanup::removal::Removal;
use crate::runner::jobs::adopt;
use crate::runner::jobs::registry::{Persistence, Registry, Retention};
use crate::runner::jobs::submit::{self, Turn};
use crate::runner::policy::Policy;
use crate::runner::run::admission::Admission;
use crate::runner::run::pull::Images;
use crate::runner::run::stage::Stage;
use crate::runner::semaphore::Semaphore;
use crate::runner::volumes::write_locks::WriteLocks;
use crate::runner::{Error, PullPolicy, RunPlan, RunResult, RunSpec, Sink};
use crossbeam_channel::Sender;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs containers, one engine behind it. Clones share everything.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

/// How a runner works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name under which leftovers are recognized after a restart. No two live servers should share it.
    pub instance: String,
    /// Runs that go on at once.
    pub max_concurrent_runs: usize,
    /// Runs that may wait.
    pub queue_length: usize,
    /// Longest time for a pull.
    pub pull_timeout: Duration,
    /// How much is kept of detached runs, and how long.
    pub keeping: Retention,
    /// What detached runs end with.
    pub lifetime: Persistence,
    /// What callers may ask for.
    pub policy: Policy,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) policy: Policy,
    pub(crate) identity: Identity,
    pub(crate) admission: Admission,
    pub(crate) slots: usize,
    pub(crate) queue_length: usize,
    pub(crate) images: Images,
    pub(crate) stage: Stage,
    pub(crate) removal: Removal,
    pub(crate) active: Active,
    pub(crate) registry: Registry,
    pub(crate) lifetime: Persistence,
    pub(crate) accepting: Mutex<()>,
    pub(crate) recording: Semaphore,
    pub(crate) turns: Sender<Box<Turn>>,
    pub(crate) stop: Cancel,
    adopted: AtomicBool,
    pub(crate) write_locks: WriteLocks,
    pub(crate) owners: UserCache,
    found: Arc<AtomicU64>,
    patrol: Mutex<Option<Patrol>>,
}

/// What names of users mean in images, by image id and user.
#[derive(Default)]
pub(crate) struct UserCache(Mutex<HashMap<(String, String), archive::UidGid>>);

/// What a front's requests look like where they differ.
#[derive(Clone, Copy, Debug)]
pub struct ApiProfile {
    /// First element of every fault's `loc`: `body` or `arguments`.
    pub root: &'static str,
    /// What an absent `pull_policy` means.
    pub pull_policy: PullPolicy,
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

/// How busy a runner is.
#[derive(Clone, Copy, Debug)]
pub struct Occupancy {
    /// Runs that may go on at once.
    pub slots: usize,
    /// Slots that are free.
    pub free: usize,
    /// Runs that may wait.
    pub queue_length: usize,
    /// Runs that wait.
    pub waiting: usize,
    /// Runs and fills that the engine holds something for, or soon will.
    pub active: usize,
    /// Leftovers removed so far.
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

/// How long the engine may take to say how it is.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(1800);
const REMOVAL_THREADS: usize = 4;
/// How many requests of detached runs are handed to the engine at once.
const RECORDS_AT_ONCE: usize = 8;

impl Runner {
    /// A runner, ready for requests; it sweeps what a dead predecessor left only once [`Runner::patrol`] is called.
    /// Errors: no threads.
    pub fn new(settings: Settings, client: Client) -> std::io::Result<Self> {
        let identity = Identity {
            instance: settings.instance,
            owner: ProcessIdentity::current(),
        };
        let removal = Removal::start(&client, REMOVAL_THREADS)?;
        let stage = Stage {
            client: client.clone(),
            removal: removal.clone(),
            identity: identity.clone(),
        };
        let (turns, waiting) = submit::turns();
        let inner = Inner {
            admission: Admission::new(settings.max_concurrent_runs, settings.queue_length),
            slots: settings.max_concurrent_runs,
            queue_length: settings.queue_length,
            images: Images::new(client.clone(), settings.pull_timeout),
            policy: settings.policy,
            identity,
            stage,
            removal,
            active: Active::default(),
            registry: Registry::new(settings.keeping),
            lifetime: settings.lifetime,
            accepting: Mutex::default(),
            recording: Semaphore::new(RECORDS_AT_ONCE),
            turns,
            stop: Cancel::new(),
            adopted: AtomicBool::new(false),
            write_locks: WriteLocks::default(),
            owners: UserCache::default(),
            found: Arc::default(),
            patrol: Mutex::new(None),
            client,
        };
        let inner = Arc::new(inner);
        submit::dispatch(&inner, waiting, inner.stop.clone())?;
        Ok(Self { inner })
    }

    /// Takes over the detached runs of a dead predecessor, and starts sweeping, now and every 30 s. Errors: no thread.
    pub fn patrol(&self) -> std::io::Result<()> {
        // If the engine is away, once it is back.
        if let Err(error) = self.adopt() {
            log::warn!("the runs of before are not known yet: {error}");
        }
        let runner = self.clone();
        let patrol = self.reaper().patrol(move || runner.adopt())?;
        *self
            .inner
            .patrol
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(patrol);
        Ok(())
    }

    fn adopt(&self) -> Result<(), docker::Error> {
        if !self.inner.is_adopted() {
            adopt::adopt(&self.inner)?;
            self.inner.adopted.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Sweeps once; gives the number of objects removed.
    pub fn sweep(&self) -> Result<u64, Error> {
        Ok(self.reaper().sweep()?)
    }

    fn reaper(&self) -> Reaper {
        let inner = &self.inner;
        Reaper {
            client: inner.client.clone(),
            identity: inner.identity.clone(),
            active: inner.active.clone(),
            removal: inner.removal.clone(),
            found: inner.found.clone(),
        }
    }

    /// Checks a run request (an object with [`crate::runner::RunRequest`]'s fields) against its types and the server's policy.
    pub fn check(&self, request: Value, front: ApiProfile) -> Result<RunSpec, Error> {
        RunSpec::from_json(request, front, &self.inner.policy)
    }

    /// Runs it. Blocks until the result is there; firing `cancel` ends the run with [`crate::runner::Reason::Cancelled`].
    /// Nothing is left in the engine, whatever happens: removal goes on behind the answer.
    pub fn run(&self, spec: RunSpec, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        self.inner.execute(spec, cancel, sink)
    }

    /// What running it would do. Nothing is done, and the engine is not asked.
    pub fn plan(&self, spec: &RunSpec) -> RunPlan {
        self.inner.plan(spec)
    }

    /// What requests are checked against.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Creates a named volume and fills it (an object with [`crate::runner::VolumeRequest`]'s fields), or writes over one of
    /// ours. Gives a sentence that says what was done. A volume that this created is gone again if it fails.
    pub fn volume_create(&self, request: Value, front: ApiProfile) -> Result<String, Error> {
        self.inner.volume_create(request, front)
    }

    /// Content of a named volume of ours, as base64 tar.gz.
    pub fn volume_read(&self, name: &str) -> Result<String, Error> {
        self.inner.volume_read(name)
    }

    /// Removes a named volume of ours.
    pub fn volume_delete(&self, name: &str) -> Result<(), Error> {
        self.inner.volume_delete(name)
    }

    /// Asks the engine for its version, within 2 s.
    pub fn health(&self) -> Result<Health, Error> {
        let version = self.inner.client.version(HEALTH_TIMEOUT)?;
        Ok(Health {
            status: "ok".into(),
            docker_version: version.version,
            api_version: version.api_version,
        })
    }

    /// The images that the engine has.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        let images = self.inner.client.image_list()?;
        let image = |image: crate::docker::ImageSummary| Image {
            id: image.id,
            tags: named(image.repo_tags),
            digests: named(image.repo_digests),
            size_bytes: image.size,
            created: image.created,
        };
        Ok(images.into_iter().map(image).collect())
    }

    /// Waits until everything that runs left is removed, at most until `deadline`; gives the number of objects left,
    /// and of runs that did not end.
    pub fn close(&self, deadline: Instant) -> usize {
        let patrol = self
            .inner
            .patrol
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(patrol) = patrol {
            patrol.stop();
        }
        if self.inner.lifetime == Persistence::Process {
            self.inner.end_detached(deadline);
        }
        // Before those are gone who take the turns: each slot that nobody wants would offer itself to the next one.
        self.inner.admission.close();
        self.inner.stop.fire();
        self.inner.removal.finish(deadline) + self.inner.active.count_unheld()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// How busy it is.
    pub fn occupancy(&self) -> Occupancy {
        let inner = &self.inner;
        let (free, waiting) = inner.admission.occupancy();
        Occupancy {
            slots: inner.slots,
            free,
            queue_length: inner.queue_length,
            waiting,
            active: inner.active.count(),
            reaped: inner.found.load(Ordering::Relaxed),
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

impl Inner {
    /// Whether the runs of a dead predecessor are known.
    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted.load(Ordering::Acquire)
    }

    pub(crate) fn queue_full(&self) -> Error {
        Error::QueueFull {
            retry_after_secs: 1,
        }
    }
}

impl UserCache {
    pub(crate) fn get(&self, key: &(String, String)) -> Option<archive::UidGid> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }

    /// Keeps a bounded number: a caller chooses the names.
    pub(crate) fn insert(&self, key: (String, String), owner: archive::UidGid) {
        const MOST: usize = 1024;
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= MOST {
            owners.clear();
        }
        owners.insert(key, owner);
    }
}
