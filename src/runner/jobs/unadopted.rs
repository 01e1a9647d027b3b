//! Asynchronous runs in the engine that this server cannot answer for: another server has them, or their records cannot be read.

use crate::runner::error::Error;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those runs, as the last look at the engine found them.
#[derive(Default)]
pub(crate) struct Unadopted(Mutex<Runs>);

#[derive(Default)]
struct Runs {
    elsewhere: HashSet<String>,
    /// Why the record of each cannot be read.
    unreadable: HashMap<String, String>,
}

impl Unadopted {
    /// Replaces the runs that another server may have.
    pub(crate) fn set_elsewhere(&self, runs: &HashSet<String>) {
        self.lock().elsewhere.clone_from(runs);
    }

    /// Replaces the runs whose records cannot be read, with the reason for each. A run is logged the first time.
    pub(crate) fn set_unreadable(&self, unreadable: HashMap<String, String>) {
        let mut runs = self.lock();
        for (run, why) in &unreadable {
            if !runs.unreadable.contains_key(run) {
                log::error!(
                    "the record of run {run} cannot be read: {why}. The run is left as it is: its container is killed when it is \
                     past its time limit; its record is tried again every 30 s, and is removed when it is 7 days old"
                );
            }
        }
        runs.unreadable = unreadable;
    }

    /// Why there is no answer for a run that is not known here. `None`: there is no such run.
    pub(crate) fn why(&self, run: &str) -> Option<Error> {
        let runs = self.lock();
        if let Some(why) = runs.unreadable.get(run) {
            let detail = format!("the record of this run cannot be read: {why}");
            return Some(Error::Engine(detail));
        }
        runs.elsewhere.contains(run).then(|| {
            let detail = "another server of this instance name has this run, or had it; ask again";
            Error::EngineUnreachable(detail.into())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
