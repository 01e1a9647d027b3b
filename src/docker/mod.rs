//! Client of the Docker Engine API: only the endpoints that a run needs, one method per endpoint, named after it. Knows
//! nothing of runs.
//!
//! | layer, from the endpoints down | what it does |
//! |---|---|
//! | [`container`], [`image`], [`volume`], [`system`], [`events`], [`removals`], [`engine_restarts`], [`parked`] | the endpoints, as methods of [`Client`] |
//! | `stdin`, [`stdcopy`], `messages`, [`registry_auth`] | formats of streams and headers |
//! | `client` | sends a `call`, negotiates the version (`api_version`), turns every failure into an [`Error`] |
//! | `info_cache` | the last answer of `/info` |
//! | `call`, `response` | one request before it is sent; one response after its head has arrived |
//! | `transport` | runs ureq over our socket; the only user of `ureq::unversioned` |
//! | `socket`, `tls`, [`host`] | byte streams with deadlines; TLS settings; `DOCKER_HOST` |
//! | [`types`] | the JSON objects |
//! | `reference` | the grammar of image references |

mod api_version;
mod call;
mod client;
pub mod container;
pub mod engine_restarts;
mod error;
pub mod events;
pub mod host;
pub mod image;
mod info_cache;
mod messages;
pub mod parked;
pub mod reference;
pub mod registry_auth;
pub mod removals;
mod response;
mod socket;
pub mod stdcopy;
mod stdin;
pub mod system;
mod tls;
mod transport;
pub mod types;
pub mod volume;

pub use api_version::check_api_version;
pub use client::Client;
pub use error::Error;
pub use host::Host;
pub use types::*;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod mutation_tests;
