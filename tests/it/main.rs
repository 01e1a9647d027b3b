//! Behaviour seen from outside: a live server, a real engine. Each module is a chapter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod support;

mod abuse;
mod adoption;
mod archive;
mod async_runs;
mod bad_input;
mod crash;
mod docs;
mod edge;
mod engine_client;
mod engine_faults;
mod image;
mod kill_anywhere;
mod lifecycle;
mod load;
mod map;
mod mcp;
mod metrics;
mod mounts;
mod openapi;
mod policy;
mod readme;
mod registry;
mod remote;
mod run;
mod schemathesis;
mod streaming;
mod volumes;
