//! Gauges of this process, from `/proc`. A value that cannot be read is left out.

use super::metric_types::Sample;

pub(super) fn render(text: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            number(&status, "VmRSS:").map(|kib| kib * 1024.0),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory.",
            number(&status, "VmSize:").map(|kib| kib * 1024.0),
        ),
        (
            "process_threads",
            "Operating system threads.",
            number(&status, "Threads:"),
        ),
        (
            "process_open_fds",
            "Open file descriptors.",
            open_descriptors(),
        ),
        (
            "process_max_fds",
            "Most file descriptors that may be open.",
            max_descriptors(),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            Sample::gauge(name, help, value).render(text);
        }
    }
}

/// Resident memory.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    number(&status, "VmRSS:").map(|kib| kib as u64 * 1024)
}

/// The number after `field` in `/proc/self/status`.
fn number(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Number of open descriptors, without the one that reading the directory takes.
fn open_descriptors() -> Option<f64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    Some(open.count().saturating_sub(1) as f64)
}

fn max_descriptors() -> Option<f64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map(|limit| limit as f64)
}
