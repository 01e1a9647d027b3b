//! Table of the asynchronous runs that this server answers for: those that wait or run, and for a while those that have
//! finished. In memory only; nothing here calls the engine.

use crate::runner::changes::Changes;
use crate::runner::error::{Error, RunLimit};
use crate::runner::jobs::entry::{Entry, Kept};
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::record::IdempotencyKey;
use crate::runner::run::result::{CollectedVolume, RunResult};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many asynchronous runs and results are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How long a result is kept.
    pub result_ttl: Duration,
    /// How many bytes of results are kept; over it the oldest are forgotten.
    pub max_result_bytes: u64,
    /// How many runs may wait or run, and how many results are kept.
    pub max_runs: usize,
}

/// Answer to a request for a place.
pub(crate) enum Place {
    /// The run is new. It is listed once [`Registry::accept`] is called, and must else be given up by [`Registry::reject`].
    New,
    /// The idempotency key was used before, for this run.
    Known(Arc<Entry>),
}

/// The table.
pub(crate) struct Registry {
    retention: Retention,
    runs: Mutex<Runs>,
    /// Signalled when a run was accepted or rejected, and when one has finished.
    changed: Condvar,
    /// What readers of all runs wait for.
    changes: Changes,
}

#[derive(Default)]
struct Runs {
    by_id: HashMap<String, Listed>,
    keys: HashMap<String, KeyUse>,
    /// In the order in which they finished.
    finished: VecDeque<Finished>,
    finished_bytes: u64,
    /// How many wait or run, those included that are not accepted yet.
    unfinished: usize,
}

struct Listed {
    entry: Arc<Entry>,
    key: Option<String>,
}

/// The request that an idempotency key was used with.
struct KeyUse {
    digest: u128,
    /// Id of its run. `None`: not accepted yet.
    run: Option<String>,
}

struct Finished {
    id: String,
    bytes: u64,
    kept_from: Instant,
}

impl Registry {
    pub(crate) fn new(retention: Retention, changes: Changes) -> Self {
        Self {
            retention,
            runs: Mutex::default(),
            changed: Condvar::new(),
            changes,
        }
    }

    pub(crate) fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Takes a place for one more run. Blocks while another request with the same key is being accepted. Errors: there are too
    /// many runs, or the key was used with another request.
    pub(crate) fn enter(&self, key: Option<&IdempotencyKey>) -> Result<Place, Error> {
        let mut runs = self.lock();
        while let Some(key) = key {
            let Some(used) = runs.keys.get(&key.name) else {
                break;
            };
            if used.digest != key.digest {
                let msg = "was used with another request";
                return Err(Error::invalid(&["header", "Idempotency-Key"], msg));
            }
            match &used.run {
                Some(id) => match runs.by_id.get(id) {
                    Some(listed) => return Ok(Place::Known(listed.entry.clone())),
                    None => break,
                },
                None => {
                    let woken = self.changed.wait(runs);
                    runs = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        if runs.unfinished >= self.retention.max_runs {
            return Err(Error::QueueFull {
                limit: RunLimit::Asynchronous,
                retry_after_secs: 1,
            });
        }
        runs.unfinished += 1;
        if let Some(key) = key {
            let used = KeyUse {
                digest: key.digest,
                run: None,
            };
            runs.keys.insert(key.name.clone(), used);
        }
        Ok(Place::New)
    }

    /// Lists the run that a place was taken for.
    pub(crate) fn accept(&self, entry: Arc<Entry>, key: Option<IdempotencyKey>) {
        self.add(&mut self.lock(), entry, key);
    }

    /// Lists a run that an earlier process accepted. Its key is left to a later run that has the same one: two servers of one name
    /// may each have accepted a run with it, and the caller was last answered with the later one.
    pub(crate) fn adopt(&self, entry: Arc<Entry>, key: Option<IdempotencyKey>) {
        let mut runs = self.lock();
        let order = entry.facts.order;
        let key = key.filter(|key| !runs.is_of_later_run(&key.name, order));
        self.add(&mut runs, entry, key);
    }

    fn add(&self, runs: &mut Runs, entry: Arc<Entry>, key: Option<IdempotencyKey>) {
        let id = entry.id.clone();
        let key = key.map(|key| {
            let used = KeyUse {
                digest: key.digest,
                run: Some(id.clone()),
            };
            runs.keys.insert(key.name.clone(), used);
            key.name
        });
        runs.by_id.insert(
            id,
            Listed {
                entry: entry.clone(),
                key,
            },
        );
        entry.note_changes_in(&self.changes);
        self.changed.notify_all();
    }

    /// Gives a place up whose run is not accepted after all.
    pub(crate) fn reject(&self, key: Option<&IdempotencyKey>) {
        let mut runs = self.lock();
        runs.unfinished -= 1;
        // A run of an earlier process may have been adopted with it meanwhile.
        if let Some(key) = key
            && runs
                .keys
                .get(&key.name)
                .is_some_and(|used| used.run.is_none())
        {
            runs.keys.remove(&key.name);
        }
        self.changed.notify_all();
    }

    /// Takes a place for a run that an earlier process accepted, whatever the limit.
    pub(crate) fn enter_anyway(&self) {
        self.lock().unfinished += 1;
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.lock().by_id.get(id).map(|listed| listed.entry.clone())
    }

    /// Blocks until every run has finished, at most until `deadline`. Returns how many have not.
    pub(crate) fn settle(&self, deadline: Instant) -> usize {
        let mut runs = self.lock();
        while runs.unfinished > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            let waited = self.changed.wait_timeout(runs, left);
            runs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        runs.unfinished
    }

    /// All runs, newest first: by their acceptance, by whichever process.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        let listed = self.lock();
        let entries = listed.by_id.values().map(|listed| listed.entry.clone());
        let mut entries: Vec<_> = entries.collect();
        drop(listed);
        entries.sort_by(|a, b| (b.facts.order, &b.id).cmp(&(a.facts.order, &a.id)));
        entries
    }

    /// Sets the outcome of a run, which is kept from then on, unless it has one. Returns the older runs that are forgotten
    /// for it.
    pub(crate) fn finish(&self, entry: &Entry, outcome: Outcome, kept: Kept) -> Vec<Arc<Entry>> {
        let mut runs = self.lock();
        if entry.log.outcome().is_some() || !runs.by_id.contains_key(&entry.id) {
            return Vec::new();
        }
        let bytes = entry.log.bytes() + outcome.as_ref().map_or(0, size) + RESULT_BYTES;
        entry.set_finished(kept.at);
        let kept_from = entry.set_kept(kept).from;
        entry.log.finish(Arc::new(outcome));
        runs.unfinished -= 1;
        self.changed.notify_all();
        let id = entry.id.clone();
        // Results of earlier servers are adopted in any order, while new runs finish.
        let place = runs
            .finished
            .partition_point(|other| other.kept_from <= kept_from);
        let finished = Finished {
            id,
            bytes,
            kept_from,
        };
        runs.finished.insert(place, finished);
        runs.finished_bytes += bytes;
        self.changes.note(&entry.id);
        let mut forgotten = Vec::new();
        while runs.finished.len() > 1
            && (runs.finished_bytes > self.retention.max_result_bytes
                || runs.finished.len() > self.retention.max_runs)
        {
            forgotten.extend(runs.forget_at(0));
        }
        self.note_all(&forgotten);
        forgotten
    }

    /// Forgets the results that are older than their time to live, and returns their runs.
    pub(crate) fn expire(&self, now: Instant) -> Vec<Arc<Entry>> {
        let mut runs = self.lock();
        let mut forgotten = Vec::new();
        while let Some(oldest) = runs.finished.front() {
            let age = now.saturating_duration_since(oldest.kept_from);
            if age < self.retention.result_ttl {
                break;
            }
            forgotten.extend(runs.forget_at(0));
        }
        self.note_all(&forgotten);
        forgotten
    }

    fn note_all(&self, forgotten: &[Arc<Entry>]) {
        for entry in forgotten {
            self.changes.note(&entry.id);
        }
    }

    /// Forgets a run that has finished, and returns it.
    pub(crate) fn forget(&self, id: &str) -> Option<Arc<Entry>> {
        let mut runs = self.lock();
        let index = runs.finished.iter().position(|other| other.id == id)?;
        let forgotten = runs.forget_at(index);
        self.changes.note(id);
        forgotten
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a result costs beside its texts.
const RESULT_BYTES: u64 = 2048;

fn size(result: &RunResult) -> u64 {
    let content = |volume: &CollectedVolume| volume.content.as_ref().map_or(0, String::len);
    let volumes = result
        .volumes
        .values()
        .flatten()
        .map(content)
        .sum::<usize>();
    (result.stdout.len() + result.stderr.len() + volumes) as u64
}

impl Runs {
    /// Forgets the finished run at this index.
    fn forget_at(&mut self, index: usize) -> Option<Arc<Entry>> {
        let Finished { id, bytes, .. } = self.finished.remove(index)?;
        self.finished_bytes -= bytes;
        let listed = self.by_id.remove(&id)?;
        if let Some(key) = listed.key
            && self
                .keys
                .get(&key)
                .is_some_and(|used| used.run.as_ref() == Some(&id))
        {
            self.keys.remove(&key);
        }
        Some(listed.entry)
    }

    /// Whether the key is that of a run which was accepted after one of this order.
    fn is_of_later_run(&self, key: &str, order: u64) -> bool {
        let run = self.keys.get(key).and_then(|used| used.run.as_ref());
        run.and_then(|id| self.by_id.get(id))
            .is_some_and(|listed| listed.entry.facts.order > order)
    }
}
