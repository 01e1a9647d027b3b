//! Reads the event log of a run: event by event, or its output in pages, for callers that cannot hold a stream
//! open.

use crate::cancel::Cancel;
use crate::process_identity::process_token;
use crate::runner::error::Error;
use crate::runner::jobs::entry::{Entry, Phase, RunState};
use crate::runner::jobs::event_log::{EventLog, Found, Outcome};
use crate::runner::request::types::Encoding;
use crate::runner::run::result::Event;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A run whose events are kept for readers.
pub(crate) trait Followed: Send + Sync {
    fn id(&self) -> &str;

    fn log(&self) -> &EventLog;

    fn output_encoding(&self) -> Encoding;

    fn state(&self) -> RunState;
}

impl Followed for Entry {
    fn id(&self) -> &str {
        &self.id
    }

    fn log(&self) -> &EventLog {
        &self.log
    }

    fn output_encoding(&self) -> Encoding {
        self.encoding
    }

    fn state(&self) -> RunState {
        self.state()
    }
}

/// A reader of one run's events.
pub struct RunEvents {
    run: Arc<dyn Followed>,
    next: u64,
}

/// What [`RunEvents::next`] found.
#[derive(Clone, Debug)]
pub enum Next {
    /// The next event.
    Event {
        /// Reading after this cursor continues behind the event.
        cursor: String,
        /// The event.
        event: Event,
    },
    /// This many events were dropped because the log was full.
    Skipped(u64),
    /// The outcome, which comes last.
    Outcome {
        /// Its cursor.
        cursor: String,
        /// The run's result or error.
        outcome: Arc<Outcome>,
    },
    /// There was no event before the timeout.
    Nothing,
    /// There are no more events: the outcome was read, or a stop token fired.
    Over,
}

/// A page of a run's output.
#[derive(Clone, Debug)]
pub struct RunLogs {
    /// The run's state. Once it has finished, no output follows the last page.
    pub state: RunState,
    /// How the output is to be encoded.
    pub output_encoding: Encoding,
    /// Output, in the order in which it was read from the container.
    pub pieces: Vec<Piece>,
    /// Where the next page begins; events without output are passed over too.
    pub cursor: Option<String>,
    /// Whether the page was full before everything was read.
    pub has_more: bool,
    /// How many events were dropped because the log was full.
    pub skipped_events: u64,
    /// The given cursor was made by an earlier process or for another run, so that the page begins at the start.
    pub is_from_start: bool,
}

/// A piece of output, and the cursor after which the next one comes.
#[derive(Clone, Debug)]
pub struct Piece {
    /// [`Event::Stdout`] or [`Event::Stderr`].
    pub event: Event,
    /// Its cursor.
    pub cursor: String,
}

/// Which page to read.
pub struct LogQuery<'a> {
    /// Where an earlier page ended. `None`: at the start.
    pub cursor: Option<&'a str>,
    /// About how many bytes of output a page has.
    pub page_bytes: usize,
    /// How long to wait for output if there is none yet.
    pub timeout: Duration,
    /// Ends the wait when it fires.
    pub stop: &'a Cancel,
}

impl LogQuery<'_> {
    /// Errors: [`Error::Invalid`] if the cursor does not have the form of one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.cursor.map(number_of) {
            Some(None) => Err(Error::invalid(
                &["arguments", "cursor"],
                "expected what an earlier page gave as its cursor",
            )),
            _ => Ok(()),
        }
    }
}

impl RunLogs {
    /// Reads a page. Blocks as the query says.
    pub(crate) fn read(entry: Arc<Entry>, query: &LogQuery<'_>) -> Self {
        let deadline = Instant::now() + query.timeout;
        let is_from_start = query
            .cursor
            .is_some_and(|cursor| position(cursor, &entry.id).is_none());
        let mut events = RunEvents::new(entry, query.cursor);
        let mut logs = Self {
            state: events.state(),
            output_encoding: events.output_encoding(),
            pieces: Vec::new(),
            cursor: query.cursor.map(str::to_owned),
            has_more: false,
            skipped_events: 0,
            is_from_start,
        };
        let mut bytes = 0;
        loop {
            let left = match logs.pieces.is_empty() {
                true => deadline.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            let had_finished = logs.state.phase == Phase::Finished;
            let next = events.next(left, &[query.stop]);
            logs.state = events.state();
            match next {
                Next::Event { cursor, event } => {
                    logs.cursor = Some(cursor.clone());
                    if let Event::Stdout(piece) | Event::Stderr(piece) = &event {
                        bytes += piece.len();
                        logs.pieces.push(Piece { event, cursor });
                    }
                }
                Next::Skipped(count) => logs.skipped_events += count,
                Next::Outcome { cursor, .. } => logs.cursor = Some(cursor),
                // It may have printed and finished since its state was read.
                Next::Nothing if !had_finished && logs.state.phase == Phase::Finished => {}
                Next::Nothing | Next::Over => return logs,
            }
            if bytes >= query.page_bytes {
                logs.has_more = true;
                return logs;
            }
        }
    }
}

/// What a cursor begins with: its number counts events of one run in one process.
fn origin(run: &str) -> String {
    format!("{}.{}", process_token(), run.get(..8).unwrap_or(run))
}

/// The number in a cursor of any run and process.
fn number_of(cursor: &str) -> Option<u64> {
    cursor.split_once('-')?.1.parse().ok()
}

/// The number in a cursor of this run and process.
fn position(cursor: &str, run: &str) -> Option<u64> {
    let (from, _) = cursor.split_once('-')?;
    number_of(cursor).filter(|_| from == origin(run))
}

impl RunEvents {
    /// Reads from the start, or after a cursor of the same run and process.
    pub(crate) fn new(run: Arc<dyn Followed>, cursor: Option<&str>) -> Self {
        let last_read = cursor.and_then(|cursor| position(cursor, run.id()));
        Self {
            next: last_read.map_or(0, |number| number.saturating_add(1)),
            run,
        }
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        self.run.id()
    }

    /// The run's state now.
    pub fn state(&self) -> RunState {
        self.run.state()
    }

    /// How its output is to be encoded.
    pub fn output_encoding(&self) -> Encoding {
        self.run.output_encoding()
    }

    /// The next event. Blocks until there is one, the timeout has passed or one of the stop tokens fires.
    pub fn next(&mut self, timeout: Duration, stops: &[&Cancel]) -> Next {
        let origin = origin(self.run.id());
        let cursor = |next: u64| format!("{origin}-{}", next.saturating_sub(1));
        match self.run.log().read(&mut self.next, timeout, stops) {
            Found::Event(event) => Next::Event {
                cursor: cursor(self.next),
                event,
            },
            Found::Outcome(outcome) => Next::Outcome {
                cursor: cursor(self.next),
                outcome,
            },
            Found::Skipped(count) => Next::Skipped(count),
            Found::Nothing => Next::Nothing,
            Found::Over => Next::Over,
        }
    }
}
