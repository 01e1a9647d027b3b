//! What a detached run told so far, kept for those who ask later. Never waits for a reader: over its limit the oldest
//! events go, and who had not read them hears that.

use crate::cancel::Cancel;
use crate::runner::error::Error;
use crate::runner::run::result::{Event, RunResult};
use crossbeam_channel::Select;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a run came out.
pub type Outcome = Result<RunResult, Error>;

/// The events of one run, in order, and at their end its outcome.
pub(crate) struct EventLog {
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of the oldest event that is still there.
    first: u64,
    events: VecDeque<Event>,
    bytes: u64,
    outcome: Option<Arc<Outcome>>,
    /// Fires at the next change; there is one only while somebody waits.
    bell: Option<Cancel>,
}

/// What a reader finds next.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Event(Event),
    /// So many events are gone.
    Skipped(u64),
    Outcome(Arc<Outcome>),
    /// Not yet, within the time that was given.
    Nothing,
    /// After the outcome nothing comes; or one of the stops fired.
    Over,
}

/// What an event costs beside its bytes.
const EVENT_BYTES: u64 = 64;

impl EventLog {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            state: Mutex::default(),
        }
    }

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
        state.ring();
    }

    pub(crate) fn finish(&self, outcome: Arc<Outcome>) {
        let mut state = self.lock();
        state.outcome.get_or_insert(outcome);
        state.ring();
    }

    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.lock().outcome.clone()
    }

    /// Bytes that events take up.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// What stands at `next`, which is moved on; waits for it at most so long, or until a stop fires.
    pub(crate) fn read(&self, next: &mut u64, timeout: Duration, stops: &[&Cancel]) -> Found {
        let deadline = Instant::now() + timeout;
        loop {
            let bell = {
                let mut state = self.lock();
                match state.at(next) {
                    Some(found) => return found,
                    None => state.bell.get_or_insert_with(Cancel::new).clone(),
                }
            };
            let mut select = Select::new();
            let mut signals = vec![&bell];
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

    /// Waits until the outcome is there, at most until `deadline` or until a stop fires.
    pub(crate) fn wait(&self, deadline: Option<Instant>, stop: &Cancel) -> Option<Arc<Outcome>> {
        loop {
            let bell = {
                let mut state = self.lock();
                if let Some(outcome) = &state.outcome {
                    return Some(outcome.clone());
                }
                state.bell.get_or_insert_with(Cancel::new).clone()
            };
            let mut select = Select::new();
            select.recv(bell.done());
            select.recv(stop.done());
            let rang = match deadline {
                Some(deadline) => select.ready_deadline(deadline).ok(),
                None => Some(select.ready()),
            };
            if rang != Some(0) {
                return self.outcome();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ring(&mut self) {
        if let Some(bell) = self.bell.take() {
            bell.fire();
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
    fn every_reader_reads_all_from_its_place_and_waits_for_more() {
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
            log.finish(Arc::new(Err(Error::ShuttingDown)));
            let read = reader.join().unwrap_or_default();
            assert_eq!(read[..2], ["a", "b"]);
            assert_eq!(
                read[2..],
                ["Outcome(Err(ShuttingDown))".to_owned(), "Over".to_owned()]
            );
        });
        assert_eq!(text(log.read(&mut 1, SOON, &[])), "b");
    }

    #[test]
    fn over_the_limit_the_oldest_go_and_the_reader_hears_of_it() {
        let log = EventLog::new(3 * (EVENT_BYTES + 1));
        for n in 0..5u8 {
            log.push(Event::Stdout(vec![b'0' + n]));
        }
        let mut next = 1;
        assert_eq!(text(log.read(&mut next, SOON, &[])), "Skipped(1)");
        assert_eq!(text(log.read(&mut next, SOON, &[])), "2");
    }

    #[test]
    fn one_who_is_told_to_stop_does_not_wait() {
        let (log, stop) = (EventLog::new(1000), Cancel::new());
        assert_eq!(text(log.read(&mut 0, Duration::ZERO, &[&stop])), "Nothing");
        stop.fire();
        assert_eq!(text(log.read(&mut 0, SOON, &[&stop])), "Over");
        assert!(log.wait(None, &stop).is_none());
    }
}
