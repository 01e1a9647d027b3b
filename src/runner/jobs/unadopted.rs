//! Ids of the runs that an earlier server accepted and this one does not know yet. Until they are adopted, nobody may be told
//! that they do not exist, and nothing may be started that one of them may be.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The ids.
pub(crate) struct UnadoptedRuns {
    ids: Mutex<Ids>,
    changed: Condvar,
    patience: Duration,
}

/// `None`: the engine has not been asked yet.
type Ids = Option<HashSet<String>>;

impl UnadoptedRuns {
    /// Before the engine was asked: any id may be one. `patience` is how long a caller waits for a run to be adopted.
    pub(crate) fn not_asked_yet(patience: Duration) -> Self {
        Self {
            ids: Mutex::new(None),
            changed: Condvar::new(),
            patience,
        }
    }

    /// There are none and will be none.
    pub(crate) fn none() -> Self {
        Self {
            ids: Mutex::new(Some(HashSet::new())),
            changed: Condvar::new(),
            patience: Duration::ZERO,
        }
    }

    /// Whether this may be the id of such a run. If so, blocks for a moment until it is adopted. To be called before the registry
    /// is asked: a run is there before it is removed here.
    pub(crate) fn may_contain(&self, id: &str) -> bool {
        self.remains(|ids| ids.as_ref().is_none_or(|ids| ids.contains(id)))
    }

    /// Whether there may be any such run. If so, blocks for a moment until all are adopted.
    pub(crate) fn may_be_some(&self) -> bool {
        self.remains(|ids| ids.as_ref().is_none_or(|ids| !ids.is_empty()))
    }

    /// Whether this is so, and remains so for the time that a caller waits.
    fn remains(&self, is_so: impl Fn(&Ids) -> bool) -> bool {
        let deadline = Instant::now() + self.patience;
        let mut ids = self.lock();
        while is_so(&ids) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return true;
            };
            let waited = self.changed.wait_timeout(ids, left);
            ids = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Sets the ids, after the engine was asked.
    pub(crate) fn set(&self, ids: impl IntoIterator<Item = String>) {
        *self.lock() = Some(ids.into_iter().collect());
        self.changed.notify_all();
    }

    /// Removes a run that has been adopted.
    pub(crate) fn remove(&self, id: &str) {
        if let Some(ids) = self.lock().as_mut() {
            ids.remove(id);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_run_may_be_unadopted_until_the_engine_was_asked() {
        let runs = UnadoptedRuns::not_asked_yet(Duration::ZERO);
        assert!(runs.may_contain("a") && runs.may_be_some());
        runs.set(["a".to_owned()]);
        assert!(runs.may_contain("a") && !runs.may_contain("b"));
        runs.remove("a");
        assert!(!runs.may_contain("a") && !runs.may_be_some());
        assert!(!UnadoptedRuns::none().may_contain("a"));
    }
}
