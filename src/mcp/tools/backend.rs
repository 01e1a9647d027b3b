//! What executes tool calls: the runner in production, an implementation in memory in tests.

use super::arguments::PROFILE;
use super::tool_call::ToolCall;
use crate::cancel::Cancel;
use crate::runner::{
    Encoding, Error, Health, Image, LogQuery, RunLogs, RunResult, RunState, RunStates, Runner,
    Sink, VolumeContent,
};
use serde_json::Value;
use std::time::Duration;

/// How long `cancel_run` waits for the cancelled run to end before it reports the state.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// About how many bytes of output one `run_logs` reads.
const PAGE_BYTES: usize = 200_000;

/// Executes tool calls. The boundary between the protocol and the runner, and the only place where tests replace the
/// runner.
pub(crate) trait Backend: Send + Sync {
    /// Checks the arguments of a run without executing it. Errors: all faults.
    fn check_run(&self, request: Value) -> Result<(), Error>;

    /// Executes one call. Blocks until its outcome is there; firing `cancel` ends a run or a wait early. A run sends
    /// its events to `sink`.
    fn execute(
        &self,
        call: ToolCall,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<ToolOutcome, Error>;
}

/// What a [`ToolCall`] led to.
#[derive(Debug)]
pub(crate) enum ToolOutcome {
    /// A run has ended.
    Run {
        /// Its result.
        result: Box<RunResult>,
        /// The encoding of its streams.
        encoding: Encoding,
    },
    /// A detached run was accepted.
    Submitted(RunState),
    /// The state of a detached run.
    Status(RunState),
    /// A page of a detached run's output.
    Logs(RunLogs),
    /// A detached run was cancelled.
    Cancelled(RunState),
    /// A detached run had finished, and is forgotten now.
    Forgotten(RunState),
    /// The detached runs.
    Runs(RunStates),
    /// A volume was created or written over.
    VolumeCreated {
        /// A sentence that says what was done.
        detail: String,
    },
    /// The content of a volume.
    Volume {
        /// The volume's name.
        name: String,
        /// What it contains.
        content: VolumeContent,
    },
    /// The engine's images.
    Images(Vec<Image>),
    /// The engine answers.
    Health(Health),
}

impl Backend for Runner {
    fn check_run(&self, request: Value) -> Result<(), Error> {
        self.check(request, PROFILE).map(drop)
    }

    fn execute(
        &self,
        call: ToolCall,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<ToolOutcome, Error> {
        match call {
            ToolCall::Run(request) => run(self, request, cancel, sink),
            ToolCall::Submit(request) => self
                .submit(request, PROFILE, None, cancel)
                .map(ToolOutcome::Submitted),
            ToolCall::RunStatus { id, wait } => self
                .run_wait(&id, Some(wait), cancel)
                .map(ToolOutcome::Status),
            ToolCall::RunLogs { id, cursor, wait } => {
                let query = LogQuery {
                    cursor: cursor.as_deref(),
                    page_bytes: PAGE_BYTES,
                    timeout: wait,
                    stop: cancel,
                };
                self.run_logs(&id, &query).map(ToolOutcome::Logs)
            }
            ToolCall::CancelRun { id } => cancel_run(self, &id, cancel),
            ToolCall::ListRuns { state, limit } => {
                self.run_list(state, limit).map(ToolOutcome::Runs)
            }
            ToolCall::CreateVolume(request) => self
                .volume_create(request, PROFILE, cancel)
                .map(|detail| ToolOutcome::VolumeCreated { detail }),
            ToolCall::ReadVolume { name } => self
                .volume_read(&name)
                .map(|content| ToolOutcome::Volume { name, content }),
            ToolCall::ListImages => self.images().map(ToolOutcome::Images),
            ToolCall::DockerHealth => self.health().map(ToolOutcome::Health),
        }
    }
}

/// Checks a run, executes it and returns its result.
fn run(
    runner: &Runner,
    request: Value,
    cancel: &Cancel,
    sink: &dyn Sink,
) -> Result<ToolOutcome, Error> {
    let spec = runner.check(request, PROFILE)?;
    let encoding = spec.output_encoding();
    let result = Box::new(runner.run(spec, cancel, sink)?);
    Ok(ToolOutcome::Run { result, encoding })
}

/// Forgets a run that has finished, or cancels one that has not and waits for its end.
fn cancel_run(runner: &Runner, id: &str, cancel: &Cancel) -> Result<ToolOutcome, Error> {
    if let Some(state) = runner.run_forget(id)? {
        return Ok(ToolOutcome::Forgotten(state));
    }
    runner.run_cancel(id)?;
    // Waits so that the answer contains what the run printed.
    let state = runner.run_wait(id, Some(CANCEL_TIMEOUT), cancel)?;
    Ok(ToolOutcome::Cancelled(state))
}
