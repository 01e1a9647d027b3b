//! Loads the results that dead predecessors stored: at once, since a stored result is final, and several at a time, since the
//! engine may take 50 ms for each.

use crate::docker;
use crate::runner::jobs::adopt::{Adopter, FinishedRun};
use crate::runner::jobs::predecessor::PredecessorObjects;
use crate::runner::jobs::store::LoadError;
use crate::runner::takeover::lead::Lead;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

/// How many results are loaded at once, and are in memory before the limit of all results counts them.
const LOADERS: usize = 4;

/// A run whose objects include a result.
type Stored = (String, PredecessorObjects);

/// The results to load, and the first error.
struct Loading {
    left: Vec<Stored>,
    error: Option<docker::Error>,
}

impl Adopter {
    /// Adopts the runs among these that have a complete result. Errors: the engine cannot be asked; a second call continues.
    pub(crate) fn adopt_results(
        &self,
        orphaned: HashMap<String, PredecessorObjects>,
        lead: &Arc<Lead>,
    ) -> Result<(), docker::Error> {
        let mut left: Vec<Stored> = orphaned
            .into_iter()
            .filter(|(_, objects)| objects.result.is_some())
            .collect();
        // The newest is loaded first, so that the oldest are forgotten if there is no room for all.
        left.sort_by_key(|(_, objects)| objects.result.as_ref().map(|result| result.created));
        let loading = Mutex::new(Loading { left, error: None });
        std::thread::scope(|scope| {
            for _ in 1..LOADERS {
                // Without a thread the others do its part.
                let _ = Builder::new()
                    .name("adopt".into())
                    .spawn_scoped(scope, || self.load_results(&loading, lead));
            }
            self.load_results(&loading, lead);
        });
        match lock(&loading).error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn load_results(&self, loading: &Mutex<Loading>, lead: &Arc<Lead>) {
        while !self.stop.is_fired() {
            let next = lock(loading).left.pop();
            let Some((id, objects)) = next else {
                return;
            };
            let Some(result) = &objects.result else {
                continue;
            };
            match self.keeper.store().load(&result.id) {
                Ok(record) => {
                    let run = FinishedRun {
                        id,
                        record,
                        objects,
                    };
                    self.add_finished(run, lead);
                }
                // Its run is adopted without it, or later.
                Err(LoadError::Absent | LoadError::Unreadable(_)) => {}
                Err(LoadError::Engine(error)) => {
                    let mut loading = lock(loading);
                    loading.left.clear();
                    loading.error.get_or_insert(error);
                }
            }
        }
    }
}

fn lock(loading: &Mutex<Loading>) -> MutexGuard<'_, Loading> {
    loading.lock().unwrap_or_else(PoisonError::into_inner)
}
