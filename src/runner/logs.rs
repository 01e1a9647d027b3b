//! What a detached run printed since somebody last asked: pages of its events, for callers that cannot hold a stream.

use super::detached::seen;
use super::{Encoding, Error, Event, Next, Phase, RunState, Runner};
use crate::cancel::Cancel;
use std::time::{Duration, Instant};

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
    /// The cursor was of an earlier process, so the page begins at the start.
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
                &["cursor"],
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
            is_from_start: cursor.is_some_and(|cursor| seen(cursor).is_none()),
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
