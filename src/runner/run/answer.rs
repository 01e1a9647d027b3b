//! Builds the result of a run.

use crate::runner::run::collect::Collection;
use crate::runner::run::ending::Ending;
use crate::runner::run::output::Captured;
use crate::runner::run::result::{Reason, RunResult, Timings, Usage};
use std::time::{Duration, Instant};

/// Everything a run is answered with but its id and its times.
pub(crate) struct Answer {
    pub(crate) ending: Ending,
    pub(crate) collection: Collection,
    pub(crate) image_digest: String,
    /// What the engine could not do as asked; those of the ending and of the collection follow them.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// The answer of a run that was cancelled before its container was started.
    pub(crate) fn cancelled() -> Self {
        let nothing = || Captured {
            text: String::new(),
            omitted_bytes: None,
        };
        let ending = Ending {
            exit_code: None,
            reason: Reason::Cancelled,
            signal: None,
            oom_killed: false,
            usage: Usage::default(),
            is_exact: false,
            killed: None,
            stdout: nothing(),
            stderr: nothing(),
            start: Duration::ZERO,
            run: Duration::ZERO,
            warnings: Vec::new(),
        };
        Self {
            ending,
            collection: Collection::default(),
            image_digest: String::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn into_result(self, id: String, accepted: Instant, timings: Timings) -> RunResult {
        let Self {
            ending,
            collection,
            image_digest,
            mut warnings,
        } = self;
        warnings.extend(ending.warnings);
        warnings.extend(collection.warnings);
        RunResult {
            id,
            status: status(ending.reason, ending.exit_code),
            exit_code: ending.exit_code,
            reason: ending.reason,
            signal: ending.signal.map(signal_name),
            stdout: ending.stdout.text,
            stderr: ending.stderr.text,
            stdout_omitted_bytes: ending.stdout.omitted_bytes,
            stderr_omitted_bytes: ending.stderr.omitted_bytes,
            volumes: collection.volumes,
            execution_time: accepted.elapsed().as_secs_f64(),
            image_digest,
            oom_killed: ending.oom_killed,
            usage: ending.usage,
            warnings,
            timings,
            memory: None,
        }
    }
}

/// The name of a signal, also of those that have only numbers.
fn signal_name(number: i32) -> String {
    const FIRST_REAL_TIME: i32 = 34;
    match signal_hook::low_level::signal_name(number) {
        Some(name) => name.to_owned(),
        None if number == 16 => "SIGSTKFLT".into(),
        None if number == 30 => "SIGPWR".into(),
        None if number == FIRST_REAL_TIME => "SIGRTMIN".into(),
        None if number >= FIRST_REAL_TIME => format!("SIGRTMIN+{}", number - FIRST_REAL_TIME),
        None => format!("signal {number}"),
    }
}

fn status(reason: Reason, exit_code: Option<i64>) -> String {
    match (reason, exit_code) {
        (Reason::Timeout, _) => "error: timeout".into(),
        (Reason::Oom, _) => "error: out of memory".into(),
        (Reason::Cancelled, _) => "error: cancelled".into(),
        (Reason::Exited | Reason::Signalled, Some(0)) => "success".into(),
        (Reason::Exited | Reason::Signalled, Some(code)) => format!("error: {code}"),
        (Reason::Exited | Reason::Signalled, None) => "error: unknown".into(),
    }
}
