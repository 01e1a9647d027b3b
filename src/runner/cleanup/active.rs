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
    ended: Arc<Mutex<Ended>>,
}

/// Ids whose use ended while somebody looked at a listing of objects.
#[derive(Default)]
struct Ended {
    ids: HashSet<String>,
    lookers: usize,
}

/// As long as this exists, an id counts as in use that was so at any time meanwhile.
pub(crate) struct Look(Active);

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

    /// To be called before objects are listed, and kept until all of them are judged. An operation may end in between: what the
    /// listing has of it is gone then, and what it made is complete. In particular the volume of a fill must not be removed.
    pub(crate) fn look(&self) -> Look {
        self.lock_ended().lookers += 1;
        Look(self.clone())
    }

    /// Whether the id is in use or held, or was so since a [`Look`] began that still exists.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.lock().contains(id)
            || self.lock_held().contains(id)
            || self.lock_ended().ids.contains(id)
    }

    /// To be called before the id is taken out, so that it is never in none of the sets.
    fn note_end(&self, id: &str) {
        let mut ended = self.lock_ended();
        if ended.lookers > 0 {
            ended.ids.insert(id.to_owned());
        }
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

    fn lock_ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.active.note_end(&self.id);
        self.active.lock_held().remove(&self.id);
    }
}

impl Drop for ActiveId {
    fn drop(&mut self) {
        self.active.note_end(&self.id);
        self.active.lock().remove(&self.id);
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut ended = self.0.lock_ended();
        ended.lookers -= 1;
        if ended.lookers == 0 {
            ended.ids.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_whose_use_ends_during_a_look_counts_as_in_use_until_its_end() {
        let active = Active::default();
        let before = active.enter_as("before".into());
        drop(active.enter_as("over".into()));
        let look = active.look();
        drop(before);
        drop(active.enter_as("meanwhile".into()));
        drop(active.hold("held"));
        for id in ["before", "meanwhile", "held"] {
            assert!(active.contains(id), "{id}");
        }
        assert!(!active.contains("over"));
        let another = active.look();
        drop(look);
        assert!(active.contains("before"));
        drop(another);
        for id in ["before", "meanwhile", "held"] {
            assert!(!active.contains(id), "{id}");
        }
    }
}
