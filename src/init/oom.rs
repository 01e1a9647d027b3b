//! Which process the kernel kills when the container's memory runs out: one of the command's, never PID 1, whose end is that of the
//! container.

use super::usage::memory_limit;
use std::fs::{read_to_string, write};

/// What a process adds to the share of the container's memory that it has, in thousandths.
const ADJUSTMENT: &str = "/proc/self/oom_score_adj";
const MOST: u64 = 1000;

/// Calls `start` while what it starts inherits just so much that the kernel prefers it to this process, however small it is.
pub(super) fn while_first_to_be_killed<T>(start: impl FnOnce() -> T) -> T {
    let own = read_to_string(ADJUSTMENT).ok();
    let raised = own
        .as_ref()
        .and_then(|own| own.trim().parse::<u64>().ok())
        .map(|own| (own + own_share()).min(MOST));
    // Everybody may raise it, and lower it to what it was at first.
    if let Some(raised) = raised {
        let _ = write(ADJUSTMENT, raised.to_string());
    }
    let started = start();
    if let Some(own) = own {
        let _ = write(ADJUSTMENT, own.trim());
    }
    started
}

/// The share of the container's memory that this process has, in thousandths, with a margin.
fn own_share() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?;
        kilobytes.trim().parse::<u64>().ok()
    });
    match (resident, memory_limit()) {
        (Some(kilobytes), Some(limit)) if limit > 0 => {
            (kilobytes.saturating_mul(1024 * MOST + MOST * 256) / limit).min(MOST) + 1
        }
        _ => 1,
    }
}
