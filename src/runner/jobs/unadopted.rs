//! Asynchronous runs in the engine that this server cannot answer for: it does not know them yet, another server has them, or
//! their records cannot be read. Until a run is adopted, no answer may say that it does not exist, and no run may
//! be started under its idempotency key.

use crate::runner::error::Error;
use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Those runs, as the last look at the engine found them.
pub(crate) struct Unadopted {
    runs: Mutex<Runs>,
    changed: Condvar,
    patience: Duration,
}

/// What a look at the engine found.
pub(crate) struct Sighting {
    /// Runs that are adopted next.
    pub(crate) pending: HashSet<String>,
    /// Runs that another server may have.
    pub(crate) elsewhere: HashSet<String>,
    /// Whether servers have to be asked whether they live, before the runs of dead ones are all pending.
    pub(crate) has_suspects: bool,
}

#[derive(Default)]
struct Runs {
    /// Whether the engine was asked for what there is.
    is_listed: bool,
    /// Whether every server that may have such runs was found to be dead or alive.
    is_settled: bool,
    pending: HashSet<String>,
    elsewhere: HashSet<String>,
    /// Why the record of each cannot be read.
    unreadable: HashMap<String, String>,
}

impl Unadopted {
    /// Before the engine was asked: any id may be one. `patience` is how long a caller waits for a run to be adopted.
    pub(crate) fn not_asked_yet(patience: Duration) -> Self {
        Self {
            runs: Mutex::default(),
            changed: Condvar::new(),
            patience,
        }
    }

    /// There are none and will be none.
    pub(crate) fn none() -> Self {
        let none = Self::not_asked_yet(Duration::ZERO);
        none.update(|runs| (runs.is_listed, runs.is_settled) = (true, true));
        none
    }

    /// Whether this may be the id of a run that is not known yet. If so, blocks for a moment until it is adopted. To be called
    /// before the registry is asked: a run is there before it is removed here.
    pub(crate) fn may_contain(&self, run: &str) -> bool {
        self.remains(|runs| {
            !runs.is_listed
                || runs.pending.contains(run)
                || !runs.is_settled && runs.elsewhere.contains(run)
        })
    }

    /// Whether there may be any run that is not known yet. If so, blocks for a moment until all are adopted.
    pub(crate) fn may_be_some(&self) -> bool {
        self.remains(|runs| !runs.is_listed || !runs.is_settled || !runs.pending.is_empty())
    }

    /// Whether the runs that this server knows are all. Error: some are not adopted yet, although this blocked for a moment.
    pub(crate) fn are_all_known(&self) -> Result<bool, Error> {
        if self.remains(|runs| !runs.is_listed || !runs.pending.is_empty()) {
            return Err(not_known_yet());
        }
        let runs = self.lock();
        Ok(runs.is_settled && runs.elsewhere.is_empty() && runs.unreadable.is_empty())
    }

    /// Whether this is so, and remains so for the time that a caller waits.
    fn remains(&self, is_so: impl Fn(&Runs) -> bool) -> bool {
        let deadline = Instant::now() + self.patience;
        let mut runs = self.lock();
        while is_so(&runs) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return true;
            };
            let waited = self.changed.wait_timeout(runs, left);
            runs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Replaces the runs that are not known yet and those that another server may have, after the engine was asked.
    pub(crate) fn set(&self, sighting: Sighting) {
        self.update(|runs| {
            runs.is_listed = true;
            runs.is_settled |= !sighting.has_suspects;
            runs.pending = sighting.pending;
            runs.pending
                .retain(|run| !runs.unreadable.contains_key(run));
            runs.elsewhere = sighting.elsewhere;
        });
    }

    /// Adds runs that another server may have.
    pub(crate) fn add_elsewhere(&self, found: Vec<String>) {
        self.update(|runs| runs.elsewhere.extend(found));
    }

    /// Says that every server that may have such runs was asked whether it lives, and the runs of the dead ones are adopted.
    pub(crate) fn settle(&self) {
        self.update(|runs| runs.is_settled = true);
    }

    /// Removes a run that has been adopted.
    pub(crate) fn remove(&self, run: &str) {
        self.update(|runs| {
            runs.pending.remove(run);
        });
    }

    /// Says that everything is adopted but these runs, whose records cannot be read, each with the reason. A run is logged the
    /// first time.
    pub(crate) fn finish(&self, unreadable: HashMap<String, String>) {
        self.update(|runs| {
            for (run, why) in &unreadable {
                if !runs.unreadable.contains_key(run) {
                    log::error!(
                        "the record of run {run} cannot be read: {why}. The run is left as it is: its container is killed when it \
                         is past its time limit; its record is tried again every 30 s, and is removed when it is 7 days old"
                    );
                }
            }
            runs.pending.clear();
            runs.unreadable = unreadable;
        });
    }

    /// Why there is no answer for a run that is not known here. `None`: there is no such run.
    pub(crate) fn why(&self, run: &str) -> Option<Error> {
        let runs = self.lock();
        if let Some(why) = runs.unreadable.get(run) {
            let detail = format!("the record of this run cannot be read: {why}");
            return Some(Error::Engine(detail));
        }
        runs.elsewhere.contains(run).then(elsewhere)
    }

    fn update(&self, change: impl FnOnce(&mut Runs)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer where a run may be one that is not adopted yet.
pub(crate) fn not_known_yet() -> Error {
    Error::NotKnownYet("the runs of the server before this one are not all known yet".into())
}

/// The answer for a run of another server.
pub(crate) fn elsewhere() -> Error {
    let detail = "another server of this instance name has this run, or had it; ask again";
    Error::EngineUnreachable(detail.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(runs: &Unadopted, pending: &[&str], elsewhere: &[&str], has_suspects: bool) {
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect();
        runs.set(Sighting {
            pending: ids(pending),
            elsewhere: ids(elsewhere),
            has_suspects,
        });
    }

    #[test]
    fn any_run_may_be_unadopted_until_the_engine_was_asked() {
        let runs = Unadopted::not_asked_yet(Duration::ZERO);
        assert!(runs.may_contain("a") && runs.may_be_some());
        assert!(runs.are_all_known().is_err());
        set(&runs, &["a"], &[], false);
        assert!(runs.may_contain("a") && !runs.may_contain("b"));
        assert!(runs.may_be_some() && runs.are_all_known().is_err());
        runs.remove("a");
        assert!(matches!(runs.are_all_known(), Ok(true)));
        assert!(!runs.may_contain("a") && !runs.may_be_some());
        assert!(!Unadopted::none().may_contain("a") && !Unadopted::none().may_be_some());
    }

    #[test]
    fn a_run_of_a_server_that_may_live_is_elsewhere_once_that_was_asked() {
        let runs = Unadopted::not_asked_yet(Duration::ZERO);
        set(&runs, &[], &["a"], true);
        assert!(runs.may_contain("a") && runs.may_be_some() && !runs.may_contain("b"));
        runs.settle();
        assert!(!runs.may_contain("a") && !runs.may_be_some());
        assert!(matches!(runs.are_all_known(), Ok(false)));
        assert!(matches!(runs.why("a"), Some(Error::EngineUnreachable(_))));
    }

    #[test]
    fn an_unreadable_run_holds_up_no_other() {
        let runs = Unadopted::not_asked_yet(Duration::ZERO);
        for _ in 0..2 {
            set(&runs, &["a"], &[], false);
            runs.finish([("a".to_owned(), "x".to_owned())].into());
            assert!(!runs.may_contain("a") && !runs.may_be_some());
            assert!(matches!(runs.are_all_known(), Ok(false)));
            assert!(matches!(runs.why("a"), Some(Error::Engine(_))));
        }
        set(&runs, &["a"], &[], false);
        assert!(!runs.may_be_some() && runs.why("b").is_none());
    }
}
