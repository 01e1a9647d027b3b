//! The REST resources: JSON in, a call of the runner, JSON out. One file per resource; every error becomes a
//! problem in `problems`, and nowhere else.

mod api_profile;
mod body;
pub mod docs;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod policy;
mod problems;
pub mod run;
pub mod runs;
mod stream;
pub mod volume;

pub use problems::problem;
