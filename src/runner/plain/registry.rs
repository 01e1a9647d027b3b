//! Table of the plain runs: those that go on, and the last that have ended. In memory only.

use crate::cancel::Cancel;
use crate::runner::changes::Changes;
use crate::runner::error::Error;
use crate::runner::jobs::entry::{Phase, RunState};
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::logs::{Followed, RunEvents};
use crate::runner::plain::plain_run::{PlainRun, TappedSink};
use crate::runner::request::spec::RunSpec;
use crate::runner::run::result::Sink;
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many runs that have ended are listed.
const MOST_ENDED: usize = 200;

/// The table. Clones share it.
#[derive(Clone)]
pub(crate) struct PlainRuns {
    runs: Arc<Mutex<Runs>>,
    changes: Changes,
}

#[derive(Default)]
struct Runs {
    going_on: HashMap<String, Arc<PlainRun>>,
    /// Oldest first.
    ended: VecDeque<Arc<PlainRun>>,
}

/// A run from its acceptance on. Dropping it takes the run out of the table.
struct Listed<'a> {
    runs: &'a PlainRuns,
    run: Arc<PlainRun>,
}

impl PlainRuns {
    pub(crate) fn new(changes: Changes) -> Self {
        Self {
            runs: Arc::default(),
            changes,
        }
    }

    /// Lists a run while `execute` executes it, and afterwards among those that have ended. Its token fires when `cancel` does,
    /// and when another caller cancels the run.
    pub(crate) fn follow(
        &self,
        spec: RunSpec,
        cancel: &Cancel,
        sink: &dyn Sink,
        execute: impl FnOnce(RunSpec, &Cancel, &dyn Sink) -> Outcome,
    ) -> Outcome {
        let run = Arc::new(PlainRun::new(&spec, cancel.child()));
        self.lock().going_on.insert(run.id.clone(), run.clone());
        self.changes.note(&run.id);
        let listed = Listed { runs: self, run };
        let tapped = TappedSink {
            run: &listed.run,
            changes: &self.changes,
            sink,
        };
        let outcome = execute(spec, &listed.run.cancel, &tapped);
        // A request that was refused is no run: a burst of them must not push the runs out of the list.
        let is_refused = |error: &Error| {
            matches!(
                error,
                Error::QueueFull { .. } | Error::OutOfMemory | Error::Invalid(_)
            )
        };
        if !outcome.as_ref().is_err_and(is_refused) {
            self.keep(listed.run.end(&outcome));
        }
        outcome
    }

    fn keep(&self, ended: PlainRun) {
        let mut runs = self.lock();
        runs.going_on.remove(&ended.id);
        runs.ended.push_back(Arc::new(ended));
        if runs.ended.len() > MOST_ENDED
            && let Some(oldest) = runs.ended.pop_front()
        {
            self.changes.note(&oldest.id);
        }
    }

    /// The state of a run.
    pub(crate) fn state(&self, id: &str) -> Option<RunState> {
        Some(self.get(id)?.state())
    }

    /// Cancels a run that goes on, without waiting for its end. One that has ended stays as it is.
    pub(crate) fn cancel(&self, id: &str) -> Option<RunState> {
        let run = self.get(id)?;
        run.cancel.fire();
        Some(run.state())
    }

    /// Forgets a run that has ended.
    pub(crate) fn forget(&self, id: &str) -> Option<RunState> {
        let mut runs = self.lock();
        let index = runs.ended.iter().position(|run| run.id == id)?;
        let forgotten = runs.ended.remove(index)?;
        self.changes.note(id);
        Some(forgotten.state())
    }

    /// All runs, newest first, of one phase or of all.
    pub(crate) fn list(&self, phase: Option<Phase>) -> Vec<RunState> {
        let runs: Vec<_> = {
            let runs = self.lock();
            let ended = runs.ended.iter();
            ended.chain(runs.going_on.values()).cloned().collect()
        };
        let states = runs.iter().map(|run| run.state());
        let mut states: Vec<_> = states
            .filter(|state| phase.is_none_or(|phase| state.phase == phase))
            .collect();
        states.sort_by_key(|state| Reverse(state.order));
        states
    }

    /// A reader of the last events of a run, and of those to come.
    pub(crate) fn events(&self, id: &str, cursor: Option<&str>) -> Option<RunEvents> {
        Some(RunEvents::new(self.get(id)?, cursor))
    }

    fn get(&self, id: &str) -> Option<Arc<PlainRun>> {
        let runs = self.lock();
        let ended = || runs.ended.iter().find(|run| run.id == id);
        runs.going_on.get(id).or_else(ended).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.runs.lock().going_on.remove(&self.run.id);
        self.runs.changes.note(&self.run.id);
    }
}
