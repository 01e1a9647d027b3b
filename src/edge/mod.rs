//! Owns every client socket: accepts, reads and checks one request head per connection, reads the body, relays the response,
//! notices when the client leaves, and closes so that the client can read the response.
//!
//! Routes nothing: every admitted request goes to one service (see `connection`). What it has to know of the API (the health
//! check's path, paths without a token, CORS, templates for metrics) comes in with the [`ServerConfig`].

mod body;
mod body_error;
mod chunked;
mod client;
mod config;
mod connection;
mod connections;
mod content;
mod fields;
mod guard;
mod head;
mod ids;
mod linger;
mod listener;
mod minimum_rate;
mod refusal;
mod relay;
mod responder;
mod response_head;
mod target;

pub use body_error::BodyError;
pub use config::{CorsPolicy, RouteTable, ServerConfig};
pub(crate) use connection::AdmittedRequest;
pub(crate) use head::Head;
#[cfg(test)]
pub(crate) use head::parse_exactly;
pub(crate) use listener::Edge;
pub(crate) use response_head::{Delimiter, write_head};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod mutation_tests;
