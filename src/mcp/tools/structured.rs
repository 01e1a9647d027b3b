//! The types of `structuredContent`, from which the output schemas are made.

use crate::runner::{Encoding, Event, Image, Phase, RunLogs, RunState};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

/// Structured content of `create_volume`.
#[derive(Serialize, JsonSchema)]
pub(super) struct VolumeCreated {
    /// `success`.
    pub(super) status: &'static str,
    /// What was done.
    pub(super) detail: String,
}

/// Structured content of `list_images`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Images {
    /// The images, as the engine lists them.
    pub(super) images: Vec<Image>,
}

/// A detached run in a few words.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunBrief {
    /// The run's id.
    pub(super) id: String,
    /// How far it has come.
    pub(super) state: Phase,
    /// How it came out, once it has: as in `result.status`, or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<String>,
    /// When it was accepted (RFC 3339).
    pub(super) created_at: String,
    /// When its container started.
    pub(super) started_at: Option<String>,
    /// When its result was there.
    pub(super) finished_at: Option<String>,
}

/// Structured content of `list_runs`.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunBriefs {
    /// Newest first.
    pub(super) runs: Vec<RunBrief>,
    /// False if there are more, or may be: beyond `limit`, of another server, or with a record that cannot be read.
    pub(super) complete: bool,
}

/// Structured content of `run_logs`.
#[derive(Serialize, JsonSchema)]
pub(super) struct LogPage {
    /// The run's id.
    pub(super) id: String,
    /// How far it has come. Once it is `finished` and `has_more` is false, nothing follows.
    pub(super) state: Phase,
    /// What was printed to standard output: text, or base64 where the run asked for it.
    pub(super) stdout: String,
    /// What was printed to standard error, likewise.
    pub(super) stderr: String,
    /// What to pass as `cursor` to read on.
    pub(super) cursor: Option<String>,
    /// Whether there is more already.
    pub(super) has_more: bool,
    /// What is missing here, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

impl RunBrief {
    /// The brief of a state.
    pub(super) fn of(state: &RunState) -> Self {
        Self {
            id: state.id.clone(),
            state: state.phase,
            status: state.outcome.as_deref().map(|outcome| match outcome {
                Ok(run) => run.status.clone(),
                Err(_) => "failed".into(),
            }),
            created_at: state.created_at.clone(),
            started_at: state.started_at.clone(),
            finished_at: state.finished_at.clone(),
        }
    }
}

/// A page with as much of `logs` as fits into `budget` bytes, but at least one piece.
pub(super) fn page(logs: &RunLogs, budget: usize) -> LogPage {
    let (mut stdout, mut stderr, mut bytes, mut count) = (Vec::new(), Vec::new(), 0, 0);
    for piece in &logs.pieces {
        let (Event::Stdout(text) | Event::Stderr(text)) = &piece.event else {
            continue;
        };
        if count > 0 && bytes + text.len() > budget {
            break;
        }
        (bytes, count) = (bytes + text.len(), count + 1);
        match piece.event {
            Event::Stdout(_) => stdout.extend_from_slice(text),
            _ => stderr.extend_from_slice(text),
        }
    }
    let is_whole = count == logs.pieces.len();
    let last = match is_whole {
        true => logs.cursor.clone(),
        false => logs.pieces.get(count - 1).map(|last| last.cursor.clone()),
    };
    let text = |bytes: Vec<u8>| match logs.output_encoding {
        Encoding::Utf8 => String::from_utf8_lossy(&bytes).into_owned(),
        Encoding::Base64 => STANDARD.encode(bytes),
    };
    LogPage {
        id: logs.state.id.clone(),
        state: logs.state.phase,
        stdout: text(stdout),
        stderr: text(stderr),
        cursor: last,
        has_more: !is_whole || logs.has_more,
        detail: gap(logs),
    }
}

/// What is missing before the page; `None` if nothing is.
fn gap(logs: &RunLogs) -> Option<String> {
    let restarted = "the server was restarted since, or the cursor is of another run: this begins at the run's start";
    let skipped = logs.skipped_events;
    match (logs.is_from_start, skipped) {
        (true, _) => Some(restarted.into()),
        (false, 0) => None,
        (false, _) => Some(format!(
            "{skipped} pieces of output before this were too old to be kept"
        )),
    }
}
