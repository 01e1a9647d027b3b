//! The Docker Engine API, as much of it as a run needs: one method per endpoint, named after it.
//!
//! `host` knows where the engine is, `socket` gets bytes there and back, `transport` is the only file that touches
//! `ureq::unversioned`, `request` is the only place where a failed call becomes an [`Error`]. Nothing here knows
//! what a run is.

mod call;
mod client;
pub mod container;
mod error;
pub mod events;
pub mod host;
pub mod image;
mod messages;
pub mod registry_auth;
mod response;
mod socket;
pub mod stdcopy;
mod stdin;
pub mod system;
mod tls;
mod transport;
pub mod types;
pub mod volume;

pub use client::Client;
pub use error::Error;
pub use host::Host;
pub use types::*;
