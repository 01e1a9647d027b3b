//! Names that are being written: at most one writer each.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The set of names being written.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashSet<String>>>);

/// The right to write under a name, until dropped.
pub(crate) struct Writing {
    name: String,
    names: Names,
}

impl Names {
    /// `None`: somebody else is writing.
    pub(crate) fn enter(&self, name: &str) -> Option<Writing> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned()).then(|| Writing {
            name: name.to_owned(),
            names: self.clone(),
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.names
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}
