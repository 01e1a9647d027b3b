//! Starts a created container, feeds it, reads it to the end and says truthfully how it ended.

use crate::cancel::Cancel;
use crate::docker::container::{Attached, Stdin, StdinInterrupt};
use crate::docker::events::{ContainerExit, PendingExit};
use crate::docker::stdcopy::{Stream, demultiplex, demultiplex_frames};
use crate::docker::{self, Client};
use crate::runner::clock::Moment;
use crate::runner::run::output::{Capture, Captured};
use crate::runner::run::utf8_chunks::Utf8Chunks;
use crate::runner::{Encoding, Error, Event, Reason, RunSpec, Sink};
use crossbeam_channel::{after, select};
use std::io::Write;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// How a container ended, and what it printed.
pub(crate) struct Ending {
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: Reason,
    pub(crate) oom_killed: bool,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
    pub(crate) start: Duration,
    pub(crate) run: Duration,
}

/// Everything that must be in place before the container starts, so that nothing it does is missed.
struct Prepared {
    output: Attached,
    stdin: Option<Stdin>,
    end: PendingExit,
}

/// Runs a created container to its end: its own, its time limit's, or the caller's.
pub(crate) fn supervise(
    client: &Client,
    container: &str,
    spec: &mut RunSpec,
    (cancel, sink): (&Cancel, &dyn Sink),
) -> Result<Ending, Error> {
    let stdin = spec.stdin.take();
    let prepared = prepare(client, container, stdin.is_some())?;
    let before_start = Instant::now();
    client.container_start(container).map_err(start_error)?;
    let started = Instant::now();
    sink.event(Event::Started);

    let (finished, timeout) = (Cancel::new(), spec.timeout);
    let mut streams = (Tap::new(spec, Event::Stdout), Tap::new(spec, Event::Stderr));
    let (killed, mut end) = std::thread::scope(|scope| {
        // However this block is left, the watchdog must hear of it, or the scope would never end.
        let _finished = FireOnDrop(&finished);
        let (kill_after, heard) = ((timeout, cancel), &finished);
        let watchdog = Builder::new()
            .name("watchdog".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, move || watch(client, container, kill_after, heard))
            .map_err(|error| Error::Overloaded(format!("no thread for the watchdog: {error}")))?;
        let _interrupt = feed(scope, prepared.stdin, stdin)?;
        read(prepared.output, &mut streams, sink)?;
        let end = prepared.end.finish()?;
        finished.fire();
        let killed = watchdog.join().unwrap_or(None);
        Ok::<_, Error>((killed, end))
    })?;
    let run = started.elapsed();
    if end.exit_code != 0 && killed.is_none() && !end.oom_killed {
        // The event may have come too late. Only here, since asking waits until the network is down.
        end.oom_killed = client.container_oom_killed(container)?;
    }
    Ok(Ending {
        exit_code: Some(end.exit_code),
        reason: reason(killed, end),
        oom_killed: end.oom_killed,
        stdout: streams.0.capture.finish(spec.output_encoding),
        stderr: streams.1.capture.finish(spec.output_encoding),
        start: started - before_start,
        run,
    })
}

/// Follows a container that an earlier process started, through the engine's log, to its end.
pub(crate) fn follow(
    client: &Client,
    container: &str,
    (spec, started): (&RunSpec, Moment),
    (cancel, sink): (&Cancel, &dyn Sink),
) -> Result<Ending, Error> {
    let output = client.container_log_messages(container)?;
    sink.event(Event::Started);
    let finished = Cancel::new();
    let left = spec.timeout.saturating_sub(Moment::now().since(started));
    let mut streams = (Tap::new(spec, Event::Stdout), Tap::new(spec, Event::Stderr));
    let (killed, end) = std::thread::scope(|scope| {
        let _finished = FireOnDrop(&finished);
        let (kill_after, heard) = ((left, cancel), &finished);
        let watchdog = Builder::new()
            .name("watchdog".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, move || watch(client, container, kill_after, heard))
            .map_err(|error| Error::Engine(format!("no thread for the watchdog: {error}")))?;
        read_log(output, &mut streams, sink)?;
        let end = client.container_ended(container)?;
        finished.fire();
        Ok::<_, Error>((watchdog.join().unwrap_or(None), end))
    })?;
    Ok(Ending {
        exit_code: Some(end.exit_code),
        reason: reason(killed, end),
        oom_killed: end.oom_killed,
        stdout: streams.0.capture.finish(spec.output_encoding),
        stderr: streams.1.capture.finish(spec.output_encoding),
        start: Duration::ZERO,
        run: Moment::now().since(started),
    })
}

/// Puts a log's messages together as they were printed.
fn read_log(mut log: Attached, streams: &mut (Tap, Tap), sink: &dyn Sink) -> Result<(), Error> {
    let mut lines = (LogLines::default(), LogLines::default());
    let outcome = demultiplex_frames(&mut log.stream, &mut |stream, message| {
        let (tap, lines) = match stream {
            Stream::Stdout => (&mut streams.0, &mut lines.0),
            Stream::Stderr => (&mut streams.1, &mut lines.1),
        };
        lines.take(message, &mut |bytes| tap.push(bytes, sink));
        Ok(())
    });
    lines.0.end(&mut |bytes| streams.0.push(bytes, sink));
    lines.1.end(&mut |bytes| streams.1.push(bytes, sink));
    streams.0.end(sink);
    streams.1.end(sink);
    outcome.map_err(|error| Error::Engine(format!("the container's log was cut: {error}")))
}

/// Engines keep a line of more than 16 KiB as several messages with one time stamp, and some of them forget the end of
/// such a line.
#[derive(Default)]
struct LogLines {
    time: Vec<u8>,
    /// The last message was a part of a line, and not its first one.
    is_continued: bool,
    is_open: bool,
}

impl LogLines {
    /// A message: its time stamp, a space, its bytes.
    fn take(&mut self, message: &[u8], pass_on: &mut dyn FnMut(&[u8])) {
        let split = message.iter().position(|byte| *byte == b' ');
        let (time, bytes) = message.split_at(split.map_or(0, |space| space + 1));
        let same_line = self.is_open && self.time == time;
        if self.is_open && !same_line {
            pass_on(b"\n");
        }
        self.is_continued = same_line;
        self.is_open = bytes.last() != Some(&b'\n');
        self.time = time.to_vec();
        pass_on(bytes);
    }

    /// Whether the last line of all had an end nobody knows if it was long; nearly every one has.
    fn end(&mut self, pass_on: &mut dyn FnMut(&[u8])) {
        if self.is_open && self.is_continued {
            pass_on(b"\n");
        }
    }
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

/// Kills the container at its time limit or when the caller leaves. Gives the reason if it was this that ended it.
fn watch(
    client: &Client,
    container: &str,
    (timeout, cancel): (Duration, &Cancel),
    finished: &Cancel,
) -> Option<Reason> {
    let reason = select! {
        recv(finished.done()) -> _ => return None,
        recv(cancel.done()) -> _ => Reason::Cancelled,
        recv(after(timeout)) -> _ => Reason::Timeout,
    };
    loop {
        match client.container_kill(container, "KILL") {
            Ok(()) => return Some(reason),
            // Not running, or gone: it ended by itself just now.
            Err(docker::Error::Status {
                status: 404 | 409, ..
            }) => return None,
            Err(error) => log::warn!("container {container} is not killed yet: {error}"),
        }
        select! {
            recv(finished.done()) -> _ => return None,
            recv(after(Duration::from_secs(1))) -> _ => {}
        }
    }
}

/// Writes stdin on its own thread, since the container may print before it reads. A container that ends without having
/// read it all is in its right; what is returned then ends the writer, which the engine would leave waiting.
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

/// Reads to the end of the stream, past every limit: an unread stream would block the container.
fn read(mut output: Attached, streams: &mut (Tap, Tap), sink: &dyn Sink) -> Result<(), Error> {
    let outcome = demultiplex(&mut output.stream, &mut |stream, piece| {
        match stream {
            Stream::Stdout => streams.0.push(piece, sink),
            Stream::Stderr => streams.1.push(piece, sink),
        }
        Ok(())
    });
    streams.0.end(sink);
    streams.1.end(sink);
    outcome.map_err(|error| Error::Engine(format!("the container's output was cut: {error}")))
}

/// One stream on its way: kept for the answer, and told as it comes.
struct Tap {
    capture: Capture,
    /// `None`: bytes, which may be cut anywhere.
    whole: Option<Utf8Chunks>,
    event: fn(Vec<u8>) -> Event,
}

impl Tap {
    fn new(spec: &RunSpec, event: fn(Vec<u8>) -> Event) -> Self {
        Self {
            capture: Capture::new(spec.output_bytes),
            whole: (spec.output_encoding == Encoding::Utf8).then(Utf8Chunks::default),
            event,
        }
    }

    fn push(&mut self, piece: &[u8], sink: &dyn Sink) {
        self.capture.push(piece);
        let told = match &mut self.whole {
            Some(whole) => whole.push(piece),
            None => piece.to_vec(),
        };
        self.tell(told, sink);
    }

    fn end(&mut self, sink: &dyn Sink) {
        let held = self.whole.take().map(Utf8Chunks::finish);
        self.tell(held.unwrap_or_default(), sink);
    }

    fn tell(&self, bytes: Vec<u8>, sink: &dyn Sink) {
        if !bytes.is_empty() {
            sink.event((self.event)(bytes));
        }
    }
}

/// The exit code of a container that was killed: 128 + SIGKILL.
const KILLED: i64 = 137;

/// A container that ended by itself just before the signal came did not end by it.
fn reason(killed: Option<Reason>, end: ContainerExit) -> Reason {
    killed
        .filter(|_| end.exit_code == KILLED)
        .unwrap_or_else(|| natural_reason(end.exit_code, end.oom_killed))
}

fn natural_reason(exit_code: i64, oom_killed: bool) -> Reason {
    const SIGNALS: std::ops::RangeInclusive<i64> = 129..=192;
    match exit_code {
        KILLED if oom_killed => Reason::Oom,
        code if SIGNALS.contains(&code) => Reason::Signalled,
        _ => Reason::Exited,
    }
}

/// What the engine says when the fault lies in what was asked.
pub(crate) fn start_error(error: docker::Error) -> Error {
    let docker::Error::Status {
        status, message, ..
    } = &error
    else {
        return error.into();
    };
    let asked_for = [
        "OCI runtime",
        "unable to find user",
        "unable to find group",
        "starting container process",
        "is not a directory",
        "uids and gids must be in range",
        "invalid tmpfs option",
        "error while mounting volume",
    ];
    if (400..500).contains(status) || asked_for.iter().any(|words| message.contains(words)) {
        return Error::StartFailed(message.clone());
    }
    error.into()
}

struct FireOnDrop<'a>(&'a Cancel);

impl Drop for FireOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fire();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_put_together_as_it_was_printed() {
        let mut lines = LogLines::default();
        let mut printed = Vec::new();
        for message in [
            "1 aaa",
            "1 aaa",
            "1 a",
            "2 short\n",
            "3 bbb",
            "3 b\n",
            "4 tail",
        ] {
            lines.take(message.as_bytes(), &mut |bytes| {
                printed.extend_from_slice(bytes)
            });
        }
        lines.end(&mut |bytes| printed.extend_from_slice(bytes));
        assert_eq!(printed, b"aaaaaaa\nshort\nbbbb\ntail");
    }

    #[test]
    fn an_exit_code_of_137_alone_is_not_want_of_memory() {
        for (exit_code, oom_killed, reason) in [
            (0, false, Reason::Exited),
            (0, true, Reason::Exited),
            (1, true, Reason::Exited),
            (137, false, Reason::Signalled),
            (137, true, Reason::Oom),
            (139, false, Reason::Signalled),
            (255, false, Reason::Exited),
        ] {
            assert_eq!(
                natural_reason(exit_code, oom_killed),
                reason,
                "{exit_code} {oom_killed}"
            );
        }
    }
}
