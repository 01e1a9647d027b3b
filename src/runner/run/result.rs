//! The result of a run and the events during it: the types behind the answers of REST and MCP.

use crate::memory::Reservation;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The outcome of a run. The container's own fate, a non-zero exit code included, is data, not an error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The run's id.
    pub id: String,
    /// `success`, `error: <exit code>`, `error: timeout`, `error: out of memory` or `error: cancelled`.
    pub status: String,
    /// The exit code; null where there is none.
    pub exit_code: Option<i64>,
    /// Why the container ended.
    pub reason: Reason,
    /// Name of the signal that ended the command, such as `SIGSEGV`; null if none did. Exact with this service's PID 1; otherwise an
    /// exit code of the command's own between 129 and 192 looks the same.
    pub signal: Option<String>,
    /// Standard output: text (invalid UTF-8 replaced) or base64, as asked.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// How many bytes were left out of the middle of `stdout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_omitted_bytes: Option<u64>,
    /// How many bytes were left out of the middle of `stderr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_omitted_bytes: Option<u64>,
    /// What was asked back, by path in the container; null for what the run did not leave.
    pub volumes: BTreeMap<String, Option<CollectedVolume>>,
    /// Seconds from acceptance to answer; after a restart of the service, without the time between the container's end and that.
    pub execution_time: f64,
    /// Digest of the image that ran.
    pub image_digest: String,
    /// Whether the kernel killed any process of the container because memory ran out; absent when it did not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// What the run used.
    #[serde(default)]
    pub usage: Usage,
    /// What the engine or the collector could not do as asked, or a restart of the service lost; absent when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Milliseconds spent in each step.
    pub timings: Timings,
    /// The memory of this result, held as long as the result is.
    #[serde(skip)]
    #[schemars(skip)]
    pub memory: Option<Reservation>,
}

/// How a run came out, in a few words: what lists have of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// As in [`RunResult`], or `failed` if there is no result.
    pub status: String,
    /// What follows. `None`: there is no result.
    pub details: Option<RunEndDetails>,
}

/// What the result of a run says beside what it printed and left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunEndDetails {
    /// Why the container ended.
    pub reason: Reason,
    /// The exit code, where there is one.
    pub exit_code: Option<i64>,
    /// How long each step took.
    pub timings: Timings,
    /// What it used.
    pub usage: Usage,
}

impl RunEnd {
    /// The end of a run with this outcome.
    pub(crate) fn of<E>(outcome: &Result<RunResult, E>) -> Self {
        match outcome {
            Ok(result) => Self {
                status: result.status.clone(),
                details: Some(RunEndDetails {
                    reason: result.reason,
                    exit_code: result.exit_code,
                    timings: result.timings,
                    usage: result.usage,
                }),
            },
            Err(_) => Self {
                status: "failed".into(),
                details: None,
            },
        }
    }
}

/// What a run used, by the kernel's counters of its container. Null where that is not known: without this service's PID 1, if
/// the container was killed from outside, and where the kernel or the runtime (gVisor) has no such counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// CPU time of all its processes, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Most memory at once, file cache included.
    pub memory_peak_bytes: Option<u64>,
    /// Most processes and threads at once; those by which the engine starts a container, some 6, count.
    pub pids_peak: Option<u64>,
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It ended by itself.
    Exited,
    /// A signal ended it (the engine reports 128 + signal).
    Signalled,
    /// It was killed at its time limit.
    Timeout,
    /// The kernel killed its main process because memory ran out.
    Oom,
    /// The caller left or cancelled.
    Cancelled,
}

impl Reason {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::Timeout => "timeout",
            Self::Oom => "oom",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One volume that was asked back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CollectedVolume {
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Base64 of the file, or base64 of a tar.gz of the directory; null when it was over the limit or could not be read back.
    pub content: Option<String>,
    /// Why `content` is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl<'de> Deserialize<'de> for CollectedVolume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            #[serde(rename = "type")]
            kind: String,
            content: Option<String>,
            detail: Option<String>,
        }
        let stored = Stored::deserialize(deserializer)?;
        Ok(Self {
            kind: match stored.kind.as_str() {
                "file" => "file",
                _ => "directory",
            },
            content: stored.content,
            detail: stored.detail,
        })
    }
}

/// Milliseconds spent in each step of a run; 0 for those that were done before a restart of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// Waiting for a free slot.
    pub queue_ms: u64,
    /// Getting the image.
    pub pull_ms: u64,
    /// Creating the container.
    pub create_ms: u64,
    /// Filling its volumes.
    pub stage_ms: u64,
    /// Starting it.
    pub start_ms: u64,
    /// From started to ended.
    pub run_ms: u64,
    /// Reading volumes back.
    pub collect_ms: u64,
    /// Whether the run had a container that had waited for it, so that none was created and started.
    #[serde(default)]
    pub warm: bool,
}

/// An event during a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The run waits for a slot.
    Queued {
        /// Number of runs ahead of it; 0: it is next.
        position: usize,
    },
    /// The image is being pulled.
    Pull {
        /// The engine's status, such as `Downloading`.
        status: String,
        /// Id of the layer, or the image reference while the registry is contacted.
        id: String,
        /// Bytes so far.
        current: u64,
        /// Total bytes; 0: unknown.
        total: u64,
    },
    /// The container was started.
    Started,
    /// A chunk of standard output. In text, it does not end within a character.
    Stdout(Vec<u8>),
    /// A chunk of standard error, with the same guarantee.
    Stderr(Vec<u8>),
}

/// Receives the events of a run. Called on the run's own threads: a sink that blocks slows down this run alone.
pub trait Sink: Send + Sync {
    /// Receives one event. May block only while the container runs, and only for an event that the container caused.
    fn event(&self, event: Event);

    /// Called when the run's container is about to be killed. A call of [`Sink::event`] that blocks must then return soon, and
    /// later ones must not block for long.
    fn stop_waiting(&self) {}
}

/// A sink that discards every event, for callers that want only the result.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Sink for Silent {
    fn event(&self, _: Event) {}
}
