//! The tools: what each takes and gives, in words a model can act on. Knows no JSON-RPC and no transport.
//! <https://modelcontextprotocol.io/specification/2025-11-25/server/tools>

mod arguments;
mod call;
mod catalogue;
mod decode;
mod report;
mod schema;
pub(crate) mod trial;

pub(crate) use call::{Scene, call};
pub use catalogue::Toolset;
pub(crate) use catalogue::{Tool, definitions};

use crate::cancel::Cancel;
use crate::runner::{Error, Front, Health, Image, PullPolicy, RunResult, Runner, Sink};
use serde_json::Value;

/// How the runner reads a tool's arguments.
const FRONT: Front = Front {
    root: "arguments",
    pull_policy: PullPolicy::Missing,
};

/// What the tools work with. The service's [`Runner`] in earnest, something in memory in tests.
pub trait Containers: Send + Sync {
    /// Checks and runs an object with [`crate::runner::RunRequest`]'s fields.
    fn run(&self, request: Value, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error>;
    /// Creates and fills a named volume: an object with [`crate::runner::VolumeRequest`]'s fields.
    fn create_volume(&self, request: Value) -> Result<String, Error>;
    /// Content of a named volume, as base64 tar.gz.
    fn read_volume(&self, name: &str) -> Result<String, Error>;
    /// Whether the engine answers.
    fn health(&self) -> Result<Health, Error>;
    /// The images that the engine has.
    fn images(&self) -> Result<Vec<Image>, Error>;
}

impl Containers for Runner {
    fn run(&self, request: Value, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        let spec = self.check(request, FRONT)?;
        Runner::run(self, spec, cancel, sink)
    }
    fn create_volume(&self, request: Value) -> Result<String, Error> {
        self.volume_create(request, FRONT)
    }
    fn read_volume(&self, name: &str) -> Result<String, Error> {
        self.volume_read(name)
    }
    fn health(&self) -> Result<Health, Error> {
        Runner::health(self)
    }
    fn images(&self) -> Result<Vec<Image>, Error> {
        Runner::images(self)
    }
}
