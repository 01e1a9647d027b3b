//! What the service and the init say to each other. The service writes one [`Description`] to the init's standard input; the init
//! writes [`Mark`]s among the command's output. Marks carry the nonce of the description, which the command does not get, so that
//! no output is taken for one. The first mark carries only half of it: what a command may find out from that one does not make a
//! last one. Pure.

use serde::{Deserialize, Serialize};

/// Where the volume with the init is mounted in a container. Nothing else can be mounted there.
pub const INIT_DIRECTORY: &str = "/.oneoff";
/// The init's program in a container.
pub const INIT_PROGRAM: &str = "/.oneoff/init";
/// The argument that makes the service's binary the init.
pub const INIT_ARGUMENT: &str = "init";

/// Number of processes and threads that the init adds to those of the command: its own, and that of its memory allocator.
pub const INIT_PROCESSES: u64 = 2;
/// Memory that the init may take beside the command's, with the pages of its program.
pub const INIT_MEMORY_BYTES: u64 = 4 << 20;

/// Exit code of an init that got no description, or is not PID 1.
pub const UNUSABLE: u8 = 125;
/// Exit code of an init whose command could not be started. The end mark says why.
pub const NOT_STARTED: u8 = 127;

/// Digits of the length that precedes a description.
pub(super) const LENGTH_DIGITS: usize = 8;
/// Longest description: arguments and variables have at most 2 MiB, which JSON may write with six bytes for one.
pub(super) const MOST_DESCRIPTION_BYTES: usize = 16 << 20;
/// What every mark begins with, before the nonce: a byte that text does not have.
pub(super) const MARK_START: u8 = 0x1e;
/// Digits of a nonce.
const NONCE_DIGITS: usize = 32;
/// How many of them are in [`Mark::Started`].
pub(super) const START_DIGITS: usize = 16;
/// How the reason of [`Fate::NotStarted`] begins if it was the kernel that did not execute the program.
pub(super) const EXEC_FAULT: &str = "exec ";
/// Longest mark. A pipe takes this much in one piece.
pub(super) const MOST_MARK_BYTES: usize = 2048;
/// Highest number of a signal.
const MOST_SIGNAL: i32 = 64;
/// Most processes and threads that a kernel can have.
const MOST_PIDS: u64 = 1 << 22;
/// Higher figures are no measurement, and not exact in JSON.
const MOST_FIGURE: u64 = 1 << 53;
/// Longest reason of [`Fate::NotStarted`], in bytes.
const MOST_REASON_BYTES: usize = 256;

/// What a container with an init is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// 32 hexadecimal digits, which marks repeat.
    pub nonce: String,
    /// The program and its arguments; not empty.
    pub argv: Vec<String>,
    /// Changes of the container's variables: `NAME=value` sets one, `NAME` removes one.
    pub env: Vec<String>,
    /// `None`: the container's own.
    pub working_dir: Option<String>,
    /// Whether standard input after the description is the command's. Otherwise it has none.
    pub feeds_stdin: bool,
    /// Milliseconds after which everything in the container is killed.
    pub time_limit_ms: u64,
}

/// What the init says among the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The command is about to be executed; on stdout only, before all output.
    Started,
    /// The command has ended; the last thing on each stream.
    Ended(End),
}

/// How a command ended, and what its container used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What became of the command.
    pub fate: Fate,
    /// Whether the init killed it at the time limit.
    pub is_timeout: bool,
    /// Whether every other process of the container is gone, so that nothing changes any more.
    pub is_settled: bool,
    /// What the container used.
    pub used: Used,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It exited with this code.
    Exited(i32),
    /// A signal of this number killed it.
    Signalled(i32),
    /// It could not be executed, for this reason.
    NotStarted(String),
}

/// What a container used since the command was started. `None`: its cgroup cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// Processes that the kernel killed because memory ran out.
    pub oom_kills: Option<u64>,
    /// CPU time in microseconds.
    pub cpu_micros: Option<u64>,
    /// Most memory at once.
    pub memory_peak_bytes: Option<u64>,
    /// Most processes and threads at once.
    pub pids_peak: Option<u64>,
}

impl Description {
    /// The bytes for the init's standard input.
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = format!("{:0LENGTH_DIGITS$x}", json.len()).into_bytes();
        bytes.extend(json);
        bytes
    }

    /// Parses what follows the length. Errors: the reason in words.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let description: Self =
            serde_json::from_slice(json).map_err(|error| format!("description: {error}"))?;
        match description.argv.is_empty() || description.nonce.len() != NONCE_DIGITS {
            true => Err("description: no command or no nonce".into()),
            false => Ok(description),
        }
    }
}

/// The length of a description, from the digits before it. `None`: not such digits, or too long.
pub(super) fn description_length(digits: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(digits).ok()?;
    let length = usize::from_str_radix(digits, 16).ok()?;
    (length <= MOST_DESCRIPTION_BYTES).then_some(length)
}

impl Mark {
    /// The bytes for an output stream.
    pub(super) fn encode(&self, nonce: &str) -> Vec<u8> {
        let digits = match self {
            Self::Started => nonce.get(..START_DIGITS).unwrap_or_default(),
            Self::Ended(_) => nonce,
        };
        let mut bytes = vec![MARK_START];
        bytes.extend(digits.as_bytes());
        bytes.extend(serde_json::to_vec(self).unwrap_or_default());
        bytes.push(b'\n');
        bytes
    }

    /// Whether an init can have said this. A command that reads the init's memory can write anything.
    pub(super) fn is_possible(&self) -> bool {
        match self {
            Self::Started => true,
            Self::Ended(end) => match end.fate {
                Fate::Exited(code) => (0..=255).contains(&code),
                Fate::Signalled(signal) => (1..=MOST_SIGNAL).contains(&signal),
                Fate::NotStarted(_) => true,
            },
        }
    }
}

impl Used {
    /// Without the figures that no container can have come to.
    pub fn plausible(self) -> Self {
        let up_to = |most: u64, figure: Option<u64>| figure.filter(|figure| *figure <= most);
        Self {
            oom_kills: self.oom_kills,
            cpu_micros: up_to(MOST_FIGURE, self.cpu_micros),
            memory_peak_bytes: up_to(MOST_FIGURE, self.memory_peak_bytes),
            pids_peak: up_to(MOST_PIDS, self.pids_peak),
        }
    }
}

impl Fate {
    /// A [`Fate::NotStarted`], whose reason is cut where a mark would become too long.
    pub(super) fn not_started(reason: &str) -> Self {
        let mut end = reason.len().min(MOST_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self::NotStarted(reason[..end].to_owned())
    }

    /// Whether this can follow [`Mark::Started`]: after it only the kernel can refuse the program.
    pub fn may_follow_start(&self) -> bool {
        match self {
            Self::NotStarted(reason) => reason.starts_with(EXEC_FAULT),
            Self::Exited(_) | Self::Signalled(_) => true,
        }
    }

    /// The exit code of the init, so that the engine says the same.
    pub fn exit_code(&self) -> u8 {
        let code = match self {
            Self::Exited(code) => *code,
            Self::Signalled(signal) => 128 + signal,
            Self::NotStarted(_) => return NOT_STARTED,
        };
        u8::try_from(code & 0xff).unwrap_or(UNUSABLE)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_description_arrives_as_it_was_sent() {
        let description = Description {
            nonce: "0123456789abcdef0123456789abcdef".into(),
            argv: vec!["sh".into(), "-c".into(), "echo 'é\n\"\u{1}'".into()],
            env: vec!["A=b".into(), "C".into()],
            working_dir: Some("/w".into()),
            feeds_stdin: true,
            time_limit_ms: 1500,
        };
        let bytes = description.encode();
        let (length, json) = bytes.split_at(LENGTH_DIGITS);
        assert_eq!(description_length(length), Some(json.len()));
        assert_eq!(Description::parse(json), Ok(description.clone()));
        let empty = Description {
            argv: Vec::new(),
            ..description
        };
        assert!(Description::parse(&empty.encode()[LENGTH_DIGITS..]).is_err());
        for digits in ["ffffffff", "0000000g", "+0000001", ""] {
            let length = description_length(digits.as_bytes());
            assert!(length.is_none() || digits.starts_with('+'), "{digits}");
        }
    }

    #[test]
    fn the_longest_mark_fits_into_a_pipe_at_once() {
        let worst = "\u{1}".repeat(2 * MOST_REASON_BYTES);
        let mark = Mark::Ended(End {
            fate: Fate::not_started(&worst),
            is_timeout: false,
            is_settled: false,
            used: Used {
                oom_kills: Some(u64::MAX),
                cpu_micros: Some(u64::MAX),
                memory_peak_bytes: Some(u64::MAX),
                pids_peak: Some(u64::MAX),
            },
        });
        assert!(mark.encode(&"f".repeat(NONCE_DIGITS)).len() <= MOST_MARK_BYTES);
        let cut = Fate::not_started(&"é".repeat(MOST_REASON_BYTES));
        assert!(matches!(cut, Fate::NotStarted(reason) if reason.chars().all(|c| c == 'é')));
    }

    #[test]
    fn figures_that_cannot_be_are_left_out() {
        let used = Used {
            oom_kills: Some(1),
            cpu_micros: Some(u64::MAX),
            memory_peak_bytes: Some(1 << 40),
            pids_peak: Some(1 << 30),
        };
        let left = used.plausible();
        assert_eq!((left.cpu_micros, left.pids_peak), (None, None));
        assert_eq!(
            (left.oom_kills, left.memory_peak_bytes),
            (Some(1), Some(1 << 40))
        );
    }

    #[test]
    fn the_engine_says_the_same_exit_code() {
        for (fate, code) in [
            (Fate::Exited(0), 0),
            (Fate::Exited(255), 255),
            (Fate::Signalled(9), 137),
            (Fate::Signalled(64), 192),
            (Fate::NotStarted(String::new()), NOT_STARTED),
        ] {
            assert_eq!(fate.exit_code(), code, "{fate:?}");
        }
    }
}
