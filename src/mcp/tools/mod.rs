//! The tools: what each takes and gives, in words a model can act on. Knows no JSON-RPC and no transport.
//! <https://modelcontextprotocol.io/specification/2025-11-25/server/tools>

mod arguments;
mod call;
mod catalogue;
mod decode;
mod detached;
mod report;
mod schema;
pub(crate) mod trial;

pub(crate) use call::{Scene, call};
pub use catalogue::Toolset;
pub(crate) use catalogue::{Tool, definitions};

use crate::cancel::Cancel;
use crate::runner::{
    ApiProfile, Error, Health, Image, Phase, PullPolicy, RunLogs, RunResult, RunState, Runner, Sink,
};
use serde_json::Value;
use std::time::Duration;

/// How the runner reads a tool's arguments.
const FRONT: ApiProfile = ApiProfile {
    root: "arguments",
    pull_policy: PullPolicy::Missing,
};

/// What the tools work with. The service's [`Runner`] in earnest, something in memory in tests.
pub trait Containers: Send + Sync {
    /// Checks and runs an object with [`crate::runner::RunRequest`]'s fields.
    fn run(&self, request: Value, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error>;
    /// Checks such an object only.
    fn check(&self, request: Value) -> Result<(), Error>;
    /// Checks it and accepts a run that goes on by itself.
    fn submit(&self, request: Value) -> Result<RunState, Error>;
    /// How such a run stands once it has finished, the time is over, or `stop` has fired.
    fn run_state(&self, id: &str, patience: Duration, stop: &Cancel) -> Result<RunState, Error>;
    /// About so many bytes of what it printed after a cursor; waits for something as `run_state` does.
    fn run_logs(
        &self,
        id: &str,
        place: (Option<&str>, usize),
        wait: (Duration, &Cancel),
    ) -> Result<RunLogs, Error>;
    /// Forgets it if it has finished; gives how it stood then.
    fn run_forget(&self, id: &str) -> Result<Option<RunState>, Error>;
    /// Cancels it; it may take a moment.
    fn run_cancel(&self, id: &str) -> Result<RunState, Error>;
    /// Such runs, newest first, at most so many.
    fn run_list(&self, phase: Option<Phase>, limit: usize) -> Vec<RunState>;
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
        let spec = Runner::check(self, request, FRONT)?;
        Runner::run(self, spec, cancel, sink)
    }
    fn check(&self, request: Value) -> Result<(), Error> {
        Runner::check(self, request, FRONT).map(drop)
    }
    fn submit(&self, request: Value) -> Result<RunState, Error> {
        Runner::submit(self, request, FRONT, None)
    }
    fn run_state(&self, id: &str, patience: Duration, stop: &Cancel) -> Result<RunState, Error> {
        self.run_wait(id, Some(patience), stop)
    }
    fn run_logs(
        &self,
        id: &str,
        (cursor, page_bytes): (Option<&str>, usize),
        wait: (Duration, &Cancel),
    ) -> Result<RunLogs, Error> {
        let (timeout, stop) = wait;
        let query = crate::runner::LogQuery {
            cursor,
            page_bytes,
            timeout,
            stop,
        };
        Runner::run_logs(self, id, &query)
    }
    fn run_forget(&self, id: &str) -> Result<Option<RunState>, Error> {
        Runner::run_forget(self, id)
    }
    fn run_cancel(&self, id: &str) -> Result<RunState, Error> {
        Runner::run_cancel(self, id)
    }
    fn run_list(&self, phase: Option<Phase>, limit: usize) -> Vec<RunState> {
        Runner::run_list(self, phase, limit)
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
