//! The first text block of results. Some clients show a model nothing else, so it contains all that matters.

use super::decode::DecodedVolume;
use crate::runner::{Reason, RunResult, RunState};
use std::collections::BTreeMap;

/// A run: status, warnings, streams and volumes.
pub(super) fn run(run: &RunResult, volumes: &BTreeMap<&String, Option<DecodedVolume>>) -> String {
    let mut text = format!("{} ({})", run.status, why(run));
    for warning in &run.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text.push_str(&stream("stdout", &run.stdout, run.stdout_omitted_bytes));
    text.push_str(&stream("stderr", &run.stderr, run.stderr_omitted_bytes));
    for (path, volume) in volumes {
        text.push_str(&format!("\n\n{path}"));
        match volume {
            Some(volume) => text.push_str(&listing(volume)),
            None => text.push_str(": the run left nothing there"),
        }
    }
    text
}

/// Exit code, reason and duration of a run.
fn why(run: &RunResult) -> String {
    let ended = match run.reason {
        Reason::Exited => "exited by itself",
        Reason::Signalled => "ended by a signal",
        Reason::Timeout => "killed at its time limit; a larger timeout_secs gives it longer",
        Reason::Oom => "killed because memory ran out; a larger memory gives it more",
        Reason::Cancelled => "cancelled",
    };
    let code = match run.exit_code {
        Some(code) => format!("exit code {code}"),
        None => "no exit code".into(),
    };
    format!("{code}, {ended}, {:.2} s", run.execution_time)
}

/// A stream under its name; `omitted`: bytes that were cut out of it.
pub(super) fn stream(name: &str, text: &str, omitted: Option<u64>) -> String {
    let cut = match omitted {
        Some(bytes) => format!(" ({bytes} bytes left out of the middle)"),
        None => String::new(),
    };
    match text.is_empty() {
        true => format!("\n\n{name}: (empty){cut}"),
        false => format!("\n\n{name}:{cut}\n{}", text.trim_end_matches('\n')),
    }
}

/// The content of a volume.
pub(super) fn listing(volume: &DecodedVolume) -> String {
    let mut text = format!(" ({})", volume.kind);
    if let Some(content) = &volume.text {
        text.push_str(&format!(":\n{content}"));
    }
    for (path, content) in volume.files.iter().flatten() {
        text.push_str(&format!("\n--- {path}\n{}", content.trim_end_matches('\n')));
    }
    for other in &volume.other {
        text.push_str(&format!("\n--- {other}: not text"));
    }
    if volume.content.is_some() {
        text.push_str("\n(base64 in structuredContent's content)");
    }
    if let Some(detail) = &volume.detail {
        text.push_str(&format!("\n({detail})"));
    }
    text
}

/// A detached run that has not finished.
pub(super) fn unfinished(state: &RunState) -> String {
    let since = state.started_at.as_ref().unwrap_or(&state.created_at);
    let (id, word) = (&state.id, state.phase.word());
    format!(
        "Run {id} is {word}, since {since}. Ask again with wait_secs to wait for its end; run_logs returns what it printed \
         so far."
    )
}
