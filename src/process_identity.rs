//! The identity of a process, for things that can outlast the process that made them, and whether that process is alive.

/// A process, identified by its id and start time within one boot and PID namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessIdentity {
    /// Boot id and PID namespace. Process ids of another scope cannot be compared or looked up here.
    pub(crate) scope: String,
    pub(crate) pid: u32,
    pub(crate) started: u64,
}

/// What is known of the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It lives.
    Alive,
    /// It has ended.
    Dead,
    /// It is of another host or PID namespace, or `/proc` cannot be read.
    Unknown,
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
            scope: format!("{}.{digits}", boot.trim()),
            pid,
            started: start_time(pid).unwrap_or(0),
        }
    }

    /// Parses what `to_string` returns.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (scope, pid, started) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            scope: scope.to_owned(),
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    /// Whether this process is alive, as far as a process of the observer's scope can find out from `/proc`.
    pub(crate) fn life_seen_by(&self, observer: &Self) -> Life {
        if self.is_alive_beside(observer) {
            Life::Alive
        } else if self.scope == observer.scope && observer.is_alive_beside(observer) {
            // The second check: without a readable /proc every process would seem to have ended.
            Life::Dead
        } else {
            Life::Unknown
        }
    }

    /// Whether this process is of the same scope as the other one, and alive.
    pub(crate) fn is_alive_beside(&self, other: &Self) -> bool {
        self.scope == other.scope && start_time(self.pid) == Some(self.started)
    }

    /// A short form of the identity, for file names.
    pub(crate) fn tag(&self) -> String {
        let (boot, namespace) = self.scope.rsplit_once('.').unwrap_or_default();
        let boot = boot.split('-').next().unwrap_or_default();
        let namespace: u64 = namespace.parse().unwrap_or_default();
        format!("{boot}.{namespace:x}-{:x}-{:x}", self.pid, self.started)
    }

    /// Whether the process with this tag is of the same scope and has ended. False if that cannot be found out.
    pub(crate) fn has_outlived(&self, tag: &str) -> bool {
        let mut parts = tag.split('-').skip(1);
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (Some(pid), Some(started)) = (number(), number()) else {
            return false;
        };
        let other = Self {
            scope: self.scope.clone(),
            pid: u32::try_from(pid).unwrap_or_default(),
            started,
        };
        other.tag() == tag && other.life_seen_by(self) == Life::Dead
    }
}

impl std::fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.scope, self.pid, self.started)
    }
}

/// Clock ticks from boot to the start of a process (`proc(5)`, `stat` field 22). `None`: it has ended or is a zombie.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    // The first field here is field 3.
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// A short text that no earlier process of this scope had.
pub(crate) fn process_token() -> &'static str {
    static TOKEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TOKEN.get_or_init(|| {
        let process = ProcessIdentity::current();
        format!("{:x}.{:x}", process.started, process.pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ended_processes_of_the_same_scope_are_outlived() {
        let this_process = ProcessIdentity::current();
        let tag = |pid: u32, started: u64| {
            ProcessIdentity {
                pid,
                started,
                ..this_process.clone()
            }
            .tag()
        };
        let dead = tag(this_process.pid, this_process.started - 1);
        assert!(
            this_process.has_outlived(&dead),
            "another process has the id now: {dead}"
        );
        assert!(this_process.has_outlived(&tag(u32::MAX, 1)));
        assert!(!this_process.has_outlived(&this_process.tag()));
        assert!(!this_process.has_outlived(&tag(1, start_time(1).unwrap_or_default())));
        let elsewhere = ProcessIdentity {
            scope: "0-0.1".into(),
            ..this_process.clone()
        };
        assert!(
            !this_process.has_outlived(
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
            assert!(!this_process.has_outlived(odd), "{odd}");
        }
        let blind = ProcessIdentity {
            started: 0,
            ..this_process.clone()
        };
        assert!(!blind.has_outlived(&dead));
    }
}
