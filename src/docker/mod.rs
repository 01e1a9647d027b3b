//! The Docker Engine API, as much of it as a run needs: one method per endpoint, named after it.
//!
//! `host` knows where the engine is, `transport` is the only file that touches `ureq::unversioned`, `request`
//! is the only place where a failed call becomes an [`Error`]. Nothing here knows what a run is.

pub mod container;
pub mod host;
pub mod image;
pub mod registry_auth;
mod request;
pub mod stdcopy;
pub mod system;
mod transport;
pub mod types;
pub mod volume;

pub use host::Host;
pub use request::{Client, Error};
pub use types::*;
