//! What the tests share: the server under test, an HTTP client, the engine seen through the `docker` command, second
//! engines, a registry, a browser, and proxies that inject faults.

mod answer;
mod archive;
mod browser;
mod captured_log;
mod certificates;
mod directory;
mod engine;
mod event_stream;
mod fault_proxy;
mod http;
mod kill_proxy;
mod program;
pub mod quickstart;
mod random;
mod readme;
pub mod registry;
mod second_engine;
mod server;
mod version_proxy;

pub use answer::{read_answer, read_whole_answer};
pub use archive::{Entry, tar_gz, untar};
pub use browser::Browser;
pub use captured_log::CapturedLog;
pub use certificates::Authority;
pub use directory::Directory;
pub use engine::{docker, engine_socket, leftovers, require_engine};
pub use event_stream::EventStream;
pub use fault_proxy::{Fate, FaultProxy};
pub(crate) use http::{Answer, Request};
pub use kill_proxy::{KillAt, KillProxy};
pub use program::program;
pub use random::{Random, rounds};
pub use readme::{commands, readme, shell_output, spawn_shell};
pub use second_engine::SecondEngine;
pub use server::{Server, ask, await_nothing_left, fresh_instance};
pub use version_proxy::VersionProxy;

/// The image that `make images` builds for the tests: busybox with a bash.
pub const IMAGE: &str = "oneoff-test:latest";
