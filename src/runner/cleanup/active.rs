//! Ids of runs and volume operations whose objects the reaper must leave alone.

use crate::random_id;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ids in use. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Active {
    /// Being executed.
    ids: Arc<Mutex<HashSet<String>>>,
    /// Of asynchronous runs that this server answers for, executed or not.
    held: Arc<Mutex<HashSet<String>>>,
}

/// The id of an asynchronous run, held until this is dropped.
pub(crate) struct HeldId {
    id: String,
    active: Active,
}

/// An id that is in use until this is dropped.
pub(crate) struct ActiveId {
    id: String,
    active: Active,
}

impl Active {
    /// Marks a new random id as in use.
    pub(crate) fn enter(&self) -> ActiveId {
        self.enter_as(random_id::unique())
    }

    /// Marks this id as in use.
    pub(crate) fn enter_as(&self, id: String) -> ActiveId {
        self.lock().insert(id.clone());
        ActiveId {
            id,
            active: self.clone(),
        }
    }

    /// Marks the id of an asynchronous run as held.
    pub(crate) fn hold(&self, id: &str) -> HeldId {
        self.lock_held().insert(id.to_owned());
        HeldId {
            id: id.to_owned(),
            active: self.clone(),
        }
    }

    /// Whether the id is in use or held.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.lock().contains(id) || self.lock_held().contains(id)
    }

    /// How many ids are in use.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many ids are in use and not held: no later server can resume these.
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
