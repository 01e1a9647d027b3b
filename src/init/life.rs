//! The life of PID 1: wait for the description, start the command, forward signals and reap orphans until it ends, kill what it
//! left, write the last marks, exit as the command did.

use super::oom;
use super::program;
use super::protocol::{
    Description, End, Fate, INIT_DIRECTORY, INIT_PROCESSES, Mark, UNUSABLE, Used,
};
use super::streams;
use super::usage::Counters;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::ffi::OsString;
use std::fs::symlink_metadata;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Signals that are forwarded, by their numbers on every platform of Linux that has containers: all that can be handled but those of a
/// fault, which would be this process's own, and the real-time ones.
const FORWARDED: [i32; 24] = [
    1, 2, 3, 5, 6, 10, 12, 13, 14, 15, 16, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
];
const CHILD_ENDED: i32 = signal_hook::consts::SIGCHLD;

/// How long the engine may take to read the mark of the start.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// How long processes that were killed may take to be gone.
const DEATH_PATIENCE: Duration = Duration::from_secs(2);
/// How long a full stream is waited for at least, once the command has ended.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);
/// Longest time limit.
const MOST_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// Is PID 1 of a container until its command has ended. Returns the exit code.
pub fn run() -> u8 {
    let outcome = match std::process::id() {
        1 => live(),
        // It kills every process that it can see.
        _ => Err("only for containers: this is not PID 1".to_owned()),
    };
    outcome.unwrap_or_else(|reason| {
        // Nothing that would be output of a command: this one was never sent.
        if reason != streams::NO_DESCRIPTION {
            let _ = writeln!(std::io::stderr(), "oneoff-docker-runner init: {reason}");
        }
        UNUSABLE
    })
}

fn live() -> Result<u8, String> {
    // Before the description, for which this process may wait long: the command is to begin at once.
    let mut signals = signals().map_err(|error| format!("signals: {error}"))?;
    let counters = Counters::read();
    let description = streams::read_description()?;
    // What came before was for no command.
    signals.pending().for_each(drop);
    let limit = Duration::from_millis(description.time_limit_ms).min(MOST_LIMIT);
    let mut life = Life {
        nonce: description.nonce.clone(),
        signals,
        deadline: Instant::now() + limit,
        counters,
    };
    let (fate, is_timeout) = match life.start(description) {
        Ok(child) => life.watch(child),
        Err(reason) => (Fate::not_started(&reason), false),
    };
    let is_settled = life.kill_others();
    let used = life.counters.until(Counters::read());
    let end = End {
        is_timeout,
        is_settled,
        used: Used {
            pids_peak: used
                .pids_peak
                .map(|pids| pids.saturating_sub(INIT_PROCESSES)),
            ..used
        },
        fate,
    };
    let patience = life.deadline.max(Instant::now() + STREAM_PATIENCE);
    let code = end.fate.exit_code();
    streams::write_to_both(&Mark::Ended(end), &life.nonce, patience);
    Ok(code)
}

fn signals() -> std::io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    let all = FORWARDED.iter().chain([&CHILD_ENDED]);
    SignalDelivery::with_pipe(read, write, SignalOnly, all)
}

/// A command under way.
struct Life {
    nonce: String,
    signals: Signals,
    deadline: Instant,
    /// What the container had used before.
    counters: Counters,
}

impl Life {
    /// Starts the command. Errors: why it cannot be executed.
    fn start(&self, description: Description) -> Result<Pid, String> {
        let Description {
            argv,
            env,
            working_dir,
            feeds_stdin,
            ..
        } = description;
        if symlink_metadata(INIT_DIRECTORY).is_ok_and(|found| found.is_symlink()) {
            return Err(format!(
                "{INIT_DIRECTORY} is a symbolic link in this image, and what it leads to is hidden now; send \"init\": false"
            ));
        }
        if let Some(dir) = working_dir {
            std::env::set_current_dir(&dir)
                .map_err(|error| format!("chdir to cwd ({dir:?}) failed: {error}"))?;
        }
        let name = argv.first().map_or("", String::as_str);
        let program = program::find(name, &search_path(&env))?;
        let mut command = Command::new(&program);
        command.arg0(name).args(&argv[1..]).process_group(0);
        for line in &env {
            match line.split_once('=') {
                Some((name, value)) => command.env(name, value),
                None => command.env_remove(line),
            };
        }
        if !feeds_stdin {
            command.stdin(Stdio::null());
        }
        // Before the command, whose output may come at once.
        streams::write_to_stdout(&Mark::Started, &self.nonce, self.deadline);
        streams::await_read_stdout(START_PATIENCE);
        let spawned = oom::while_first_to_be_killed(|| command.spawn());
        let child =
            spawned.map_err(|error| program::exec_fault(&program.display().to_string(), &error))?;
        streams::release_stdin();
        let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        child.ok_or_else(|| "no process id".to_owned())
    }

    /// Blocks until the command has ended. Returns whether it was killed at the time limit. One that this process may not kill then
    /// counts as ended: the kernel kills all that is in the container when its PID 1 ends.
    fn watch(&mut self, child: Pid) -> (Fate, bool) {
        let mut killed = None;
        loop {
            if let Some(status) = reap_until(child) {
                return (fate(status), killed.is_some());
            }
            let now = Instant::now();
            if now >= self.deadline && killed.is_none() {
                killed = Some(now);
                let _ = kill_all();
            }
            let until = killed.map_or(self.deadline, |killed| killed + DEATH_PATIENCE);
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return (Fate::Signalled(Signal::KILL.as_raw()), true);
            }
            for signal in self.await_signals(left) {
                if let Some(signal) = Signal::from_named_raw(signal)
                    && signal != Signal::CHILD
                {
                    let _ = kill_process(child, signal);
                }
            }
        }
    }

    /// Kills all other processes, and waits until they are gone. False: some are not, because this process may not kill them or
    /// the kernel takes long.
    fn kill_others(&mut self) -> bool {
        let patience = Instant::now() + DEATH_PATIENCE;
        loop {
            let is_alone = kill_all() == Err(rustix::io::Errno::SRCH);
            reap();
            if is_alone {
                return true;
            }
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // Those that were started from outside the container are nobody's here.
            self.await_signals(left.min(Duration::from_millis(5)));
        }
    }

    /// Blocks until a signal has come, or for `patience`.
    fn await_signals(&mut self, patience: Duration) -> Vec<i32> {
        let mut polled = [PollFd::new(self.signals.get_read(), PollFlags::IN)];
        let _ = poll(&mut polled, Some(&streams::timespec(patience)));
        self.signals.pending().collect()
    }
}

/// Kills every process that this one may kill: in a container, all others. Errors: `ESRCH` if there is none.
fn kill_all() -> rustix::io::Result<()> {
    // kill(2) takes the number of the group with a minus, and -1 for all processes.
    kill_process_group(Pid::INIT, Signal::KILL)
}

/// Reaps what has ended, up to this child. `None`: it has not ended.
fn reap_until(child: Pid) -> Option<WaitStatus> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(status);
        }
    }
    None
}

fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

fn fate(status: WaitStatus) -> Fate {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Fate::Exited(code),
        (None, Some(signal)) => Fate::Signalled(signal),
        (None, None) => Fate::Exited(i32::from(UNUSABLE)),
    }
}

/// The command's `PATH`.
fn search_path(env: &[String]) -> String {
    let asked = env
        .iter()
        .rev()
        .find_map(|line| match line.strip_prefix("PATH") {
            Some("") => Some(String::new()),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        });
    let own = || std::env::var_os("PATH").map(OsString::into_string);
    asked.unwrap_or_else(|| own().and_then(Result::ok).unwrap_or_default())
}
