//! The REST resources, one file each: JSON in, one call of the runner, JSON out. Errors of the runner become problems
//! (RFC 9457) in `problems` only.

mod api_profile;
mod body;
mod browser_files;
mod channel_sink;
pub mod docs;
mod flags;
pub mod health;
pub mod images;
mod large_event;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod page;
pub mod policy;
mod prefer;
mod problems;
pub mod run;
pub mod run_body;
pub mod runs;
mod stream;
pub mod volume;

pub use problems::problem;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod mutation_tests;
