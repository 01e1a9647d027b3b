//! Counts how runs end and how long their phases take.

use crate::metrics::{self, Label};
use crate::runner::error::Error;
use crate::runner::run::result::RunResult;
use std::time::Duration;

/// Counts a run that has ended.
pub(crate) fn count(outcome: &Result<RunResult, Error>) {
    let reason = match outcome {
        Ok(result) => result.reason.word(),
        Err(Error::OutOfMemory) => "refused",
        Err(_) => "failed",
    };
    metrics::RUNS.add([Label::Word(reason)]);
}

/// Counts how long a phase took, and returns it in milliseconds.
pub(crate) fn observe(phase: &'static str, duration: Duration) -> u64 {
    metrics::PHASES.observe([Label::Word(phase)], duration);
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
