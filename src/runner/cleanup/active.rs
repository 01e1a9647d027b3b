//! The runs of this process that go on now, and those it answers for: what the reaper must not touch.

use crate::runner::id::new_id;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The set of ids in use.
#[derive(Clone, Default)]
pub(crate) struct Active {
    ids: Arc<Mutex<HashSet<String>>>,
    held: Arc<Mutex<HashSet<String>>>,
}

/// The id of a run that waits, goes on or has ended, and is answered for until this is dropped.
pub(crate) struct HeldId {
    id: String,
    active: Active,
}

/// A fresh id, in use until dropped.
pub(crate) struct ActiveId {
    id: String,
    active: Active,
}

impl Active {
    /// Takes a new id into use.
    pub(crate) fn enter(&self) -> ActiveId {
        self.enter_as(new_id())
    }

    /// Takes this id into use.
    pub(crate) fn enter_as(&self, id: String) -> ActiveId {
        self.lock().insert(id.clone());
        ActiveId {
            id,
            active: self.clone(),
        }
    }

    /// Answers for a run whether it goes on or not.
    pub(crate) fn hold(&self, id: &str) -> HeldId {
        self.lock_held().insert(id.to_owned());
        HeldId {
            id: id.to_owned(),
            active: self.clone(),
        }
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.lock().contains(id) || self.lock_held().contains(id)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Those that go on and that no later process could go on with.
    pub(crate) fn count_unheld(&self) -> usize {
        let held = self.lock_held();
        self.lock().iter().filter(|id| !held.contains(*id)).count()
    }

    fn lock_held(&self) -> MutexGuard<'_, HashSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveId {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl HeldId {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for HeldId {
    fn drop(&mut self) {
        self.active.lock_held().remove(&self.id);
    }
}

impl Drop for ActiveId {
    fn drop(&mut self) {
        self.active.lock().remove(&self.id);
    }
}
