//! Which runs have changed, for readers that show all of them: a bounded list of ids. Noting a change never blocks.

use crate::cancel::Cancel;
use crossbeam_channel::Select;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The changes of all runs. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Changes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Number of the oldest change that is kept.
    first: u64,
    ids: VecDeque<String>,
    /// Fired and dropped at the next change. `None`: no reader waits.
    changed: Option<Cancel>,
}

/// What has changed since a reader looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunChanges {
    /// Ids of these runs, each once. Such a run may be gone.
    Runs(Vec<String>),
    /// More than is kept: every run may have changed.
    Missed,
    /// Nothing before the timeout, or a stop token fired.
    Nothing,
}

/// How many changes are kept. A reader that comes four times a second misses some only beyond 16,000 a second.
const MOST_CHANGES: usize = 4096;

impl Changes {
    /// Notes that a run is new, has changed or is gone.
    pub(crate) fn note(&self, id: &str) {
        let mut state = self.lock();
        state.ids.push_back(id.to_owned());
        if state.ids.len() > MOST_CHANGES {
            state.ids.pop_front();
            state.first += 1;
        }
        if let Some(changed) = state.changed.take() {
            changed.fire();
        }
    }

    /// The position behind all changes so far.
    pub(crate) fn now(&self) -> u64 {
        self.lock().end()
    }

    /// What has changed since `position`, which is advanced. Blocks until there is something, the timeout passes or `stop` fires.
    pub(crate) fn since(&self, position: &mut u64, timeout: Duration, stop: &Cancel) -> RunChanges {
        let deadline = Instant::now() + timeout;
        loop {
            let changed = {
                let mut state = self.lock();
                match state.after(position) {
                    RunChanges::Nothing => state.changed.get_or_insert_with(Cancel::new).clone(),
                    found => return found,
                }
            };
            let mut select = Select::new();
            select.recv(changed.done());
            select.recv(stop.done());
            if select.ready_deadline(deadline) != Ok(0) {
                return RunChanges::Nothing;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.ids.len() as u64
    }

    fn after(&self, position: &mut u64) -> RunChanges {
        let from = std::mem::replace(position, self.end());
        let Some(skipped) = from.checked_sub(self.first) else {
            return RunChanges::Missed;
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let mut ids: Vec<String> = self.ids.iter().skip(skipped).cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        match ids.is_empty() {
            true => RunChanges::Nothing,
            false => RunChanges::Runs(ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(changes: &Changes, position: &mut u64) -> RunChanges {
        changes.since(position, Duration::ZERO, &Cancel::new())
    }

    #[test]
    fn a_reader_gets_each_changed_run_once_and_then_nothing() {
        let changes = Changes::default();
        changes.note("before");
        let mut position = changes.now();
        for id in ["b", "a", "b"] {
            changes.note(id);
        }
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(look(&changes, &mut position), RunChanges::Runs(both));
        assert_eq!(look(&changes, &mut position), RunChanges::Nothing);
    }

    #[test]
    fn a_reader_that_comes_too_late_is_not_given_a_part() {
        let (changes, mut position) = (Changes::default(), 0);
        (0..=MOST_CHANGES).for_each(|n| changes.note(&n.to_string()));
        assert_eq!(look(&changes, &mut position), RunChanges::Missed);
        assert_eq!(look(&changes, &mut position), RunChanges::Nothing);
    }

    #[test]
    fn a_change_and_a_stop_wake_the_reader() {
        let (changes, stop) = (Changes::default(), Cancel::new());
        let long = Duration::from_secs(60);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| changes.since(&mut 0, long, &stop));
            changes.note("a");
            let woken = reader.join().unwrap_or(RunChanges::Missed);
            assert_eq!(woken, RunChanges::Runs(vec!["a".to_owned()]));
            let reader = scope.spawn(|| changes.since(&mut 1, long, &stop));
            stop.fire();
            assert_eq!(reader.join().ok(), Some(RunChanges::Nothing));
        });
    }
}
