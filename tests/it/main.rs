//! All integration tests, in one binary so that they are linked once. Most modules test the built server from outside,
//! with a real engine; `archive`, `edge`, `engine_client` and `engine_faults` call the library in this process.
//!
//! `cargo test` starts tests in the order of their names, as many at a time as there are cores. Tests share the process
//! with others: none may change its limits, its environment or its working directory. Those that need to, or that count
//! threads or descriptors, start this binary again as a second process (`edge::process`). Captured logs are exclusive
//! (`support::CapturedLog`).
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
mod adoption_behind;
mod archive;
mod archive_admission;
mod archives_from_tools;
mod arrival;
mod async_runs;
mod attacks;
mod bad_input;
mod cancelled_runs;
mod chaos;
mod configuration;
mod crash;
mod docs;
mod edge;
mod engine_client;
mod engine_crash;
mod engine_faults;
mod engine_gaps;
mod engine_returns;
mod host_paths;
mod http_clients;
mod image;
mod image_references;
mod json_spellings;
mod kernel_limits;
mod kill_anywhere;
mod lifecycle;
mod listed_runs;
mod load;
mod map;
mod mcp;
mod memory;
mod metrics;
mod mounts;
mod mutated_inputs;
mod named_users;
mod nested_mounts;
mod newer_engine;
mod openapi;
mod own_init;
mod page;
mod page_connections;
mod page_form;
mod page_output;
mod policy;
mod preferences;
mod prune;
mod prune_loop;
mod pruned_records;
mod readme;
mod registry;
mod remote;
mod run;
mod schema_and_parser;
mod schemathesis;
mod shared_name;
mod short_of_threads;
mod signals;
mod stalled_readers;
mod strange_objects;
mod streaming;
mod takeover;
mod texts;
mod tool_setups;
mod volume_owners;
mod volume_sweeps;
mod volumes;
mod warm;
