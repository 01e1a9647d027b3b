//! Behaviour seen from outside: a live server, a real engine. Each module is a chapter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/second_engine.rs"]
mod second_engine;
mod support;

mod abuse;
mod adoption;
mod async_runs;
mod bad_input;
mod crash;
mod docs;
mod image;
mod kill_anywhere;
mod lifecycle;
mod load;
mod map;
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
