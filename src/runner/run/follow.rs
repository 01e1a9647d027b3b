//! Follows a container that an earlier process started to its end, by its log and by what the engine says of its times. It may
//! have ended already. What the log cannot restore becomes a warning.

use crate::docker::container::Attached;
use crate::docker::events::ContainerExit;
use crate::docker::{self, Client, ContainerInspect};
use crate::init::protocol::UNUSABLE;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::container_config::{least_cut_log_bytes, pid_1_nonce};
use crate::runner::run::context::{ContainerTimes, RunContext};
use crate::runner::run::ending::{Ending, KILLED};
use crate::runner::run::log_lines::split_time;
use crate::runner::run::result::{Reason, Silent};
use crate::runner::run::streams::{LogEnd, OutputStreams};
use crate::runner::run::supervise::{grace, lost_streams};
use crate::runner::run::watchdog::Watchdog;
use jiff::Timestamp;
use std::time::Duration;

/// How long to wait for the engine's clock; ours is taken if it does not come.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a followed container.
pub(crate) struct Followed {
    pub(crate) ending: Ending,
    /// Id of its image.
    pub(crate) image: String,
    /// From the acceptance of the run to the container's end.
    pub(crate) elapsed: Duration,
    /// What could not be restored.
    pub(crate) warnings: Vec<String>,
}

/// A container that was started, and the run that it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct StartedContainer<'a> {
    pub(crate) client: &'a Client,
    /// Id of the container.
    pub(crate) container: &'a str,
    pub(crate) spec: &'a RunSpec,
    pub(crate) context: &'a RunContext<'a>,
}

/// Why a container whose PID 1 got no command has no outcome.
const NOT_DESCRIBED: &str = "the service or the Docker engine was restarted before the run's command was handed over; send it again";

/// Blocks until the container has ended. What it printed before this call is read too, unless `streams` have had it. The time limit
/// and all times count by the engine's clock, from the container's start to its end, whether or not a server watched it meanwhile.
/// Errors: the engine failed; `streams` then have what came until then, and the next call continues. [`Error::StdinLost`]: its PID 1
/// never got the whole command, so that nothing was executed.
pub(crate) fn follow(
    followed: StartedContainer<'_>,
    streams: &mut OutputStreams<'_>,
) -> Result<Followed, Error> {
    let StartedContainer {
        client,
        container,
        spec,
        context,
    } = followed;
    let found = client.container_inspect(container)?;
    let started = Moment::parse(&found.state.started_at).unwrap_or_else(Moment::now);
    context.hooks.container_started(started);
    let age = Moment::now().since(started);
    let before_start = context.accepted.elapsed().saturating_sub(age);
    let was_restarted = was_restarted(client, container);
    let now = engine_now(client, &found);
    let nonce = pid_1_nonce(&found.config.labels);
    let mut reading = LogReading::new(streams, now);
    let watchdog = Watchdog {
        client,
        container,
        timeout: spec.timeout.saturating_sub(now.since(started)),
        begun: None,
        grace: grace(nonce.as_deref()),
        cancel: context.cancel,
        sink: context.sink,
    };
    let watched = watchdog.watch_while(|_| reading.read_to_end(client, &found))?;
    let mut warnings = reading.end(spec);
    if was_restarted || self::was_restarted(client, container) {
        warnings.push(
            "stdin, stdout, stderr: the Docker engine was restarted during the run: what the run was to read or printed meanwhile \
             may be missing, and the exit code may come from the restart"
                .into(),
        );
    } else if reading.streams.is_torn() {
        warnings.push(
            "stdout, stderr: the connection to the Docker engine broke during the run, and the engine's log does not have all \
             that was read until then: output may be missing or repeated"
                .into(),
        );
    }
    let ended = client.container_inspect(container)?.state;
    let finished = Moment::parse(&ended.finished_at).unwrap_or_else(Moment::now);
    let times = ContainerTimes { started, finished };
    context.hooks.container_ended(&times);
    warnings.extend(lost_streams(reading.streams));
    let has_begun = reading.streams.has_begun();
    let output = reading.streams.finish(spec.output_encoding);
    let mut ended = Ending::new(&watched, output)?;
    if nonce.is_some() && !has_begun && ended.exit_code == Some(i64::from(UNUSABLE)) {
        return Err(Error::StdinLost(NOT_DESCRIBED.into()));
    }
    if context.cancel.is_fired() && !ended.is_exact && ended.exit_code == Some(KILLED) {
        // The kill may have come from the server that died, which had stored that the run is cancelled.
        ended.reason = Reason::Cancelled;
    }
    let ending = ending(ended, &times, spec.timeout);
    Ok(Followed {
        image: found.image,
        elapsed: before_start + ending.run,
        ending,
        warnings,
    })
}

/// Kills a container whose stdin was cut. Returns whether its command has not begun, and never will, because its PID 1 had not got all
/// of it. Where that cannot be known it counts as begun.
pub(crate) fn end_unbegun(followed: StartedContainer<'_>, nonce: Option<&str>) -> bool {
    let StartedContainer {
        client,
        container,
        spec,
        ..
    } = followed;
    let look = || -> Result<bool, Error> {
        match client.container_kill(container, "KILL") {
            // It is not running any more.
            Ok(()) | Err(docker::Error::Status { status: 409, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        client.container_ended(container)?;
        let mut streams = OutputStreams::new(spec, nonce, &Silent);
        streams.read_log(client.container_log_so_far(container)?, &mut |_| {})?;
        Ok(!streams.has_begun())
    };
    nonce.is_some() && look().unwrap_or(false) && !was_restarted(client, container)
}

/// The ending with its times. A container that ran longer than its limit was not watched then, or the process that killed it died
/// before it could say so.
fn ending(ending: Ending, times: &ContainerTimes, limit: Duration) -> Ending {
    let run = times.finished.since(times.started);
    let is_timeout = run > limit && !ending.is_exact && ending.reason != Reason::Cancelled;
    Ending {
        run,
        reason: match is_timeout {
            true => Reason::Timeout,
            false => ending.reason,
        },
        ..ending
    }
}

/// Whether the engine was restarted since it started the container. Nobody reads a container's output while it is away. False if
/// that cannot be known.
fn was_restarted(client: &Client, container: &str) -> bool {
    let clock = client.info(CLOCK_TIMEOUT).map(|info| info.system_time);
    let now = clock.ok().and_then(|text| Moment::parse(&text));
    now.is_some_and(|now| {
        client
            .has_restarted_since_start(container, now.0)
            .unwrap_or(false)
    })
}

/// The engine's clock if the container runs; its end if it has ended.
fn engine_now(client: &Client, found: &ContainerInspect) -> Moment {
    let now = match found.state.running {
        true => client
            .info(CLOCK_TIMEOUT)
            .ok()
            .and_then(|info| Moment::parse(&info.system_time)),
        false => Moment::parse(&found.state.finished_at),
    };
    now.unwrap_or_else(Moment::now)
}

/// The log of one container, read in one or two passes.
struct LogReading<'s, 'a> {
    streams: &'s mut OutputStreams<'a>,
    backlog: Backlog,
    end: LogEnd,
}

impl<'s, 'a> LogReading<'s, 'a> {
    /// What was written before `now` was written while nobody followed.
    fn new(streams: &'s mut OutputStreams<'a>, now: Moment) -> Self {
        Self {
            streams,
            backlog: Backlog::until(now),
            end: LogEnd::Complete,
        }
    }

    /// Reads what there is and what comes. Blocks until the container has ended.
    fn read_to_end(
        &mut self,
        client: &Client,
        found: &ContainerInspect,
    ) -> Result<ContainerExit, Error> {
        let container = &found.id;
        if found.state.running {
            let log = client.container_log_messages(container)?;
            self.pass(log)?;
        }
        let end = client.container_ended(container)?;
        // Engine 20.10 ends a followed log without the last messages, above all without a last line that has no newline.
        let log = client.container_log_so_far(container)?;
        self.pass(log)?;
        Ok(end)
    }

    fn pass(&mut self, log: Attached) -> Result<(), Error> {
        let mut backlog = Backlog::until(self.backlog.until);
        self.end = self
            .streams
            .read_log(log, &mut |message| backlog.count(message))?;
        if backlog.bytes > self.backlog.bytes {
            self.backlog = backlog;
        }
        Ok(())
    }

    /// Ends the streams, and says what the log could not restore.
    fn end(&mut self, spec: &RunSpec) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.end == LogEnd::Gap || self.backlog.bytes >= least_cut_log_bytes(spec) {
            warnings.push(
                "stdout, stderr: the run was read from the engine's log, and had printed more than that may hold: the beginning of \
                 the output may be missing and not be counted"
                    .into(),
            );
        }
        for stream in self.streams.end() {
            warnings.push(format!(
                "{stream}: the run was read from the engine's log, which does not say whether the last line, a long one, ended \
                 with a newline; one was added"
            ));
        }
        warnings
    }
}

/// Counts how much of a log was written while no process of this service followed it.
struct Backlog {
    until: Moment,
    /// `until` as the engine writes it.
    until_text: String,
    bytes: u64,
}

impl Backlog {
    fn until(until: Moment) -> Self {
        let millis = i64::try_from(until.0).unwrap_or(i64::MAX);
        let timestamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
        Self {
            until,
            until_text: format!("{timestamp:.9}"),
            bytes: 0,
        }
    }

    /// Counts a message as the engine stores it, rounded up.
    fn count(&mut self, message: &[u8]) {
        const LINE_OVERHEAD_BYTES: usize = 32;
        const PART_OVERHEAD_BYTES: usize = 112;
        let (time, bytes) = split_time(message);
        if time <= self.until_text.as_bytes() {
            let overhead = match bytes.last() {
                Some(b'\n') => LINE_OVERHEAD_BYTES,
                _ => PART_OVERHEAD_BYTES,
            };
            self.bytes += (bytes.len() + overhead) as u64;
        }
    }
}
