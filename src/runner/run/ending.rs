//! How a container ended.

use crate::runner::run::output::Captured;
use crate::runner::run::result::Reason;
use crate::runner::run::streams::CapturedOutput;
use crate::runner::run::watchdog::WatchedEnd;
use std::time::Duration;

/// How a container ended, and what it printed.
pub(crate) struct Ending {
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: Reason,
    pub(crate) oom_killed: bool,
    /// Why this service killed the container. `None`: it did not.
    pub(crate) killed: Option<Reason>,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
    /// How long the start call took.
    pub(crate) start: Duration,
    /// From started to ended.
    pub(crate) run: Duration,
    /// What is not known about it.
    pub(crate) warnings: Vec<String>,
}

impl Ending {
    /// The ending of a watched container; its durations are zero.
    pub(crate) fn new(watched: &WatchedEnd, output: CapturedOutput) -> Self {
        Self {
            exit_code: Some(watched.end.exit_code),
            reason: reason(
                watched.killed,
                watched.end.exit_code,
                watched.end.oom_killed,
            ),
            oom_killed: watched.end.oom_killed,
            killed: watched.killed,
            stdout: output.stdout,
            stderr: output.stderr,
            start: Duration::ZERO,
            run: Duration::ZERO,
            warnings: Vec::new(),
        }
    }

    /// Whether an out-of-memory kill may be behind the exit code that is not known yet.
    pub(crate) fn may_be_oom(&self) -> bool {
        self.exit_code != Some(0) && self.killed.is_none() && !self.oom_killed
    }

    /// Sets what the engine says of an out-of-memory kill.
    pub(crate) fn set_oom_killed(&mut self, oom_killed: bool) {
        self.oom_killed = oom_killed;
        if let Some(exit_code) = self.exit_code {
            self.reason = reason(self.killed, exit_code, oom_killed);
        }
    }
}

/// The exit code of a container that was killed: 128 + SIGKILL.
pub(crate) const KILLED: i64 = 137;

/// A container that ended by itself just before the kill did not end by it: its exit code differs.
fn reason(killed: Option<Reason>, exit_code: i64, oom_killed: bool) -> Reason {
    killed
        .filter(|_| exit_code == KILLED)
        .unwrap_or_else(|| natural_reason(exit_code, oom_killed))
}

fn natural_reason(exit_code: i64, oom_killed: bool) -> Reason {
    const SIGNALS: std::ops::RangeInclusive<i64> = 129..=192;
    match exit_code {
        KILLED if oom_killed => Reason::Oom,
        code if SIGNALS.contains(&code) => Reason::Signalled,
        _ => Reason::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_137_alone_is_not_out_of_memory() {
        for (exit_code, oom_killed, reason) in [
            (0, false, Reason::Exited),
            (0, true, Reason::Exited),
            (1, true, Reason::Exited),
            (137, false, Reason::Signalled),
            (137, true, Reason::Oom),
            (139, false, Reason::Signalled),
            (255, false, Reason::Exited),
        ] {
            assert_eq!(
                natural_reason(exit_code, oom_killed),
                reason,
                "{exit_code} {oom_killed}"
            );
        }
    }
}
