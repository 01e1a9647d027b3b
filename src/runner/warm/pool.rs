//! The containers that wait for their command, and the thread that starts them behind the runs and removes those that are not
//! wanted any more.

use crate::metrics::{self, Label};
use crate::runner::cleanup::active::HeldId;
use crate::runner::cleanup::owned::Owned;
use crate::runner::error::Error;
use crate::runner::warm::shape::Shape;
use crate::runner::warm::stock::{Stock, WarmCensus};
use crate::runner::warm::waiting::Waiting;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many containers may wait, for how long, and which always do.
#[derive(Clone, Debug, Default)]
pub struct WarmSettings {
    /// Most containers that wait; 0: none ever do.
    pub most: usize,
    /// How long containers of a shape wait that is not used.
    pub idle: Duration,
    /// What is kept waiting from the start.
    pub images: Vec<WarmImage>,
}

/// An image of which containers wait from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmImage {
    /// Its reference.
    pub image: String,
    /// How many containers.
    pub count: usize,
}

/// Starts a container of a shape.
pub(crate) type StartWaiting = dyn Fn(&Shape) -> Result<Waiting, Error> + Send + Sync;

/// What the pool needs of its surroundings.
pub(crate) struct Surroundings {
    /// May take as long as the engine does.
    pub(crate) start: Box<StartWaiting>,
    /// Whether runs leave room for containers that nobody has asked for. Never blocks.
    pub(crate) room: Box<dyn Fn() -> Room + Send + Sync>,
}

/// Whether there is room for containers that nobody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is.
    Free,
    /// Runs need the engine: none is started now.
    Busy,
    /// Runs wait, or memory is short: those that are not used go.
    Short,
}

/// The containers that wait. Clones share them.
#[derive(Clone)]
pub(crate) struct WarmPool {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    stock: Stock<Waiting>,
    /// When the last run ended: its answer is on its way.
    last_end: Option<Instant>,
    /// Used containers, which are removed once the answers are sent.
    used: Vec<UsedContainer>,
    is_closed: bool,
    has_thread: bool,
}

/// A container that had waited and was used. Dropping this removes it.
pub(crate) struct UsedContainer {
    /// Everything that its run has in the engine.
    pub(crate) _owned: Owned,
    /// While this exists, the reaper leaves the container alone.
    pub(crate) _held: HeldId,
}

/// A run of a shape that is under way.
pub(crate) struct ShapeUse {
    pool: WarmPool,
    key: String,
    used: Option<UsedContainer>,
}

impl ShapeUse {
    /// To be called at the end of the run with its container, which is then removed behind the answer.
    pub(crate) fn retire(&mut self, used: UsedContainer) {
        self.used = Some(used);
    }
}

/// How often containers are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is seen whether there is room.
const ROOM_LOOK: Duration = Duration::from_millis(100);
/// How long after a run its answer goes first.
const AFTER_RUN: Duration = Duration::from_millis(15);
/// How long a shape must be unused for its containers to make room.
const UNUSED: Duration = Duration::from_secs(5);

/// A pool in which no container ever waits.
impl Default for WarmPool {
    fn default() -> Self {
        Self::new(&WarmSettings::default())
    }
}

impl WarmPool {
    fn new(settings: &WarmSettings) -> Self {
        let state = State {
            stock: Stock::new(settings.most, settings.idle),
            last_end: None,
            used: Vec::new(),
            is_closed: false,
            has_thread: false,
        };
        Self {
            shared: Arc::new(Shared {
                most: settings.most,
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// A pool with its thread, which there is only if a container may wait. Errors: no thread.
    pub(crate) fn start(
        settings: &WarmSettings,
        surroundings: Surroundings,
    ) -> std::io::Result<Self> {
        let pool = Self::new(settings);
        if !pool.is_on() {
            return Ok(pool);
        }
        pool.shared.lock().has_thread = true;
        let shared = Arc::clone(&pool.shared);
        let tend = move || {
            shared.tend(&surroundings);
            shared.lock().has_thread = false;
            shared.changed.notify_all();
        };
        std::thread::Builder::new()
            .name("warm".into())
            .stack_size(512 * 1024)
            .spawn(tend)?;
        Ok(pool)
    }

    /// Whether containers may wait.
    pub(crate) fn is_on(&self) -> bool {
        self.shared.most > 0
    }

    /// To be called when a run of this shape begins. Once the returned value is dropped, at its end, a container of this shape is
    /// started for the next one.
    pub(crate) fn enter(&self, shape: &Arc<Shape>) -> ShapeUse {
        self.shared.lock().stock.begin(shape, Instant::now());
        ShapeUse {
            pool: self.clone(),
            key: shape.key().to_owned(),
            used: None,
        }
    }

    /// Takes a container of this shape whose connections are alive. `None`: there is none. Never blocks.
    pub(crate) fn claim(&self, shape: &Shape) -> Option<Waiting> {
        loop {
            let mut waiting = self.shared.lock().stock.take(shape.key())?;
            if waiting.is_connected() {
                return Some(waiting);
            }
            metrics::WARM_RUNS.add([Label::Word("died")]);
        }
    }

    /// To be called when a claimed container of this shape has begun to run a command.
    pub(crate) fn confirm(&self, shape: &Shape) {
        self.shared.lock().stock.proven(shape.key());
    }

    /// Keeps containers of this shape waiting for an image of the settings, whether they are used or not.
    pub(crate) fn keep(&self, image: &WarmImage, shape: &Arc<Shape>) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.stock.keep(&image.image, shape, image.count, now);
        self.shared.changed.notify_all();
    }

    /// What there is.
    pub(crate) fn census(&self) -> WarmCensus {
        self.shared.lock().stock.census()
    }

    /// Hands all containers to the removal threads. From here on none is started. Returns at once.
    pub(crate) fn empty(&self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let containers = (state.stock.clear(), std::mem::take(&mut state.used));
        self.shared.changed.notify_all();
        drop(state);
        drop(containers);
    }

    /// As [`WarmPool::empty`], and blocks until a container that is just being started is handed over too, or until the deadline.
    pub(crate) fn close(&self, deadline: Instant) {
        self.empty();
        let mut state = self.shared.lock();
        while state.has_thread {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for ShapeUse {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.pool.shared.lock();
        state.stock.end(&self.key, now);
        state.last_end = Some(now);
        // A closed pool has no thread any more that would remove it.
        if !state.is_closed {
            state.used.extend(self.used.take());
        }
        self.pool.shared.changed.notify_all();
    }
}

impl Shared {
    /// Starts and removes containers until the pool is closed.
    fn tend(&self, surroundings: &Surroundings) {
        while let Some(shape) = self.await_work(&*surroundings.room) {
            let started = (surroundings.start)(&shape);
            let mut state = self.lock();
            let now = Instant::now();
            match started {
                // Dropped outside of the lock.
                Ok(waiting) if state.is_closed => {
                    drop(state);
                    drop(waiting);
                }
                Ok(waiting) => state.stock.put(&shape, waiting, now),
                Err(error) => {
                    state.stock.fail(shape.key(), now);
                    log::warn!(
                        "no container waits for runs of {}: {error}",
                        shape.body.image
                    );
                }
            }
        }
    }

    /// Blocks until a container is to be started, and removes meanwhile those that are dead or not wanted any more. `None`: the pool
    /// is closed.
    fn await_work(&self, room: &dyn Fn() -> Room) -> Option<Arc<Shape>> {
        loop {
            let room = room();
            let mut state = self.lock();
            if state.is_closed {
                return None;
            }
            let now = Instant::now();
            let answered = state.last_end.map_or(now, |end| end + AFTER_RUN);
            if answered > now {
                self.wait(state, answered - now);
                continue;
            }
            let used = std::mem::take(&mut state.used);
            let mut removed = state
                .stock
                .take_dead(now, |waiting| !waiting.is_connected());
            removed.extend(state.stock.take_surplus(now));
            let next = match room {
                Room::Free => state.stock.next(now),
                Room::Busy => None,
                Room::Short => {
                    removed.extend(state.stock.take_idle(now, UNUSED));
                    None
                }
            };
            if next.is_some() || !removed.is_empty() || !used.is_empty() {
                drop(state);
                drop((removed, used));
                match next {
                    Some((shape, _evicted)) => return Some(shape),
                    None => continue,
                }
            }
            self.wait(
                state,
                match room {
                    Room::Free => LOOK,
                    Room::Busy | Room::Short => ROOM_LOOK,
                },
            );
        }
    }

    fn wait(&self, state: MutexGuard<'_, State>, patience: Duration) {
        drop(self.changed.wait_timeout(state, patience));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
