//! Runs: what may be asked, in which order it is done, and that nothing of it is left behind.
//!
//! Knows no HTTP status and no MCP; its callers are `rest` and `mcp`. [`facade`] is what they see.
//!
//! | room | what it is |
//! |---|---|
//! | `request` | JSON types, every check, [`RunSpec`] |
//! | `run` | the life of a run, step by step |
//! | `jobs` | asynchronous runs: submit, registry, event log, the engine as database, adoption |
//! | `volumes` | named volumes, filled whole or not at all |
//! | `cleanup` | ownership labels, removal, reaper |

mod cleanup;
mod clock;
mod dry_run;
mod error;
mod facade;
mod jobs;
mod policy;
pub mod request;
mod run;
mod semaphore;
mod volumes;

pub use dry_run::{PlannedVolume, RunPlan};
pub use error::Error;
pub use facade::{ApiProfile, Health, Image, Occupancy, Runner, Settings};
pub use jobs::event_log::Outcome;
pub use jobs::logs::{Next, Piece, RunEvents, RunLogs};
pub use jobs::registry::{Persistence, Phase, Retention, RunState};
pub use policy::{Globs, Policy};
pub use request::spec::{LABEL_PREFIX, RunSpec};
pub use request::types::*;
pub use request::values::*;
pub use run::result::*;
