//! Send one HTTP (or MCP) request, have a container run once, get back exactly what it printed, wrote and exited
//! with, and leave nothing behind.
//!
//! # The map, from the outside in
//!
//! | room | what it is |
//! |---|---|
//! | [`config`] | the only reader of the environment |
//! | [`app`] | wires the parts; the whole API as one match |
//! | [`edge`] | the only code that touches a client's socket: heads, bodies, deadlines, the guard |
//! | [`http`] | the inner tiny_http server: one typed request in, one typed reply out |
//! | [`rest`] | JSON resources and the one translation of errors to HTTP |
//! | [`mcp`] | JSON-RPC, protocol revisions, tools, sessions, transports |
//! | [`runner`] | the life of a run, and that nothing of it stays |
//! | [`init`] | PID 1 inside a run's container; the runner uses its protocol |
//! | [`docker`] | the Engine API over one small blocking client |
//! | [`archive`] | base64 tar.gz outside, plain tar inside; bytes only |
//! | [`metrics`] | what the service counts, one registry for all rooms |
//! | [`json`] | the strict JSON parser of REST, MCP and of JSON within strings |
//! | [`memory`] | the memory budget that all requests share |
//! | [`cancel`], [`problem`], [`healthcheck`], `process_identity`, `glob`, `random_id` | one small thing each, used by several rooms |
//!
//! # Invariants
//!
//! - Imports point one way: `main → app → {rest, mcp} → {http, runner}`, `http → edge`, `runner → {docker, archive, init's protocol}`.
//! - `rest` and `mcp` never name `docker`; `runner` never names a status code; `archive` opens nothing.
//! - Only `config` reads the environment.
//! - Every engine object of ours carries our labels in its create call, and is owned by a guard before it.
//! - Content travels over the Engine API, never through a directory of the host.
//! - Secrets (credentials, tokens, values of variables) never reach a log, an error, a label or a metric.
//! - tiny_http never faces a client: it sees one vetted, bodiless head per connection.

pub mod app;
pub mod archive;
pub mod cancel;
pub mod config;
pub mod docker;
pub mod edge;
mod glob;
pub mod healthcheck;
pub mod http;
pub mod init;
pub mod json;
pub mod mcp;
pub mod memory;
pub mod metrics;
pub mod problem;
mod process_identity;
mod random_id;
pub mod rest;
pub mod runner;

/// Random numbers and mutations, which the tests of the library share with those of the server.
#[cfg(test)]
#[allow(missing_docs, unreachable_pub, clippy::unwrap_used)]
#[path = "../tests/it/support/random.rs"]
mod random;
