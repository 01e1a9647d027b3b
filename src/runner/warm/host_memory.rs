//! Whether this machine is short of memory.

/// Least part of the memory that must be available, as 1 / this.
const LEAST_PART: u64 = 20;

/// Whether less than a twentieth of this machine's memory is available. False if that cannot be known.
pub(crate) fn is_short() -> bool {
    std::fs::read_to_string("/proc/meminfo").is_ok_and(|text| is_short_by(&text))
}

fn is_short_by(meminfo: &str) -> bool {
    let number = |name: &str| -> Option<u64> {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    match (number("MemTotal:"), number("MemAvailable:")) {
        (Some(total), Some(available)) => available < total / LEAST_PART,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_when_little_of_it_is_available() {
        for (text, is_short) in [
            (
                "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 401 kB\n",
                false,
            ),
            (
                "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 399 kB\n",
                true,
            ),
            ("MemTotal: 8000 kB\n", false),
            ("", false),
        ] {
            assert_eq!(is_short_by(text), is_short, "{text}");
        }
    }
}
