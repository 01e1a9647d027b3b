//! The volume with the init. Each server process has one in its engine, filled with the server's own program before anything mounts
//! it, and removed when the server ends. So a run's init is always of the version that talks to it, and no two servers share one.

use crate::cancel::Cancel;
use crate::docker::{self, Labels, Mount};
use crate::init::protocol::INIT_DIRECTORY;
use crate::random_id;
use crate::runner::cleanup::active::{Active, HeldId};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{ASYNC_LIFE, INSTANCE};
use crate::runner::cleanup::reaper::Reaper;
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::error::Error;
use crate::runner::init::choice::InitMode;
use crate::runner::init::executable::is_static;
use crate::runner::init::refusals::Refusals;
use crate::runner::staging::existing_volume::{is_made_for, must_exist};
use crate::runner::staging::transfer_container::{HelperSpec, lasting_volume};
use crate::runner::staging::upload::upload;
use crossbeam_channel::bounded;
use schemars::JsonSchema;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// The init's file in the volume.
const FILE: &str = "init";
/// The server's own program, whatever its path is by now.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// How much of it has the headers that say whether it is static.
const HEADERS_BYTES: u64 = 64 * 1024;
/// How long runs go without an init after it could not be delivered.
const RETRY_PAUSE: Duration = Duration::from_secs(30);
/// How long the last sweep is waited for.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);
/// How long the engine may take to give up the volume of containers that are gone.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
const RELEASE_PAUSE: Duration = Duration::from_millis(50);
/// How long the engine may take to say what machine it runs on.
const INFO_TIMEOUT: Duration = Duration::from_secs(5);

/// Delivers the init. Clones share the volume.
#[derive(Clone)]
pub(crate) struct InitDelivery {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    active: Active,
    mode: InitMode,
    /// Held while the volume is filled, so that it is filled once.
    volume: Mutex<Option<InitVolume>>,
    state: Mutex<State>,
    refusals: Mutex<Refusals>,
}

/// A container in which the engine could not start the init.
pub(crate) struct Refused<'a> {
    /// Name of the volume, which must still exist.
    pub(crate) volume: &'a str,
    /// Name of the container.
    pub(crate) container: &'a str,
    /// Id of its image.
    pub(crate) image: &'a str,
    /// What the engine said.
    pub(crate) reason: &'a str,
}

/// A complete volume.
struct InitVolume {
    guard: RemovalGuard,
    /// Whether a container has started with it.
    is_proven: bool,
    /// While this exists, the reaper leaves the volume alone.
    _id: HeldId,
}

/// Whether runs can have the init.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is known yet.
    New,
    /// Nothing speaks against it.
    Possible,
    /// There is a volume.
    Ready,
    /// Not before this time. `None`: not in this process's life.
    Lacking(Lack, Option<Instant>),
}

/// Why runs go without an init.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    /// In one word, for metrics.
    word: &'static str,
    reason: String,
}

/// Whether runs can have this service's own PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InitHealth {
    /// Which runs that do not say it themselves are to have it: the setting `RUNNER_INIT`.
    pub mode: InitMode,
    /// Whether they can; null for a moment after the start.
    pub available: Option<bool>,
    /// Why they cannot; null if they can.
    pub reason: Option<String>,
}

impl InitDelivery {
    /// Makes no engine call.
    pub(crate) fn new(engine: Engine, active: Active, mode: InitMode) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine,
                active,
                mode,
                volume: Mutex::default(),
                state: Mutex::new(State::New),
                refusals: Mutex::default(),
            }),
        }
    }

    /// Which runs that do not say it themselves have an init.
    pub(crate) fn mode(&self) -> InitMode {
        self.shared.mode
    }

    /// What is known of it. Never blocks for long.
    pub(crate) fn health(&self) -> InitHealth {
        let (available, reason) = match self.shared.lock_state().clone() {
            State::New => (None, None),
            State::Possible | State::Ready => (Some(true), None),
            State::Lacking(lack, _) => (Some(false), Some(lack.reason)),
        };
        InitHealth {
            mode: self.shared.mode,
            available,
            reason,
        }
    }

    /// Why a run that is to have an init goes without, in one word.
    pub(crate) fn lack(&self) -> &'static str {
        match &*self.shared.lock_state() {
            State::Lacking(lack, _) => lack.word,
            State::New | State::Possible | State::Ready => "image",
        }
    }

    /// Finds out whether runs can have the init, if that is not known yet. The volume is made for the first of them.
    pub(crate) fn look(&self) {
        let shared = &self.shared;
        if *shared.lock_state() == State::New {
            let found = shared.check();
            if *shared.lock_state() == State::New {
                shared.set_state(match found {
                    Ok(_) => State::Possible,
                    Err(lacking) => lacking,
                });
            }
        }
    }

    /// Name of the volume, which is filled first if there is none. `None`: this run has to go without an init, for the reason that
    /// [`InitDelivery::health`] has.
    pub(crate) fn volume(&self) -> Option<String> {
        let shared = &self.shared;
        let mut volume = shared.lock_volume();
        if let Some(volume) = &*volume {
            return Some(volume.guard.id().to_owned());
        }
        match shared.lock_state().clone() {
            State::Lacking(_, None) => return None,
            State::Lacking(_, Some(until)) if Instant::now() < until => return None,
            _ => {}
        }
        match shared.deliver() {
            Ok(delivered) => {
                let name = delivered.guard.id().to_owned();
                *volume = Some(delivered);
                shared.set_state(State::Ready);
                Some(name)
            }
            Err(state) => {
                shared.set_state(state);
                None
            }
        }
    }

    /// To be called when a container with this volume has started.
    pub(crate) fn confirm(&self, name: &str) {
        let mut volume = self.shared.lock_volume();
        if let Some(kept) = volume.as_mut().filter(|kept| kept.guard.id() == name) {
            kept.is_proven = true;
        }
    }

    /// To be called when the engine could not start the init in a container. Returns whether its volume was removed by another
    /// client: the run can then be set up again, with a new one. Otherwise it has to go without an init, and so have later runs of
    /// this image; those of all images do if several could not have it, and none ever had.
    pub(crate) fn reject(&self, refused: &Refused<'_>) -> bool {
        let shared = &self.shared;
        let mut volume = shared.lock_volume();
        let name = refused.volume;
        let Some(kept) = volume.as_ref().filter(|kept| kept.guard.id() == name) else {
            // Another run has found out.
            return true;
        };
        let was_removed = match is_made_for(&shared.engine.client, name, refused.container) {
            Ok(was_removed) => was_removed,
            Err(error) => error.is_object_gone(),
        };
        if was_removed {
            shared.set_state(State::New);
            *volume = None;
            return true;
        }
        let mut refusals = shared.lock_refusals();
        let count = refusals.add(refused.image, refused.reason, Instant::now());
        if !kept.is_proven && count > 1 {
            refusals.clear();
            shared.set_state(failed("refused", refused.reason.to_owned()));
            *volume = None;
        }
        false
    }

    /// Why containers of this image cannot have the init, as far as that is known.
    pub(crate) fn refusal(&self, image: &str) -> Option<String> {
        self.shared.lock_refusals().reason(image, Instant::now())
    }

    /// Removes the volume, and those of dead servers whose runs this one has adopted; to be called when the containers of all runs
    /// are gone. Blocks at most until `deadline`: the engine may hang. Returns the number of objects that are left.
    pub(crate) fn close(&self, reaper: &Reaper, deadline: Instant) -> usize {
        let (delivery, reaper, stop) = (self.clone(), reaper.clone(), Cancel::new());
        let (done, closed) = bounded(1);
        let stopped = stop.clone();
        let close = move || {
            let _ = done.send(delivery.remove_own());
            if let Err(error) = reaper.sweep_again(&stopped) {
                log::debug!("the last sweep failed: {error}");
            }
            let _ = done.send(0);
        };
        let thread = Builder::new().name("init-removal".into()).spawn(close);
        let own = thread
            .ok()
            .and_then(|_| closed.recv_deadline(deadline).ok());
        // What the sweep does not reach in this time is the next server's.
        let _ = closed.recv_deadline(deadline.min(Instant::now() + SWEEP_PATIENCE));
        stop.fire();
        own.unwrap_or(1)
    }

    /// Removes the volume. A container of an asynchronous run that outlives this server may still use it: the next server then removes
    /// it. Returns 1 if it is left for another reason.
    fn remove_own(&self) -> usize {
        let Ok(mut volume) = self.shared.volume.try_lock() else {
            log::warn!("the volume with this service's PID 1 is still being filled");
            return 1;
        };
        let Some(InitVolume { guard, _id, .. }) = volume.take() else {
            return 0;
        };
        let name = guard.release();
        let patience = Instant::now() + RELEASE_PATIENCE;
        loop {
            match self.shared.engine.client.volume_remove(&name) {
                Ok(()) => return 0,
                Err(docker::Error::Status { status: 409, .. }) if self.may_be_in_use() => return 0,
                Err(docker::Error::Status { status: 409, .. }) if Instant::now() < patience => {
                    std::thread::sleep(RELEASE_PAUSE);
                }
                Err(error) => {
                    log::warn!("volume {name} is not removed: {error}");
                    return 1;
                }
            }
        }
    }

    /// Whether a container of this instance runs. The engine says that a container is gone shortly before it gives up its volumes.
    fn may_be_in_use(&self) -> bool {
        let engine = &self.shared.engine;
        let ours = format!("{INSTANCE}={}", engine.identity.instance);
        let found = engine.client.container_list(&[ours]);
        found.is_ok_and(|found| found.iter().any(|container| container.state == "running"))
    }
}

/// The mount of the init in a container of this name.
pub(crate) fn init_mount(volume: &str, container: &str, labels: &Labels) -> Mount {
    Mount {
        kind: "volume".into(),
        source: volume.to_owned(),
        target: INIT_DIRECTORY.into(),
        read_only: true,
        volume_options: Some(must_exist(container, labels.clone())),
    }
}

/// The server's own program. Errors: the state that follows.
fn own_program() -> Result<File, State> {
    File::open(OWN_PROGRAM).map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> State {
    let reason = format!("the server's program cannot be read: {error}");
    impossible("unreadable", reason)
}

/// No init in this process's life.
fn impossible(word: &'static str, reason: String) -> State {
    State::Lacking(Lack { word, reason }, None)
}

/// No init for a while.
fn failed(word: &'static str, reason: String) -> State {
    State::Lacking(Lack { word, reason }, Some(Instant::now() + RETRY_PAUSE))
}

impl Shared {
    /// Creates and fills a volume. Errors: the state that follows.
    fn deliver(&self) -> Result<InitVolume, State> {
        self.check()?;
        let program = own_program()?;
        let size = program.metadata().map_err(unreadable)?.len();
        self.fill(&program, size)
            .map_err(|error| failed("engine", error.to_string()))
    }

    /// Errors: the program cannot be started in the engine's containers, and the state that follows.
    fn check(&self) -> Result<(), State> {
        self.check_engine()?;
        let mut headers = Vec::new();
        own_program()?
            .take(HEADERS_BYTES)
            .read_to_end(&mut headers)
            .map_err(unreadable)?;
        if !is_static(&headers) {
            let reason = "the server's program is not static, as that of `make build` is";
            return Err(impossible("not_static", reason.into()));
        }
        Ok(())
    }

    /// Errors: the engine's containers cannot have this program.
    fn check_engine(&self) -> Result<(), State> {
        let client = &self.engine.client;
        let unknown = |error: docker::Error| failed("engine", error.to_string());
        if client.is_podman().map_err(unknown)? {
            let reason = "this engine (Podman) also sends a container's output to the connection of its standard input";
            return Err(impossible("podman", reason.into()));
        }
        let machine = client.info(INFO_TIMEOUT).map_err(unknown)?.architecture;
        let own = std::env::consts::ARCH;
        match machine == own {
            true => Ok(()),
            false => {
                let reason = format!("the engine's machine is {machine:?}, the server's {own:?}");
                Err(impossible("machine", reason))
            }
        }
    }

    fn fill(&self, mut program: &File, size: u64) -> Result<InitVolume, Error> {
        let id = random_id::unique();
        let name = format!("oneoff-{id}-init");
        let held = self.active.hold(&id);
        // As long as an asynchronous run may use it after this server.
        let labels = self.engine.identity.labels(&id, ASYNC_LIFE);
        let guard = self.engine.removal.own(Object::Volume(name.clone()));
        let mount = lasting_volume(&self.engine.client, &name, labels.clone())?;
        let helper = HelperSpec::with_mount(&name, labels, mount).create(&self.engine)?;
        upload(
            &self.engine.client,
            helper.id(),
            Default::default(),
            |packer, names| packer.file_from(&names.below(FILE), 0o755, size, &mut program),
        )?;
        Ok(InitVolume {
            guard,
            is_proven: false,
            _id: held,
        })
    }

    fn set_state(&self, state: State) {
        let mut kept = self.lock_state();
        if let State::Lacking(lack, _) = &state {
            log::warn!("runs go without this service's PID 1: {}", lack.reason);
        }
        *kept = state;
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_volume(&self) -> MutexGuard<'_, Option<InitVolume>> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
