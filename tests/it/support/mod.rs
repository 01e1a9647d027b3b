//! What the tests share: the server under test, an HTTP client, the engine seen through the `docker` command, second
//! engines, a registry, a browser, and proxies that inject faults.

mod answer;
mod archive;
mod browser;
mod captured_log;
mod certificates;
mod cutting;
mod directory;
mod engine;
mod http;
mod killing;
mod live;
pub mod quickstart;
mod readme;
pub mod registry;
mod second_engine;
mod server;

pub use answer::read_answer;
pub use archive::{Entry, tar_gz, untar};
pub use browser::Browser;
pub use captured_log::CapturedLog;
pub use certificates::Authority;
pub use cutting::{Cutting, Fate};
pub use directory::Directory;
pub use engine::{docker, leftovers, require_engine};
pub(crate) use http::{Answer, Request};
pub use killing::{Dies, Killing};
pub use live::Live;
pub use readme::{commands, readme, shell_output, spawn_shell};
pub use second_engine::SecondEngine;
pub use server::{Server, ask, await_nothing_left};

/// The image that `make images` builds for the tests: busybox with a bash.
pub const IMAGE: &str = "oneoff-test:latest";
