//! What the runner says of the engine and of itself.

use crate::runner::init::delivery::InitHealth;
use crate::runner::warm::stock::WarmCensus;
use schemars::JsonSchema;
use serde::Serialize;

/// Answer of `GET /health`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The engine's version.
    pub docker_version: String,
    /// The newest API version the engine speaks.
    pub api_version: String,
    /// Whether runs can have this service's own PID 1.
    pub init: InitHealth,
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
    /// Containers that wait for runs.
    pub warm: WarmCensus,
    /// Bytes of the memory budget that are taken.
    pub memory_used_bytes: u64,
    /// Bytes of the memory budget.
    pub memory_limit_bytes: u64,
}
