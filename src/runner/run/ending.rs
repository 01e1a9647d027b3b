//! How a container ended.

use crate::init::protocol::{End, Fate};
use crate::runner::error::Error;
use crate::runner::run::output::Captured;
use crate::runner::run::result::{Reason, Usage};
use crate::runner::run::streams::CapturedOutput;
use crate::runner::run::watchdog::WatchedEnd;
use std::time::Duration;

/// How a container ended, and what it printed.
pub(crate) struct Ending {
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: Reason,
    /// Number of the signal that ended the command.
    pub(crate) signal: Option<i32>,
    pub(crate) oom_killed: bool,
    /// What the container used, as its own PID 1 said.
    pub(crate) usage: Usage,
    /// Whether all of this is from the container's own PID 1, and so exact.
    pub(crate) is_exact: bool,
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
    /// The ending of a watched container; its durations are zero. Errors: [`Error::StartFailed`] if its PID 1 could not start the
    /// command.
    pub(crate) fn new(watched: &WatchedEnd, output: CapturedOutput) -> Result<Self, Error> {
        let told = match &output.end {
            Some(end) => Some(Told::of(end)?),
            None => None,
        };
        let exit_code = told
            .as_ref()
            .map_or(watched.end.exit_code, |told| told.exit_code);
        let oom_killed =
            watched.end.oom_killed || told.as_ref().is_some_and(|told| told.oom_killed);
        let reason = match &told {
            Some(told) => told.reason,
            None => reason(watched.killed, exit_code, oom_killed),
        };
        Ok(Self {
            exit_code: Some(exit_code),
            reason,
            signal: match &told {
                Some(told) => told.signal,
                None => signal(exit_code),
            },
            oom_killed,
            is_exact: told.is_some(),
            usage: told.map(|told| told.usage).unwrap_or_default(),
            killed: watched.killed,
            stdout: output.stdout,
            stderr: output.stderr,
            start: Duration::ZERO,
            run: Duration::ZERO,
            warnings: Vec::new(),
        })
    }

    /// Whether an out-of-memory kill may be behind the exit code that is not known yet.
    pub(crate) fn may_be_oom(&self) -> bool {
        !self.is_exact && self.exit_code != Some(0) && self.killed.is_none() && !self.oom_killed
    }

    /// Sets what the engine says of an out-of-memory kill.
    pub(crate) fn set_oom_killed(&mut self, oom_killed: bool) {
        self.oom_killed = oom_killed;
        if let Some(exit_code) = self.exit_code {
            self.reason = reason(self.killed, exit_code, oom_killed);
        }
    }
}

/// What a container's own PID 1 said of its end.
struct Told {
    exit_code: i64,
    signal: Option<i32>,
    reason: Reason,
    oom_killed: bool,
    usage: Usage,
}

impl Told {
    fn of(end: &End) -> Result<Self, Error> {
        let used = end.used.plausible();
        let oom_killed = used.oom_kills.is_some_and(|kills| kills > 0);
        let (exit_code, signal, reason) = match &end.fate {
            Fate::NotStarted(reason) => {
                let detail = format!("unable to start container process: {reason}");
                return Err(Error::StartFailed(detail));
            }
            Fate::Exited(code) => (i64::from(*code), None, Reason::Exited),
            Fate::Signalled(signal) => {
                let code = SIGNAL_CODES + i64::from(*signal);
                let reason = match code == KILLED && oom_killed {
                    true => Reason::Oom,
                    false => Reason::Signalled,
                };
                (code, Some(*signal), reason)
            }
        };
        Ok(Self {
            exit_code,
            signal,
            reason: match end.is_timeout {
                true => Reason::Timeout,
                false => reason,
            },
            oom_killed,
            usage: Usage {
                cpu_seconds: used.cpu_micros.map(|micros| micros as f64 / 1e6),
                memory_peak_bytes: used.memory_peak_bytes,
                pids_peak: used.pids_peak,
            },
        })
    }
}

/// The engine's exit code of a container that a signal ended is this plus the signal's number.
const SIGNAL_CODES: i64 = 128;
/// The exit code of a container that was killed: 128 + SIGKILL.
pub(crate) const KILLED: i64 = 137;

/// The signal that the engine's exit code says, which may also be a code of the command's own.
fn signal(exit_code: i64) -> Option<i32> {
    let number = exit_code - SIGNAL_CODES;
    (1..=64)
        .contains(&number)
        .then(|| i32::try_from(number).ok())?
}

/// A container that ended by itself just before the kill did not end by it: its exit code differs.
fn reason(killed: Option<Reason>, exit_code: i64, oom_killed: bool) -> Reason {
    killed
        .filter(|_| exit_code == KILLED)
        .unwrap_or_else(|| natural_reason(exit_code, oom_killed))
}

fn natural_reason(exit_code: i64, oom_killed: bool) -> Reason {
    match exit_code {
        KILLED if oom_killed => Reason::Oom,
        code if signal(code).is_some() => Reason::Signalled,
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
