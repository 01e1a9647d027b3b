//! The server's state in numbers, as the page shows it.

use crate::metrics;
use crate::runner::Runner;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the engine is asked whether it is there, while somebody looks.
const ENGINE_PERIOD: Duration = Duration::from_secs(5);
/// The resident memory is rounded to this, so that an idle server's status does not change all the time.
const MEMORY_STEP: u64 = 1 << 20;

/// The data of a `status` event.
#[derive(Serialize)]
pub(super) struct Status {
    /// The server's version.
    version: &'static str,
    slots: Slots,
    queue: Queue,
    memory: Memory,
    warm: Warm,
    /// Null until the engine has been asked.
    engine: Option<EngineStatus>,
}

/// Runs that go on at once.
#[derive(Serialize)]
struct Slots {
    total: usize,
    used: usize,
}

/// Runs that wait for a slot.
#[derive(Serialize)]
struct Queue {
    /// Most plain runs that may wait.
    capacity: usize,
    waiting: usize,
}

/// Containers that wait for runs.
#[derive(Serialize)]
struct Warm {
    waiting: usize,
    /// Kinds of runs that they, or ones to come, are for.
    shapes: usize,
}

/// Memory, in bytes.
#[derive(Serialize)]
struct Memory {
    /// Of `RUNNER_MAX_BODY_MEMORY`.
    held_bytes: u64,
    limit_bytes: u64,
    /// Of the whole process.
    resident_bytes: u64,
}

/// Whether the engine answers.
#[derive(Clone, Serialize)]
pub(super) struct EngineStatus {
    ok: bool,
    /// Its version.
    version: Option<String>,
    api_version: Option<String>,
    /// Why it does not answer.
    detail: Option<String>,
}

/// The status now. Makes no engine call.
pub(super) fn status(runner: &Runner, engine: &EngineWatch) -> Status {
    let now = runner.occupancy();
    let resident = metrics::resident_bytes().unwrap_or(0);
    Status {
        version: env!("CARGO_PKG_VERSION"),
        slots: Slots {
            total: now.slots,
            used: now.slots.saturating_sub(now.free),
        },
        queue: Queue {
            capacity: now.queue_length,
            waiting: now.waiting,
        },
        memory: Memory {
            held_bytes: now.memory_used_bytes,
            limit_bytes: now.memory_limit_bytes,
            resident_bytes: resident / MEMORY_STEP * MEMORY_STEP,
        },
        warm: Warm {
            waiting: now.warm.waiting,
            shapes: now.warm.shapes,
        },
        engine: engine.last(),
    }
}

/// Asks the engine now and then, on a thread of its own: an engine that hangs takes 2 s to be found out.
pub(super) struct EngineWatch {
    runner: Runner,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    at: Option<Instant>,
    is_waiting: bool,
    last: Option<EngineStatus>,
}

impl EngineWatch {
    pub(super) fn new(runner: Runner) -> Self {
        Self {
            runner,
            asked: Arc::default(),
        }
    }

    /// Asks, unless it was asked just now. Does not wait for the answer.
    pub(super) fn ask_sometimes(&self) {
        {
            let mut asked = lock(&self.asked);
            if asked.is_waiting || asked.at.is_some_and(|at| at.elapsed() < ENGINE_PERIOD) {
                return;
            }
            asked.at = Some(Instant::now());
            asked.is_waiting = true;
        }
        let (runner, asked) = (self.runner.clone(), self.asked.clone());
        let ask = move || {
            let last = answer(&runner);
            let mut asked = lock(&asked);
            asked.is_waiting = false;
            asked.last = Some(last);
        };
        let spawned = std::thread::Builder::new()
            .name("page-health".into())
            .spawn(ask);
        if spawned.is_err() {
            lock(&self.asked).is_waiting = false;
        }
    }

    fn last(&self) -> Option<EngineStatus> {
        lock(&self.asked).last.clone()
    }
}

fn answer(runner: &Runner) -> EngineStatus {
    match runner.health() {
        Ok(health) => EngineStatus {
            ok: true,
            version: Some(health.docker_version),
            api_version: Some(health.api_version),
            detail: None,
        },
        Err(error) => EngineStatus {
            ok: false,
            version: None,
            api_version: None,
            detail: Some(error.to_string()),
        },
    }
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
