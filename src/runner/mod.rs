//! Runs one-off containers: what may be asked, in which order it is done, and that nothing of it is left behind.
//!
//! Knows no HTTP status and no MCP; its callers are `rest` and `mcp`. In reading order:
//!
//! | room | what it is | may use |
//! |---|---|---|
//! | `facade` | [`Runner`]: every operation | all below |
//! | `dry_run` | what a run would do, without doing it | `run`, `request`, `cleanup` |
//! | `plain` | runs whose callers wait, as others see them | `jobs`, `run`, `request` |
//! | `jobs` | asynchronous runs: submit, scheduler, registry, store, adoption | `run`, `request`, `takeover`, `staging`, `cleanup` |
//! | `run` | the life of a run, step by step | `volumes`, `warm`, `init`, `request`, `staging`, `cleanup` |
//! | `warm` | containers that wait for their command | `request`, `cleanup` |
//! | `init` | which runs have the service's own PID 1, and its volume | `request`, `staging`, `cleanup` |
//! | `volumes` | named volumes, filled completely or not at all | `request`, `staging`, `cleanup` |
//! | `takeover` | which servers of one name live, and which of them adopts runs | `staging`, `cleanup` |
//! | `staging` | helper containers, through which content gets into volumes and out of them | `cleanup` |
//! | `request` | JSON types, every check, [`RunSpec`] | `policy` |
//! | `cleanup` | labels and ownership, removal, reaper | |
//! | `changes`, `policy`, `image`, `image_patterns`, `error`, `clock`, `rounds`, `semaphore` | shared by all; they use none of the rooms | |
//!
//! Inside the runner a file is imported by its own path; the re-exports below are for other rooms.

mod changes;
mod cleanup;
mod clock;
mod dry_run;
mod error;
mod facade;
mod image;
mod image_patterns;
mod init;
mod jobs;
mod plain;
mod policy;
mod reports;
pub mod request;
mod rounds;
mod run;
mod semaphore;
mod staging;
mod takeover;
mod volumes;
mod warm;

pub use changes::RunChanges;
pub use dry_run::{PlannedVolume, RunPlan};
pub use error::{Error, RunLimit};
pub use facade::{Runner, Settings};
pub use image::Image;
pub use image_patterns::ImagePatterns;
pub use init::choice::InitMode;
pub use init::delivery::InitHealth;
pub use jobs::entry::{Phase, RunFilter, RunState, RunStates};
pub use jobs::event_log::Outcome;
pub use jobs::logs::{LogQuery, Next, Piece, RunEvents, RunLogs};
pub use jobs::record_keeper::Persistence;
pub use jobs::registry::Retention;
pub use jobs::shown_command::ShownCommand;
pub use policy::{Globs, Policy, VolumeOwners};
pub use reports::{Health, Occupancy};
pub use request::check::ApiProfile;
pub use request::lenient::{Spelling, Takes};
pub use request::spec::{LABEL_PREFIX, RunSpec};
pub use request::types::*;
pub use request::values::*;
pub use request::volume::NETWORK_TYPES;
pub use run::result::*;
pub use volumes::named::VolumeContent;
pub use warm::pool::{WarmImage, WarmSettings};
pub use warm::stock::WarmCensus;
