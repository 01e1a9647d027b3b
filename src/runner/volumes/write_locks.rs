//! Write locks by volume name: at most one writer per name within this process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The set of locked names. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct WriteLocks(Arc<Mutex<HashSet<String>>>);

/// A held lock. Dropping it unlocks the name.
pub(crate) struct WriteLock {
    name: String,
    locks: WriteLocks,
}

impl WriteLocks {
    /// Locks a name without blocking. `None`: it is locked already.
    pub(crate) fn try_lock(&self, name: &str) -> Option<WriteLock> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned()).then(|| WriteLock {
            name: name.to_owned(),
            locks: self.clone(),
        })
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        self.locks
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}
