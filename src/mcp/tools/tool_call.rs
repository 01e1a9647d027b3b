//! A tool call with its arguments read from JSON: what a [`super::backend::Backend`] executes.

use super::arguments::{self, CancelRequest, ListRequest, LogsRequest, StatusRequest, VolumeName};
use super::catalogue::Tool;
use crate::problem::Fault;
use crate::runner::request::wire::{Reader, member};
use crate::runner::{Error, Phase};
use serde_json::{Map, Value};
use std::time::Duration;

/// Largest `wait_secs`.
const LONGEST_WAIT_SECS: u64 = 3600;
/// Default and maximum `limit` of `list_runs`.
const USUAL_RUNS: u64 = 20;
const MOST_RUNS: u64 = 200;

/// A tool call. The requests are objects that the backend checks against its own types.
#[derive(Debug)]
pub(crate) enum ToolCall {
    /// Run a container and wait for its result; an object with [`crate::runner::RunRequest`]'s fields.
    Run(Value),
    /// Accept a detached run; the same object.
    Submit(Value),
    /// State and result of a detached run.
    RunStatus {
        /// The run's id.
        id: String,
        /// How long to wait for the run to finish.
        wait: Duration,
    },
    /// A page of a detached run's output.
    RunLogs {
        /// The run's id.
        id: String,
        /// Where the page starts; `None`: at the run's start.
        cursor: Option<String>,
        /// How long to wait for new output or for the end.
        wait: Duration,
    },
    /// Cancel a detached run, or forget one that has finished.
    CancelRun {
        /// The run's id.
        id: String,
    },
    /// List detached runs, newest first.
    ListRuns {
        /// Only runs in this state.
        state: Option<Phase>,
        /// Maximum number of runs.
        limit: usize,
    },
    /// Create and fill a named volume; an object with [`crate::runner::VolumeRequest`]'s fields.
    CreateVolume(Value),
    /// Content of a named volume.
    ReadVolume {
        /// The volume's name.
        name: String,
    },
    /// List the engine's images.
    ListImages,
    /// The engine's version.
    DockerHealth,
}

impl ToolCall {
    /// Reads the arguments of a tool. `check_run` gives the faults of the remaining arguments of `run_container` when
    /// `detach` is wrong, so that all are reported together. Errors: invalid arguments.
    pub(super) fn from_arguments(
        tool: Tool,
        arguments: Option<&Value>,
        check_run: impl FnOnce(Value) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        match tool {
            Tool::RunContainer => run_container(arguments, check_run),
            Tool::RunStatus => run_status(arguments),
            Tool::RunLogs => run_logs(arguments),
            Tool::CancelRun => cancel_run(arguments),
            Tool::ListRuns => list_runs(arguments),
            Tool::CreateVolume => {
                let request = arguments::object(arguments)?;
                Ok(Self::CreateVolume(Value::Object(request)))
            }
            Tool::ReadVolume => {
                let name = arguments::read(arguments, |request: VolumeName, reader| {
                    arguments::required(request.name, "name", reader)
                })?;
                Ok(Self::ReadVolume { name })
            }
            Tool::ListImages => arguments::none(arguments).map(|()| Self::ListImages),
            Tool::DockerHealth => arguments::none(arguments).map(|()| Self::DockerHealth),
        }
    }
}

fn run_container(
    arguments: Option<&Value>,
    check_run: impl FnOnce(Value) -> Result<(), Error>,
) -> Result<ToolCall, Error> {
    let mut request = arguments::object(arguments)?;
    match take_detach(&mut request) {
        Ok(false) => Ok(ToolCall::Run(Value::Object(request))),
        Ok(true) => Ok(ToolCall::Submit(Value::Object(request))),
        Err(fault) => {
            let mut faults = vec![fault];
            if let Err(Error::Invalid(others)) = check_run(Value::Object(request)) {
                faults.extend(others);
            }
            Err(Error::Invalid(faults))
        }
    }
}

/// Removes `detach` from the arguments of `run_container` and returns its value.
fn take_detach(request: &mut Map<String, Value>) -> Result<bool, Fault> {
    let mut reader =
        Reader::new(arguments::PROFILE.root).with_spelling(arguments::PROFILE.spelling);
    reader.drop_absent(request, &["detach"]);
    let detach = member(request, "detach", &mut reader);
    match reader.into_faults().pop() {
        Some(fault) => Err(fault),
        None => Ok(detach.unwrap_or(false)),
    }
}

fn run_status(arguments: Option<&Value>) -> Result<ToolCall, Error> {
    arguments::read(arguments, |request: StatusRequest, reader| {
        let wait = wait(request.wait_secs, reader);
        ToolCall::RunStatus {
            id: arguments::required(request.id, "id", reader),
            wait,
        }
    })
}

fn run_logs(arguments: Option<&Value>) -> Result<ToolCall, Error> {
    arguments::read(arguments, |request: LogsRequest, reader| {
        let wait = wait(request.wait_secs, reader);
        ToolCall::RunLogs {
            id: arguments::required(request.id, "id", reader),
            cursor: request.cursor,
            wait,
        }
    })
}

fn cancel_run(arguments: Option<&Value>) -> Result<ToolCall, Error> {
    arguments::read(arguments, |request: CancelRequest, reader| {
        ToolCall::CancelRun {
            id: arguments::required(request.id, "id", reader),
        }
    })
}

fn list_runs(arguments: Option<&Value>) -> Result<ToolCall, Error> {
    arguments::read(arguments, |request: ListRequest, reader| {
        let limit = request.limit.unwrap_or(USUAL_RUNS);
        if !(1..=MOST_RUNS).contains(&limit) {
            reader.fault_at("limit", format!("expected 1 to {MOST_RUNS}"));
        }
        ToolCall::ListRuns {
            state: request.state,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    })
}

fn wait(wait_secs: Option<u64>, reader: &mut Reader) -> Duration {
    let secs = wait_secs.unwrap_or(0);
    if secs > LONGEST_WAIT_SECS {
        reader.fault_at(
            "wait_secs",
            format!("expected at most {LONGEST_WAIT_SECS} seconds"),
        );
    }
    Duration::from_secs(secs)
}
