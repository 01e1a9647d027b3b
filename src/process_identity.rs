//! Who made something that outlives its maker: a process, and whether it still lives.

/// A process, told apart from every other one: where process ids mean what they mean here, by id and start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    /// Boot and PID namespace, as one word: process ids of other places say nothing here.
    pub(crate) place: String,
    pub(crate) pid: u32,
    pub(crate) started: u64,
}

impl ProcessIdentity {
    /// This process.
    pub(crate) fn current() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let digits: String = namespace
            .to_string_lossy()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let pid = std::process::id();
        Self {
            place: format!("{}.{digits}", boot.trim()),
            pid,
            started: start_time(pid).unwrap_or(0),
        }
    }

    /// What [`ProcessIdentity::to_string`] told.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (place, pid, started) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            place: place.to_owned(),
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    /// Whether this is a process of the same place that is still alive.
    pub(crate) fn lives_beside(&self, other: &Self) -> bool {
        self.place == other.place && start_time(self.pid) == Some(self.started)
    }

    /// As a short part of a file's name.
    pub(crate) fn tag(&self) -> String {
        let (boot, namespace) = self.place.rsplit_once('.').unwrap_or_default();
        let boot = boot.split('-').next().unwrap_or_default();
        let namespace: u64 = namespace.parse().unwrap_or_default();
        format!("{boot}.{namespace:x}-{:x}-{:x}", self.pid, self.started)
    }

    /// Whether a tag is that of a process of the same place which has ended. Where that cannot be told, it has not.
    pub(crate) fn outlived(&self, tag: &str) -> bool {
        let mut parts = tag.split('-').skip(1);
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (Some(pid), Some(started)) = (number(), number()) else {
            return false;
        };
        let maker = Self {
            place: self.place.clone(),
            pid: u32::try_from(pid).unwrap_or_default(),
            started,
        };
        // Without a view of processes every one of them would seem to have ended.
        maker.tag() == tag && self.lives_beside(self) && !maker.lives_beside(self)
    }
}

impl std::fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.place, self.pid, self.started)
    }
}

/// Clock ticks from boot to the start of a process (`proc(5)`, `stat` field 22).
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    // Field 3 comes first here; a zombie is as good as gone.
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// A word for this process, unlike that of any before it here.
pub(crate) fn life() -> &'static str {
    static LIFE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    LIFE.get_or_init(|| {
        let owner = ProcessIdentity::current();
        format!("{:x}.{:x}", owner.started, owner.pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_of_a_process_that_was_here_and_has_ended_is_outlived() {
        let us = ProcessIdentity::current();
        let tag = |pid: u32, started: u64| {
            ProcessIdentity {
                pid,
                started,
                ..us.clone()
            }
            .tag()
        };
        let dead = tag(us.pid, us.started - 1);
        assert!(us.outlived(&dead), "the id was taken again: {dead}");
        assert!(us.outlived(&tag(u32::MAX, 1)));
        assert!(!us.outlived(&us.tag()));
        assert!(!us.outlived(&tag(1, start_time(1).unwrap_or_default())));
        let elsewhere = ProcessIdentity {
            place: "0-0.1".into(),
            ..us.clone()
        };
        assert!(
            !us.outlived(
                &ProcessIdentity {
                    started: 1,
                    ..elsewhere
                }
                .tag()
            )
        );
        let (upper, longer) = (dead.to_uppercase(), format!("{dead}-0"));
        for odd in [
            "",
            "-",
            "x-1-1",
            &upper,
            &longer,
            &dead.replacen('-', "-0", 1),
        ] {
            assert!(!us.outlived(odd), "{odd}");
        }
        let blind = ProcessIdentity {
            started: 0,
            ..us.clone()
        };
        assert!(!blind.outlived(&dead));
    }
}
