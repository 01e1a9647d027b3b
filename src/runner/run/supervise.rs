//! Starts a created container, or follows one that an earlier process started, and reads it to its end.

use crate::docker::Client;
use crate::docker::container::{Attached, Stdin, StdinInterrupt};
use crate::docker::events::PendingExit;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::context::RunContext;
use crate::runner::run::ending::Ending;
use crate::runner::run::result::Event;
use crate::runner::run::start_error::start_error;
use crate::runner::run::streams::OutputStreams;
use crate::runner::run::watchdog::Watchdog;
use std::io::Write;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// A container that an earlier process started.
pub(crate) struct StartedContainer<'a> {
    pub(crate) id: &'a str,
    pub(crate) started: Moment,
}

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

/// Starts a created container. Errors: [`Error::Vanished`] if it was removed before it started.
pub(crate) fn start(
    client: &Client,
    container: &str,
    spec: &RunSpec,
    context: &RunContext<'_>,
) -> Result<JustStarted, Error> {
    let prepared = prepare(client, container, spec.stdin.is_some())?;
    let before_start = Instant::now();
    client.container_start(container).map_err(start_error)?;
    let started = Instant::now();
    context.sink.event(Event::Started);
    Ok(JustStarted {
        container: container.to_owned(),
        prepared,
        started,
        start: started - before_start,
    })
}

/// Blocks until a container that was just started has ended: by itself, at its time limit, or because the caller cancelled.
/// Takes the spec's stdin.
pub(crate) fn supervise(
    client: &Client,
    just_started: JustStarted,
    spec: &mut RunSpec,
    context: &RunContext<'_>,
) -> Result<Ending, Error> {
    let JustStarted {
        container,
        prepared,
        started,
        start,
    } = just_started;
    let stdin = spec.stdin.take();
    let mut streams = OutputStreams::new(spec, context.sink);
    let watchdog = Watchdog {
        client,
        container: &container,
        timeout: spec.timeout,
        cancel: context.cancel,
    };
    let mut watched = watchdog.watch_while(Error::Overloaded, |scope| {
        let _interrupt = feed(scope, prepared.stdin, stdin)?;
        streams.read_attached(prepared.output)?;
        Ok(prepared.end.finish()?)
    })?;
    let run = started.elapsed();
    let mut warnings = Vec::new();
    let end = &mut watched.end;
    if end.exit_code != 0 && watched.killed.is_none() && !end.oom_killed {
        // The event may have come too late. Only here, since asking waits until the network is down.
        match client.container_oom_killed(&container) {
            Ok(oom_killed) => end.oom_killed = oom_killed,
            Err(error) => warnings.push(format!("whether memory ran out is not known: {error}")),
        }
    }
    Ok(Ending {
        start,
        run,
        warnings,
        ..Ending::new(&watched, streams.finish(spec.output_encoding))
    })
}

/// Follows the log of a container that an earlier process started, and blocks until it has ended. What it printed before this
/// call is read too. The time limit counts from the start of the container.
pub(crate) fn follow(
    client: &Client,
    container: &StartedContainer<'_>,
    spec: &RunSpec,
    context: &RunContext<'_>,
) -> Result<Ending, Error> {
    let output = client.container_log_messages(container.id)?;
    context.sink.event(Event::Started);

    let mut streams = OutputStreams::new(spec, context.sink);
    let age = Moment::now().since(container.started);
    let watchdog = Watchdog {
        client,
        container: container.id,
        timeout: spec.timeout.saturating_sub(age),
        cancel: context.cancel,
    };
    let watched = watchdog.watch_while(Error::Engine, |_| {
        streams.read_log(output)?;
        Ok(client.container_ended(container.id)?)
    })?;
    Ok(Ending {
        start: Duration::ZERO,
        run: Moment::now().since(container.started),
        ..Ending::new(&watched, streams.finish(spec.output_encoding))
    })
}

fn prepare(client: &Client, container: &str, feeds_stdin: bool) -> Result<Prepared, Error> {
    Ok(Prepared {
        output: client.container_attach(container)?,
        stdin: if feeds_stdin {
            Some(client.container_attach_stdin(container)?)
        } else {
            None
        },
        end: client.container_end(container)?,
    })
}

/// Writes stdin on a thread of its own, since the container may print before it reads. A container may end without reading it
/// all; dropping the returned value then ends the thread, which the engine would leave waiting.
fn feed<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stdin: Option<Stdin>,
    bytes: Option<Vec<u8>>,
) -> Result<Option<InterruptOnDrop>, Error> {
    let (Some(mut stdin), Some(bytes)) = (stdin, bytes) else {
        return Ok(None);
    };
    let interrupt = InterruptOnDrop(stdin.interrupt_handle());
    let writer = move || {
        if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_ok() {
            let _ = stdin.close();
        }
    };
    Builder::new()
        .name("stdin".into())
        .stack_size(256 * 1024)
        .spawn_scoped(scope, writer)
        .map(|_| Some(interrupt))
        .map_err(|error| Error::Overloaded(format!("no thread for stdin: {error}")))
}

struct InterruptOnDrop(StdinInterrupt);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}
