//! What a detached run told since somebody last asked: its events one by one, and what it printed in pages, for callers
//! that cannot hold a stream.

use crate::cancel::Cancel;
use crate::process_identity::process_token;
use crate::runner::jobs::event_log::{Found, Outcome};
use crate::runner::jobs::registry::{Entry, RunState};
use crate::runner::{Encoding, Error, Event, Phase, Runner};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where events are read on: a place in the events of one run, as this process counts them.
pub struct RunEvents {
    entry: Arc<Entry>,
    next: u64,
}

/// What [`RunEvents::next`] found.
#[derive(Clone, Debug)]
pub enum Next {
    /// The run told this; reading on after `cursor` gives what follows.
    Event {
        /// Where it stands.
        cursor: String,
        /// What was told.
        event: Event,
    },
    /// So many events were too old to be kept.
    Skipped(u64),
    /// The last thing that is told.
    Outcome {
        /// Where it stands.
        cursor: String,
        /// How the run came out.
        outcome: Arc<Outcome>,
    },
    /// Nothing yet, within the time that was given.
    Nothing,
    /// Nothing more: the outcome was told, or a stop fired.
    Over,
}

/// A page of what a run printed.
#[derive(Clone, Debug)]
pub struct RunLogs {
    /// How the run stands: once it has finished, nothing follows the last page.
    pub state: RunState,
    /// How the output is to be told.
    pub output_encoding: Encoding,
    /// What was printed, in order.
    pub pieces: Vec<Piece>,
    /// Where the page ends: past pieces, and past events that are none.
    pub cursor: Option<String>,
    /// Whether the page was full before everything was read.
    pub has_more: bool,
    /// How many events were too old to be kept.
    pub skipped_events: u64,
    /// The cursor was of an earlier process or another run, so the page begins at the start.
    pub is_from_start: bool,
}

/// A piece of output, and the cursor after which the next one comes.
#[derive(Clone, Debug)]
pub struct Piece {
    /// [`Event::Stdout`] or [`Event::Stderr`].
    pub event: Event,
    /// Where it stands.
    pub cursor: String,
}

impl Runner {
    /// What a run told, from the start or after a cursor. A cursor of another run or of an earlier process reads from the
    /// start.
    pub fn run_events(&self, id: &str, cursor: Option<&str>) -> Result<RunEvents, Error> {
        let entry = self.inner().entry(id)?;
        let seen = cursor.and_then(|cursor| seen(cursor, id));
        Ok(RunEvents {
            next: seen.map_or(0, |seen| seen.saturating_add(1)),
            entry,
        })
    }

    /// What a run printed after a cursor, about `page_bytes` of it; waits for something at most so long, or until `stop`
    /// fires. Errors: no such run, or not a cursor.
    pub fn run_logs(
        &self,
        id: &str,
        cursor: Option<&str>,
        page_bytes: usize,
        (patience, stop): (Duration, &Cancel),
    ) -> Result<RunLogs, Error> {
        let is_cursor = |cursor: &str| {
            let (_, number) = cursor.split_once('-')?;
            number.parse::<u64>().ok()
        };
        if cursor.is_some_and(|cursor| is_cursor(cursor).is_none()) {
            return Err(Error::invalid(
                &["arguments", "cursor"],
                "expected what an earlier page gave as its cursor",
            ));
        }
        let deadline = Instant::now() + patience;
        let mut events = self.run_events(id, cursor)?;
        let mut logs = RunLogs {
            state: events.state(),
            output_encoding: events.output_encoding(),
            pieces: Vec::new(),
            cursor: cursor.map(str::to_owned),
            has_more: false,
            skipped_events: 0,
            is_from_start: cursor.is_some_and(|cursor| seen(cursor, id).is_none()),
        };
        let mut bytes = 0;
        loop {
            let left = match logs.pieces.is_empty() {
                true => deadline.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            let had_finished = logs.state.phase == Phase::Finished;
            let next = events.next(left, &[stop]);
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
                // It may have printed and finished since we looked.
                Next::Nothing if !had_finished && logs.state.phase == Phase::Finished => {}
                Next::Nothing | Next::Over => return Ok(logs),
            }
            if bytes >= page_bytes {
                logs.has_more = true;
                return Ok(logs);
            }
        }
    }
}

/// What a cursor begins with: its number counts events of one run as one process knows them.
fn origin(run: &str) -> String {
    format!("{}.{}", process_token(), run.get(..8).unwrap_or(run))
}

/// Number of the event at a cursor of this run and process.
fn seen(cursor: &str, run: &str) -> Option<u64> {
    let (from, seen) = cursor.split_once('-')?;
    seen.parse().ok().filter(|_| from == origin(run))
}

impl RunEvents {
    /// The run's id.
    pub fn id(&self) -> &str {
        &self.entry.id
    }

    /// How the run stands.
    pub fn state(&self) -> RunState {
        self.entry.state()
    }

    /// How its output is to be told.
    pub fn output_encoding(&self) -> Encoding {
        self.entry.encoding
    }

    /// What comes next; waits for it at most so long, or until one of the stops fires.
    pub fn next(&mut self, timeout: Duration, stops: &[&Cancel]) -> Next {
        let origin = origin(&self.entry.id);
        let cursor = |next: u64| format!("{origin}-{}", next.saturating_sub(1));
        match self.entry.log.read(&mut self.next, timeout, stops) {
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
