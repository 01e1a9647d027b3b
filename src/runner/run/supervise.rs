//! Starts a created container and reads it to its end.

use crate::docker::Client;
use crate::docker::container::{Attached, Stdin, StdinInterrupt};
use crate::docker::events::{ContainerExit, PendingExit};
use crate::init::protocol::{Description, UNUSABLE};
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::Pid1;
use crate::runner::run::context::{RunContext, RunHooks};
use crate::runner::run::create::Created;
use crate::runner::run::ending::{Ending, KILLED};
use crate::runner::run::start_error::start_error;
use crate::runner::run::streams::OutputStreams;
use crate::runner::run::watchdog::{NO_THREAD_PAUSE, PID_1_GRACE, Watchdog, WatchedEnd};
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// Everything that must be in place before the container starts, so that nothing it does is missed.
struct Prepared {
    output: Attached,
    stdin: Option<Stdin>,
    /// What is to be written to stdin before that of the run.
    description: Vec<u8>,
    /// `None`: its PID 1, which is this service's, says when it has ended, and the engine is asked only if that died.
    end: Option<PendingExit>,
}

/// A container that has waited for its command, with connections from before it was started.
pub(crate) struct Handover {
    pub(crate) container: String,
    /// The nonce of its PID 1's marks.
    pub(crate) nonce: String,
    pub(crate) output: Attached,
    pub(crate) stdin: Stdin,
    pub(crate) description: Vec<u8>,
}

/// A container that was just started, and what is to be read from it.
pub(crate) struct JustStarted {
    container: String,
    /// Whether it had waited for its command. Such a run can be repeated in another container as long as the command has not begun.
    has_waited: bool,
    /// The nonce of its PID 1's marks.
    nonce: Option<String>,
    prepared: Prepared,
    started: Instant,
    start: Duration,
}

/// How much of a description is sent before the container is started: the engine takes it, and keeps it if this process dies. Any
/// socket's buffer has room for as much.
const SENT_BEFORE_START: usize = 32 * 1024;

impl JustStarted {
    /// Id of the container.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }
}

/// Starts a created container. Errors: [`Error::Vanished`] if it was removed before it started.
pub(crate) fn start(
    client: &Client,
    created: &Created,
    spec: &RunSpec,
) -> Result<JustStarted, Error> {
    let container = &created.container;
    let mut prepared = prepare(client, created, spec)?;
    prepared.describe(spec)?;
    let before_start = Instant::now();
    client.container_start(container).map_err(start_error)?;
    let started = Instant::now();
    Ok(JustStarted {
        container: container.to_owned(),
        has_waited: false,
        nonce: created.pid_1.as_ref().map(|pid_1| pid_1.nonce.clone()),
        prepared,
        started,
        start: started - before_start,
    })
}

/// Sends a container that waits what it is to run. Errors: it cannot be reached; its command has not begun and never will, once it is
/// removed.
pub(crate) fn hand_over(handover: Handover, spec: &RunSpec) -> Result<JustStarted, Error> {
    let before = Instant::now();
    let mut prepared = Prepared {
        output: handover.output,
        stdin: Some(handover.stdin),
        description: handover.description,
        end: None,
    };
    prepared.describe(spec)?;
    let started = Instant::now();
    Ok(JustStarted {
        container: handover.container,
        has_waited: true,
        nonce: Some(handover.nonce),
        prepared,
        started,
        start: started - before,
    })
}

/// What watching a container came to.
pub(crate) struct Supervised<'a> {
    /// Error: it was not watched to its end.
    pub(crate) end: Result<WatchedEnd, Error>,
    /// What was read of it.
    pub(crate) streams: OutputStreams<'a>,
    /// What became of its stdin.
    pub(crate) stdin: StdinState,
    start: Duration,
    run: Duration,
}

/// What became of a run's stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdinState {
    /// Nothing is left to be sent.
    Delivered,
    /// What the container got of it cannot be known.
    Cut,
}

impl StdinState {
    /// The stdin of a run that got nothing of it yet.
    pub(crate) fn of_unfed(spec: &RunSpec) -> Self {
        match spec.stdin.as_ref().is_none_or(Vec::is_empty) {
            true => Self::Delivered,
            false => Self::Cut,
        }
    }
}

impl Supervised<'_> {
    /// Whether the connections to the engine broke, so that the container may run on, or more of its output be in its log.
    pub(crate) fn is_interrupted(&self) -> bool {
        match &self.end {
            Ok(watched) => watched.end.after_break,
            Err(error) => error.is_of_engine(),
        }
    }

    /// How the container ended, as far as it was watched.
    pub(crate) fn into_ending(mut self, spec: &RunSpec) -> Result<Ending, Error> {
        let is_interrupted = self.is_interrupted();
        let lost = lost_streams(&self.streams);
        let watched = self.end?;
        let output = self.streams.finish(spec.output_encoding);
        let mut ending = Ending {
            start: self.start,
            run: self.run,
            ..Ending::new(&watched, output)?
        };
        match lost {
            Some(warning) => ending.warnings.push(warning),
            None if is_interrupted && !ending.is_exact && ending.signal.is_some() => ending.warnings.push(
                "stdout, stderr: a signal ended this service's PID 1 before it could say how the command ended, or the connection to the Docker engine broke: output may be missing".into(),
            ),
            None if is_interrupted => ending.warnings.push(
                "stdout, stderr: the connection to the Docker engine broke during the run: output may be missing".into(),
            ),
            None => {}
        }
        Ok(ending)
    }
}

/// What is to be said of a stream that the engine has not passed on to its end, as engines from 26 on do now and then while their
/// machine is overloaded: PID 1 has said on one stream that the command has ended, and that is not all of it on the other.
pub(crate) fn lost_streams(streams: &OutputStreams<'_>) -> Option<String> {
    streams.end_mark()?;
    match &*streams.without_end_mark() {
        [] => None,
        lost => Some(format!(
            "{}: the Docker engine did not pass this on to its end: output may be missing",
            lost.join(", ")
        )),
    }
}

/// Blocks until a container that was just started has ended (by itself, at its time limit, or because the caller cancelled), or
/// can no longer be watched. Takes the spec's stdin, except that of a container that had waited: the run may have to be repeated.
pub(crate) fn supervise<'a>(
    client: &Client,
    just_started: JustStarted,
    spec: &mut RunSpec,
    context: &RunContext<'a>,
) -> Supervised<'a> {
    let JustStarted {
        container,
        has_waited,
        nonce,
        prepared,
        started,
        start,
    } = just_started;
    let mut streams = OutputStreams::new(spec, nonce.as_deref(), context.sink);
    let watchdog = Watchdog {
        client,
        container: &container,
        timeout: spec.timeout,
        begun: nonce.is_some().then(|| streams.begun()),
        grace: grace(nonce.as_deref()),
        cancel: context.cancel,
        sink: context.sink,
    };
    let is_unfed = StdinState::of_unfed(spec) == StdinState::Cut;
    let is_delivered = AtomicBool::new(!is_unfed && prepared.description.is_empty());
    let stdin = spec.stdin.take();
    let input = prepared.stdin.map(|stream| Feed {
        stream,
        description: prepared.description,
        bytes: stdin.as_deref().unwrap_or_default(),
        hooks: context.hooks,
        is_delivered: &is_delivered,
    });
    let end = watchdog.watch_while(|scope| {
        if nonce.is_none() {
            streams.announce_start();
        }
        let _interrupt = input.map(|input| feed(scope, &watchdog, input));
        streams.read_attached(prepared.output)?;
        match prepared.end {
            Some(pending) => Ok(pending.finish()?),
            None => end_of_pid_1(client, &container, &streams),
        }
    });
    let end = match has_waited {
        true => {
            spec.stdin = stdin;
            unless_never_begun(end, &streams)
        }
        false => end,
    };
    Supervised {
        end,
        streams,
        stdin: match is_delivered.into_inner() {
            true => StdinState::Delivered,
            false => StdinState::Cut,
        },
        start,
        run: started.elapsed(),
    }
}

/// Errors: [`Error::Vanished`] if the container was killed, or its stdin broke, before its PID 1 began the command.
fn unless_never_begun(
    end: Result<WatchedEnd, Error>,
    streams: &OutputStreams<'_>,
) -> Result<WatchedEnd, Error> {
    let watched = end?;
    let code = watched.end.exit_code;
    let was_lost = code == KILLED || code == i64::from(UNUSABLE);
    match was_lost && watched.killed.is_none() && !streams.has_begun() {
        true => Err(Error::Vanished(
            "its container, which had waited, ended before the command began".into(),
        )),
        false => Ok(watched),
    }
}

/// Asks the engine about an out-of-memory kill where one may be behind the exit code: its event may have come too late. Only
/// there, since asking waits until the network is down.
pub(crate) fn ask_whether_oom(client: &Client, container: &str, ending: &mut Ending) {
    if !ending.may_be_oom() {
        return;
    }
    match client.container_oom_killed(container) {
        Ok(oom_killed) => ending.set_oom_killed(oom_killed),
        Err(error) => {
            let warning = format!("whether memory ran out is not known: {error}");
            ending.warnings.push(warning);
        }
    }
}

/// How much later than its own PID 1 the watchdog kills a container.
pub(crate) fn grace(nonce: Option<&str>) -> Duration {
    match nonce {
        Some(_) => PID_1_GRACE,
        None => Duration::ZERO,
    }
}

/// The end of a container whose output has ended, and whose PID 1 is this service's. Asks the engine only where PID 1 could not say
/// it, or may have left something behind.
fn end_of_pid_1(
    client: &Client,
    container: &str,
    streams: &OutputStreams<'_>,
) -> Result<ContainerExit, Error> {
    match streams.end_mark() {
        Some(end) if end.is_settled => Ok(ContainerExit {
            exit_code: i64::from(end.fate.exit_code()),
            oom_killed: false,
            after_break: !streams.without_end_mark().is_empty(),
        }),
        said => {
            let mut exit = client.container_ended(container)?;
            // Only a kill keeps PID 1 from saying how it ended.
            exit.after_break = said.is_none() && exit.exit_code != KILLED;
            Ok(exit)
        }
    }
}

fn prepare(client: &Client, created: &Created, spec: &RunSpec) -> Result<Prepared, Error> {
    let container = &created.container;
    let description = created.pid_1.as_ref().map(|pid_1| describe(pid_1, spec));
    Ok(Prepared {
        // Podman prepares the container here, and says what would otherwise be said at its start.
        output: client.container_attach(container).map_err(start_error)?,
        stdin: if spec.stdin.is_some() || description.is_some() {
            Some(client.container_attach_stdin(container)?)
        } else {
            None
        },
        end: match description {
            Some(_) => None,
            None => Some(client.container_end(container)?),
        },
        description: description.unwrap_or_default(),
    })
}

/// What PID 1 is to run. Variables, directory and user are those of the container.
fn describe(pid_1: &Pid1, spec: &RunSpec) -> Vec<u8> {
    let description = Description {
        nonce: pid_1.nonce.clone(),
        argv: pid_1.argv.clone(),
        env: pid_1.env.clone(),
        working_dir: None,
        feeds_stdin: spec.stdin.is_some(),
        time_limit_ms: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
    };
    description.encode()
}

impl Prepared {
    /// Sends the description, or the beginning of a long one, before the container is started.
    fn describe(&mut self, spec: &RunSpec) -> Result<(), Error> {
        let Some(stdin) = self.stdin.as_mut().filter(|_| !self.description.is_empty()) else {
            return Ok(());
        };
        let rest = self
            .description
            .split_off(self.description.len().min(SENT_BEFORE_START));
        let first = std::mem::replace(&mut self.description, rest);
        let sent = stdin.write_all(&first).and_then(|()| stdin.flush());
        sent.map_err(|error| Error::Engine(format!("the container's stdin broke: {error}")))?;
        if self.description.is_empty() && spec.stdin.is_none() {
            // Ends what PID 1 gets.
            self.stdin = None;
        }
        Ok(())
    }
}

/// What is written to stdin, and who hears when it is done.
struct Feed<'a> {
    stream: Stdin,
    /// What is left of it.
    description: Vec<u8>,
    bytes: &'a [u8],
    hooks: &'a dyn RunHooks,
    is_delivered: &'a AtomicBool,
}

impl Feed<'_> {
    fn write(self) {
        let Feed {
            mut stream,
            description,
            bytes,
            hooks,
            is_delivered,
        } = self;
        let is_empty = bytes.is_empty();
        if stream
            .write_all(&description)
            .and_then(|()| stream.write_all(bytes))
            .and_then(|()| stream.flush())
            .is_ok()
            && stream.close().is_ok()
        {
            // The engine passes on what the connection holds, also after our end of it is gone.
            is_delivered.store(true, Relaxed);
            if !is_empty {
                hooks.stdin_delivered();
            }
        }
    }
}

/// Writes stdin on a thread of its own, since the container may print before it reads. A container may end without reading it
/// all; dropping the returned value then ends the thread, which the engine would leave waiting. Without a thread, waits for one: the
/// container runs.
fn feed<'scope>(
    scope: &'scope Scope<'scope, '_>,
    watchdog: &Watchdog<'_>,
    feed: Feed<'scope>,
) -> InterruptOnDrop {
    let interrupt = InterruptOnDrop(feed.stream.interrupt_handle());
    let deadline = Instant::now() + watchdog.timeout;
    let (hand_over, taken) = crossbeam_channel::bounded::<Feed<'scope>>(1);
    let _ = hand_over.send(feed);
    loop {
        let taken = taken.clone();
        let spawned = Builder::new()
            .name("stdin".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, move || taken.iter().take(1).for_each(Feed::write));
        match spawned {
            Ok(_) => return interrupt,
            Err(error) => log::debug!("no thread for stdin yet: {error}"),
        }
        // The watchdog ends the container then.
        if watchdog.cancel.wait(NO_THREAD_PAUSE) || Instant::now() > deadline {
            return interrupt;
        }
    }
}

struct InterruptOnDrop(StdinInterrupt);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}
