//! What the container used, from its cgroup: that of version 2, or those of version 1. Both are where engines mount them.

use super::protocol::Used;
use std::fs::read_to_string;

/// The kernel's counters of the container.
#[derive(Clone, Copy, Default)]
pub(super) struct Counters {
    oom_kills: Option<u64>,
    cpu_micros: Option<u64>,
    memory_peak_bytes: Option<u64>,
    pids_peak: Option<u64>,
}

/// One counter: files that may have it, and the key of its line there. Without a key the file has the number alone.
type Places<'a> = &'a [(&'a str, &'a str)];

const OOM_KILLS: Places<'_> = &[
    ("/sys/fs/cgroup/memory.events", "oom_kill"),
    ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
];
const CPU_MICROS: Places<'_> = &[("/sys/fs/cgroup/cpu.stat", "usage_usec")];
const CPU_NANOS: Places<'_> = &[
    ("/sys/fs/cgroup/cpuacct/cpuacct.usage", ""),
    ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", ""),
];
const MEMORY_PEAK: Places<'_> = &[
    ("/sys/fs/cgroup/memory.peak", ""),
    ("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", ""),
];
const PIDS_PEAK: Places<'_> = &[
    ("/sys/fs/cgroup/pids.peak", ""),
    ("/sys/fs/cgroup/pids/pids.peak", ""),
];

const MEMORY_LIMIT: Places<'_> = &[
    ("/sys/fs/cgroup/memory.max", ""),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", ""),
];

/// How much memory the container may have. `None`: as much as there is.
pub(super) fn memory_limit() -> Option<u64> {
    first(MEMORY_LIMIT)
}

impl Counters {
    /// The counters now.
    pub(super) fn read() -> Self {
        Self {
            oom_kills: first(OOM_KILLS),
            cpu_micros: first(CPU_MICROS).or_else(|| first(CPU_NANOS).map(|nanos| nanos / 1000)),
            memory_peak_bytes: first(MEMORY_PEAK),
            pids_peak: first(PIDS_PEAK),
        }
    }

    /// What was used from `self` until `end`. Peaks are those of the container, since the kernel does not count them anew.
    pub(super) fn until(self, end: Self) -> Used {
        let since = |before: Option<u64>, after: Option<u64>| {
            Some(after?.saturating_sub(before.unwrap_or(0)))
        };
        Used {
            oom_kills: since(self.oom_kills, end.oom_kills),
            cpu_micros: since(self.cpu_micros, end.cpu_micros),
            memory_peak_bytes: end.memory_peak_bytes,
            pids_peak: end.pids_peak,
        }
    }
}

fn first(places: Places<'_>) -> Option<u64> {
    places
        .iter()
        .find_map(|(path, key)| number(&read_to_string(path).ok()?, key))
}

fn number(text: &str, key: &str) -> Option<u64> {
    match key {
        "" => text.trim().parse().ok(),
        key => text.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == key).then(|| value.trim().parse().ok())?
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_keys_or_alone() {
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(number(control, "oom_kill"), Some(3));
        assert_eq!(
            number("usage_usec 12\nuser_usec 5\n", "usage_usec"),
            Some(12)
        );
        assert_eq!(number("4079616\n", ""), Some(4_079_616));
        assert_eq!(number("max\n", ""), None);
        assert_eq!(number("", "oom_kill"), None);
    }
}
