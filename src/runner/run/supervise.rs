//! Starts a created container and reads it to its end.

use crate::docker::Client;
use crate::docker::container::{Attached, Stdin, StdinInterrupt};
use crate::docker::events::PendingExit;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::context::{RunContext, RunHooks};
use crate::runner::run::ending::Ending;
use crate::runner::run::result::Event;
use crate::runner::run::start_error::start_error;
use crate::runner::run::streams::OutputStreams;
use crate::runner::run::watchdog::{NO_THREAD_PAUSE, Shortage, Watchdog, WatchedEnd};
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// Everything that must be in place before the container starts, so that nothing it does is missed.
struct Prepared {
    output: Attached,
    stdin: Option<Stdin>,
    end: PendingExit,
}

/// A container that was just started, and what is to be read from it.
pub(crate) struct JustStarted {
    container: String,
    prepared: Prepared,
    started: Instant,
    start: Duration,
}

impl JustStarted {
    /// Id of the container.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }
}

/// Starts a created container. Errors: [`Error::Vanished`] if it was removed before it started.
pub(crate) fn start(
    client: &Client,
    container: &str,
    spec: &RunSpec,
) -> Result<JustStarted, Error> {
    let prepared = prepare(client, container, spec.stdin.is_some())?;
    let before_start = Instant::now();
    client.container_start(container).map_err(start_error)?;
    let started = Instant::now();
    Ok(JustStarted {
        container: container.to_owned(),
        prepared,
        started,
        start: started - before_start,
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
        let watched = self.end?;
        let output = self.streams.finish(spec.output_encoding);
        let mut ending = Ending {
            start: self.start,
            run: self.run,
            ..Ending::new(&watched, output)
        };
        if is_interrupted {
            ending.warnings.push(
                "stdout, stderr: the connection to the Docker engine broke during the run: output may be missing".into(),
            );
        }
        Ok(ending)
    }
}

/// Blocks until a container that was just started has ended (by itself, at its time limit, or because the caller cancelled), or
/// can no longer be watched. Takes the spec's stdin.
pub(crate) fn supervise<'a>(
    client: &Client,
    just_started: JustStarted,
    spec: &mut RunSpec,
    context: &RunContext<'a>,
) -> Supervised<'a> {
    let JustStarted {
        container,
        prepared,
        started,
        start,
    } = just_started;
    let mut streams = OutputStreams::new(spec, context.sink);
    let watchdog = Watchdog {
        client,
        container: &container,
        timeout: spec.timeout,
        cancel: context.cancel,
        sink: context.sink,
        shortage: Shortage::of(spec),
    };
    let is_delivered = AtomicBool::new(StdinState::of_unfed(spec) == StdinState::Delivered);
    let input = prepared
        .stdin
        .zip(spec.stdin.take())
        .map(|(stream, bytes)| Feed {
            stream,
            bytes,
            hooks: context.hooks,
            is_delivered: &is_delivered,
        });
    let end = watchdog.watch_while(|scope| {
        context.sink.event(Event::Started);
        let _interrupt = input
            .map(|input| feed(scope, &watchdog, input))
            .transpose()?;
        streams.read_attached(prepared.output)?;
        Ok(prepared.end.finish()?)
    });
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

fn prepare(client: &Client, container: &str, feeds_stdin: bool) -> Result<Prepared, Error> {
    Ok(Prepared {
        // Podman prepares the container here, and says what would otherwise be said at its start.
        output: client.container_attach(container).map_err(start_error)?,
        stdin: if feeds_stdin {
            Some(client.container_attach_stdin(container)?)
        } else {
            None
        },
        end: client.container_end(container)?,
    })
}

/// What is written to stdin, and who hears when it is done.
struct Feed<'a> {
    stream: Stdin,
    bytes: Vec<u8>,
    hooks: &'a dyn RunHooks,
    is_delivered: &'a AtomicBool,
}

impl Feed<'_> {
    fn write(self) {
        let Feed {
            mut stream,
            bytes,
            hooks,
            is_delivered,
        } = self;
        let is_empty = bytes.is_empty();
        if stream
            .write_all(&bytes)
            .and_then(|()| stream.flush())
            .is_ok()
            && stream.close().is_ok()
            && !is_empty
        {
            // The engine passes on what the connection holds, also after our end of it is gone.
            is_delivered.store(true, Relaxed);
            hooks.stdin_delivered();
        }
    }
}

/// Writes stdin on a thread of its own, since the container may print before it reads. A container may end without reading it
/// all; dropping the returned value then ends the thread, which the engine would leave waiting. Error: no thread, as [`Shortage`]
/// says.
fn feed<'scope>(
    scope: &'scope Scope<'scope, '_>,
    watchdog: &Watchdog<'_>,
    feed: Feed<'scope>,
) -> Result<InterruptOnDrop, Error> {
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
            Ok(_) => return Ok(interrupt),
            Err(error) if watchdog.shortage == Shortage::Fails => {
                return Err(Error::Overloaded(format!("no thread for stdin: {error}")));
            }
            Err(error) => log::debug!("no thread for stdin yet: {error}"),
        }
        // The watchdog ends the container then.
        if watchdog.cancel.wait(NO_THREAD_PAUSE) || Instant::now() > deadline {
            return Ok(interrupt);
        }
    }
}

struct InterruptOnDrop(StdinInterrupt);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}
