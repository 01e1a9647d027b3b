//! Everything that one run has in the engine, removed as one: what uses a volume before the volume.

use crate::runner::cleanup::removal::RemovalGuard;
use std::time::Instant;

/// The objects of one run, in the order of their removal. Dropping this hands them to the removal threads.
#[derive(Default)]
pub(crate) struct Owned(Option<RemovalGuard>);

impl Owned {
    /// Adds an object that is removed before all others.
    pub(crate) fn add_first(&mut self, mut guard: RemovalGuard) {
        if let Some(others) = self.0.take() {
            guard.then(others);
        }
        self.0 = Some(guard);
    }

    /// Adds an object that is removed after all others.
    pub(crate) fn add_last(&mut self, guard: RemovalGuard) {
        match &mut self.0 {
            Some(others) => others.then(guard),
            None => self.0 = Some(guard),
        }
    }

    /// Hands all objects to the removal threads, and blocks until they are removed, or until the deadline. Returns whether they
    /// are; those that are not are still being removed.
    pub(crate) fn remove_by(&mut self, deadline: Instant) -> bool {
        self.0.take().is_none_or(|guard| guard.remove_by(deadline))
    }
}
