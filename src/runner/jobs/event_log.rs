//! The events of an asynchronous run, kept for any number of readers. Writing never blocks: over the limit the oldest events are
//! dropped, and a reader that had not read them gets their number.

use crate::cancel::Cancel;
use crate::runner::error::Error;
use crate::runner::run::result::{Event, RunResult};
use crossbeam_channel::Select;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Result or error of a run.
pub type Outcome = Result<RunResult, Error>;

/// The events of one run in order, followed by its outcome.
pub(crate) struct EventLog {
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of the oldest event that is kept.
    first: u64,
    events: VecDeque<Event>,
    bytes: u64,
    outcome: Option<Arc<Outcome>>,
    /// Fired and dropped at the next change. `None`: no reader waits.
    changed: Option<Cancel>,
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Event(Event),
    /// Number of events that were dropped before they were read.
    Skipped(u64),
    Outcome(Arc<Outcome>),
    /// There was nothing before the timeout.
    Nothing,
    /// The outcome was read before, or one of the stop tokens fired.
    Over,
}

/// What an event counts beside its bytes.
const EVENT_BYTES: u64 = 64;

impl EventLog {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            state: Mutex::default(),
        }
    }

    /// Appends an event.
    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        state.bytes += cost(&event);
        state.events.push_back(event);
        while state.bytes > self.limit_bytes {
            let Some(gone) = state.events.pop_front() else {
                break;
            };
            state.bytes -= cost(&gone);
            state.first += 1;
        }
        state.wake_readers();
    }

    /// Sets the outcome, unless there is one.
    pub(crate) fn finish(&self, outcome: Arc<Outcome>) {
        let mut state = self.lock();
        state.outcome.get_or_insert(outcome);
        state.wake_readers();
    }

    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.lock().outcome.clone()
    }

    /// Bytes that the kept events count.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Reads at position `next`, and advances it. Blocks until there is something, the timeout passes or a stop token fires.
    pub(crate) fn read(&self, next: &mut u64, timeout: Duration, stops: &[&Cancel]) -> Found {
        let deadline = Instant::now() + timeout;
        loop {
            let changed = {
                let mut state = self.lock();
                match state.at(next) {
                    Some(found) => return found,
                    None => state.changed.get_or_insert_with(Cancel::new).clone(),
                }
            };
            let mut select = Select::new();
            let mut signals = vec![&changed];
            signals.extend(stops);
            for signal in signals {
                select.recv(signal.done());
            }
            match select.ready_deadline(deadline) {
                Ok(0) => {}
                Ok(_) => return Found::Over,
                Err(_) => return Found::Nothing,
            }
        }
    }

    /// Blocks until the outcome is there, the deadline passes or `stop` fires.
    pub(crate) fn wait(&self, deadline: Option<Instant>, stop: &Cancel) -> Option<Arc<Outcome>> {
        loop {
            let changed = {
                let mut state = self.lock();
                if let Some(outcome) = &state.outcome {
                    return Some(outcome.clone());
                }
                state.changed.get_or_insert_with(Cancel::new).clone()
            };
            let mut select = Select::new();
            select.recv(changed.done());
            select.recv(stop.done());
            let woken = match deadline {
                Some(deadline) => select.ready_deadline(deadline).ok(),
                None => Some(select.ready()),
            };
            if woken != Some(0) {
                return self.outcome();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_readers(&mut self) {
        if let Some(changed) = self.changed.take() {
            changed.fire();
        }
    }

    fn at(&self, next: &mut u64) -> Option<Found> {
        if *next < self.first {
            let skipped = self.first - *next;
            *next = self.first;
            return Some(Found::Skipped(skipped));
        }
        let index = usize::try_from(*next - self.first).unwrap_or(usize::MAX);
        if let Some(event) = self.events.get(index) {
            *next += 1;
            return Some(Found::Event(event.clone()));
        }
        let outcome = self.outcome.as_ref()?;
        if index > self.events.len() {
            return Some(Found::Over);
        }
        *next += 1;
        Some(Found::Outcome(outcome.clone()))
    }
}

fn cost(event: &Event) -> u64 {
    let bytes = match event {
        Event::Stdout(bytes) | Event::Stderr(bytes) => bytes.len(),
        Event::Pull { status, id, .. } => status.len() + id.len(),
        Event::Queued { .. } | Event::Started => 0,
    };
    bytes as u64 + EVENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn text(found: Found) -> String {
        match found {
            Found::Event(Event::Stdout(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_reader_reads_all_events_from_its_position_and_waits_for_more() {
        let log = EventLog::new(1 << 20);
        log.push(Event::Stdout(b"a".to_vec()));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut next = 0;
                (0..4)
                    .map(|_| text(log.read(&mut next, SOON, &[])))
                    .collect::<Vec<_>>()
            });
            log.push(Event::Stdout(b"b".to_vec()));
            log.finish(Arc::new(Err(Error::Engine("x".to_owned()))));
            let read = reader.join().unwrap_or_default();
            assert_eq!(read[..2], ["a", "b"]);
            assert_eq!(
                read[2..],
                [r#"Outcome(Err(Engine("x")))"#.to_owned(), "Over".to_owned()]
            );
        });
        assert_eq!(text(log.read(&mut 1, SOON, &[])), "b");
    }

    #[test]
    fn over_the_limit_the_oldest_events_are_dropped_and_readers_get_their_number() {
        let log = EventLog::new(3 * (EVENT_BYTES + 1));
        for n in 0..5u8 {
            log.push(Event::Stdout(vec![b'0' + n]));
        }
        let mut next = 1;
        assert_eq!(text(log.read(&mut next, SOON, &[])), "Skipped(1)");
        assert_eq!(text(log.read(&mut next, SOON, &[])), "2");
    }

    #[test]
    fn a_reader_that_is_stopped_does_not_wait() {
        let (log, stop) = (EventLog::new(1000), Cancel::new());
        assert_eq!(text(log.read(&mut 0, Duration::ZERO, &[&stop])), "Nothing");
        stop.fire();
        assert_eq!(text(log.read(&mut 0, SOON, &[&stop])), "Over");
        assert!(log.wait(None, &stop).is_none());
    }
}
