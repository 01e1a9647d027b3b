//! Behaviour seen from outside: a live server, a real engine. Each module is a chapter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

mod bad_input;
mod crash;
mod docs;
mod lifecycle;
mod load;
mod map;
mod metrics;
mod mounts;
mod openapi;
mod registry;
mod run;
mod volumes;
