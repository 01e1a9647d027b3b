//! Runs: what may be asked, in which order it is done, and that nothing of it is left behind.
//!
//! Knows no HTTP status and no MCP; its fronts are `rest` and `mcp`. From request to result: `wire` and `request`
//! (types), `spec`, `limits` and `mounts` (every check), `execute` (the life of a run, step by step), with `admission`,
//! `images`, `stage`, `plan`, `supervise`, `output` and `collect` as its steps; `removal` and `reaper` take everything
//! out of the engine again, `labels` says whose it is. Runs whose callers do not wait are `detached`: `registry` and
//! `events` remember them here, which `logs` reads, `record` in the engine, and `adopt` takes over those of a dead
//! predecessor. `volumes` are the named ones that outlive a run; `fill` makes them whole or not at all.

mod active;
mod admission;
mod adopt;
mod clock;
mod collect;
mod detached;
mod dry_run;
mod error;
mod events;
mod execute;
mod fill;
mod gate;
mod images;
mod labels;
mod limits;
mod logs;
mod mounts;
mod names;
mod output;
mod plan;
mod policy;
mod reaper;
mod record;
mod registry;
mod removal;
mod request;
mod result;
mod service;
mod spec;
mod stage;
mod supervise;
mod volumes;
mod whole;
pub mod wire;

pub use dry_run::{PlannedVolume, RunPlan};
pub use error::Error;
pub use events::Outcome;
pub use logs::{Next, Piece, RunEvents, RunLogs};
pub use policy::{Globs, Policy};
pub use registry::{Keeping, Lifetime, Phase, RunState};
pub use request::*;
pub use result::*;
pub use service::{Front, Health, Image, Occupancy, Runner, Settings};
pub use spec::{LABEL_PREFIX, RunSpec};
