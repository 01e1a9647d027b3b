//! Keeps of each asynchronous run what a later attempt or the next server needs, in the engine or, if nothing outlives this
//! process, in memory; and keeps the registry in step with it.

use crate::archive;
use crate::docker;
use crate::runner::cleanup::engine::Engine;
use crate::runner::error::Error;
use crate::runner::jobs::entry::{Entry, Kept};
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::journal::{Journal, LiveRecords, RecordFile, RecordPacker};
use crate::runner::jobs::marks::Mark;
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunTimes};
use crate::runner::jobs::registry::Registry;
use crate::runner::jobs::request_copies::{RequestCopies, RequestCopy};
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::engine_away::until_stored;
use crate::runner::run::result::RunResult;
use crate::runner::semaphore::Semaphore;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What asynchronous runs survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// A restart: records in the engine let the next server with the same instance name resume them.
    Engine,
    /// Nothing: they are in this process's memory only, and are cancelled when it stops.
    Process,
}

/// How many requests are stored in the engine at once.
const STORING_AT_ONCE: usize = 8;
/// How long a request waits to be stored: as long as the engine may then take for it.
const STORING_PATIENCE: Duration = Duration::from_secs(30);

/// How long the engine may take to say that it is there, before a run is accepted.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// Where records are kept.
pub(crate) struct RecordStore {
    pub(crate) persistence: Persistence,
    pub(crate) engine: Engine,
    pub(crate) journal: Journal,
    /// Longest record.
    pub(crate) limit_bytes: u64,
}

/// Stores requests and outcomes.
pub(crate) struct RecordKeeper {
    store: RecordStore,
    registry: Arc<Registry>,
    policy: Arc<Policy>,
    storing: Semaphore,
    copies: RequestCopies,
    /// Runs that are stored and not listed yet.
    entering: Mutex<Vec<Weak<Entry>>>,
}

/// A request without its credentials.
pub(crate) struct StrippedRequest {
    pub(crate) request: Value,
    pub(crate) spelling: Spelling,
    pub(crate) had_auth: bool,
}

/// A run that is about to be executed.
pub(crate) struct LoadedRun {
    pub(crate) spec: RunSpec,
    /// Its credentials were lost at a restart of the server.
    pub(crate) lacks_auth: bool,
}

impl RecordKeeper {
    pub(crate) fn new(store: RecordStore, registry: Arc<Registry>, policy: Arc<Policy>) -> Self {
        Self {
            copies: RequestCopies::new(registry.retention().max_result_bytes),
            store,
            registry,
            policy,
            storing: Semaphore::new(STORING_AT_ONCE),
            entering: Mutex::default(),
        }
    }

    /// Where runs and their outcomes are kept.
    pub(crate) fn persistence(&self) -> Persistence {
        self.store.persistence
    }

    /// The runs whose records are kept.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The records in the engine.
    pub(crate) fn journal(&self) -> &Journal {
        &self.store.journal
    }

    /// Longest record, in bytes.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.store.limit_bytes
    }

    /// The JSON of a record. Error: [`Error::TooLarge`].
    fn to_json<T: Serialize>(&self, record: &T) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(record).map_err(|error| Error::Engine(error.to_string()))?;
        let limit = self.store.limit_bytes;
        if json.len() as u64 > limit {
            let detail = format!("a run or a result of more than {limit} bytes cannot be kept");
            return Err(Error::TooLarge(detail));
        }
        Ok(json)
    }

    /// Stores the request; if that is in the engine, the run survives this process from here on, and a copy lets it survive a
    /// prune of the engine. Errors: the engine failed, or was too slow to store those that came before; no room for the copy.
    pub(crate) fn save_request(
        &self,
        entry: &Arc<Entry>,
        mut spec: RunSpec,
        stripped: StrippedRequest,
    ) -> Result<(), Error> {
        if self.persistence() == Persistence::Process {
            entry.stored().spec = Some(Box::new(spec));
            return Ok(());
        }
        // At once, where storing would take the time of several calls.
        let client = &self.store.engine.client;
        client
            .version(ENGINE_PATIENCE)
            .map_err(|error| match error {
                docker::Error::TimedOut { .. } => Error::EngineUnreachable(error.to_string()),
                other => other.into(),
            })?;
        let record = RequestRecord {
            request: stripped.request,
            spelling: stripped.spelling,
            facts: entry.facts.clone(),
            had_auth: stripped.had_auth,
        };
        let full = "the requests of the runs that wait or run leave no room (RUNNER_MAX_RESULT_BYTES); try again later";
        let copy = self.copies.keep(&self.to_json(&record)?);
        let copy = copy.ok_or_else(|| Error::Overloaded(full.into()))?;
        let json = copy.json();
        {
            let mut stored = entry.stored();
            stored.request = Some(copy);
            stored.auth = spec.auth.take();
        }
        // Bounds what these calls take of the engine and of our memory, whatever the number of requests.
        let permit = self.storing.acquire(STORING_PATIENCE);
        let slow = "the engine is slow to take new runs; try again later";
        let _permit = permit.ok_or_else(|| Error::Overloaded(slow.into()))?;
        self.enter(entry);
        let written = self
            .journal()
            .write(&entry.id, RecordFile::Request(json), self);
        let engine = &self.store.engine;
        let mark = || {
            let mut stored = entry.stored();
            stored.marks.set(engine, &entry.id, Mark::Waiting)
        };
        written.and_then(|()| Ok(mark()?)).inspect_err(|_| {
            let mut stored = entry.stored();
            stored.is_deleted = true;
            stored.marks.remove(engine, &entry.id);
            drop(stored);
            self.journal().forget(&entry.id);
        })
    }

    /// Makes the record of a run live before the run is listed.
    fn enter(&self, entry: &Arc<Entry>) {
        let mut entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        entering.retain(|other| {
            other
                .upgrade()
                .is_some_and(|other| self.registry.get(&other.id).is_none())
        });
        entering.push(Arc::downgrade(entry));
    }

    /// A copy of a request that an earlier server stored.
    pub(crate) fn copy_of(&self, json: &[u8]) -> RequestCopy {
        self.copies.keep_anyway(json)
    }

    /// Loads the run as it was asked for. If nothing is stored in the engine, this works once, else any number of times.
    pub(crate) fn load_run(&self, entry: &Entry) -> Result<LoadedRun, Error> {
        let (json, auth) = {
            let mut stored = entry.stored();
            if let Some(spec) = stored.spec.take() {
                return Ok(LoadedRun {
                    spec: *spec,
                    lacks_auth: false,
                });
            }
            let json = stored.request.as_ref().map(RequestCopy::json);
            (json, stored.auth.clone())
        };
        let json = json.ok_or_else(|| Error::Engine("the request is gone".into()))?;
        let record: RequestRecord =
            serde_json::from_slice(&json).map_err(|error| Error::Engine(error.to_string()))?;
        let profile = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Always,
            spelling: record.spelling,
        };
        let mut spec = RunSpec::from_json(record.request, profile, &self.policy)?;
        spec.id = entry.id.clone();
        spec.is_detached = true;
        let lacks_auth = record.had_auth && auth.is_none();
        spec.auth = auth;
        Ok(LoadedRun { spec, lacks_auth })
    }

    /// Says in the engine how far the run came.
    pub(crate) fn mark(&self, entry: &Entry, mark: Mark) -> Result<(), docker::Error> {
        let mut stored = entry.stored();
        let engine = &self.store.engine;
        match stored.marks.current() {
            // A run that is cancelled stays so.
            Some(current) if current < mark => stored.marks.set(engine, &entry.id, mark),
            _ => Ok(()),
        }
    }

    /// Takes back that the run may have been started: its container never was, and is to be removed. Without this a server that
    /// dies before the next container would leave a run that looks lost.
    pub(crate) fn unmark_started(&self, entry: &Entry) -> Result<(), docker::Error> {
        let mut stored = entry.stored();
        if !stored.marks.is_cancelled() {
            stored.marks.set_back(&self.store.engine, &entry.id)?;
            stored.may_have_started = false;
        }
        Ok(())
    }

    /// Says that all of the run's stdin was delivered, so that a later server lets it go on.
    pub(crate) fn mark_fed(&self, entry: &Entry) {
        if let Err(error) = self.mark(entry, Mark::Fed) {
            let id = &entry.id;
            log::warn!("after a restart, run {id} would end with stdin_lost: {error}");
        }
    }

    /// Makes sure that no later server starts this run, or lets it run on. To be called before the run is cancelled here. Error:
    /// that cannot be stored just now.
    pub(crate) fn mark_cancelled(&self, entry: &Entry) -> Result<(), docker::Error> {
        self.mark(entry, Mark::Cancelled)
    }

    /// Creates the mark again that the engine has lost. A failure is logged; the next comparison tries again.
    pub(crate) fn heal_mark(&self, entry: &Entry) {
        let stored = entry.stored();
        if stored.is_deleted {
            return;
        }
        if let Err(error) = stored.marks.create_again(&self.store.engine, &entry.id) {
            log::warn!("run {} is only in memory: {error}", entry.id);
        }
    }

    /// Stores an outcome that could not be stored before. A failure is logged; the next comparison tries again.
    pub(crate) fn heal_outcome(&self, entry: &Entry) {
        if let Some(outcome) = entry.log.outcome() {
            self.save_outcome(entry, outcome.as_ref().as_ref());
            entry.stored().outcome = None;
        }
    }

    /// Writes all records anew, because the engine has lost them, or another server wrote them. Error: they are only in memory.
    pub(crate) fn rewrite(&self) -> Result<(), Error> {
        self.journal().rewrite(self)
    }

    /// As [`RecordKeeper::finish`], but waits for an engine that is away.
    pub(crate) fn finish_through(&self, entry: &Entry, outcome: Outcome) {
        self.save_outcome_through(entry, outcome.as_ref());
        self.finish(entry, outcome);
    }

    /// Stores the outcome, then publishes it: a caller that has seen an outcome must still find it after a restart.
    pub(crate) fn finish(&self, entry: &Entry, outcome: Outcome) {
        self.save_outcome(entry, outcome.as_ref());
        let forgotten = self.registry.finish(entry, outcome, Kept::now());
        {
            let mut stored = entry.stored();
            stored.forget_request();
            stored.outcome = None;
        }
        self.remove_records(forgotten);
    }

    /// Stores the outcome in the place of the request, unless that was done before. A failure is logged.
    pub(crate) fn save_outcome(&self, entry: &Entry, outcome: Result<&RunResult, &Error>) {
        if self.lacks_outcome(entry) {
            note_stored(entry, self.store_outcome(entry, outcome));
        }
    }

    /// As [`RecordKeeper::save_outcome`], but blocks while the engine is away: what the outcome was made of must not be removed
    /// before.
    pub(crate) fn save_outcome_through(&self, entry: &Entry, outcome: Result<&RunResult, &Error>) {
        if self.lacks_outcome(entry) {
            let client = &self.store.engine.client;
            note_stored(
                entry,
                until_stored(client, || self.store_outcome(entry, outcome)),
            );
        }
    }

    fn lacks_outcome(&self, entry: &Entry) -> bool {
        let stored = entry.stored();
        self.persistence() == Persistence::Engine && !stored.has_outcome && !stored.is_deleted
    }

    fn store_outcome(
        &self,
        entry: &Entry,
        outcome: Result<&RunResult, &Error>,
    ) -> Result<(), Error> {
        // The record is a copy, as a value and as text.
        let result_memory = outcome.ok().and_then(|result| result.memory.as_ref());
        let _record_memory = result_memory.map(|result| {
            let record = result.another();
            record.grow_anyway(2 * result.bytes());
            record
        });
        let json: Arc<[u8]> = self.outcome_json(entry, outcome)?.into();
        entry.stored().outcome = Some(json.clone());
        self.journal()
            .write(&entry.id, RecordFile::Outcome(json), self)
    }

    fn outcome_json(
        &self,
        entry: &Entry,
        outcome: Result<&RunResult, &Error>,
    ) -> Result<Vec<u8>, Error> {
        let kept = Kept::now();
        let times = RunTimes {
            started: entry.started(),
            finished: entry.set_finished(kept.at),
            kept: entry.set_kept(kept).at,
        };
        self.to_json(&OutcomeRecord::new(entry.facts.clone(), &times, outcome))
    }

    /// Forgets results that are older than their time to live, and removes their records.
    pub(crate) fn expire(&self) {
        self.remove_records(self.registry.expire(Instant::now()));
    }

    /// Removes the records of a run that is deleted, so that no later server knows it. Error: that is not possible just now.
    pub(crate) fn delete_records(&self, entry: &Entry) -> Result<(), Error> {
        {
            let mut stored = entry.stored();
            stored.marks.remove_now(&self.store.engine, &entry.id)?;
            stored.is_deleted = true;
        }
        self.journal().forget(&entry.id);
        Ok(())
    }

    /// Removes the records of runs that the registry has forgotten.
    pub(crate) fn remove_records(&self, forgotten: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in forgotten {
            {
                let mut stored = entry.stored();
                stored.is_deleted = true;
                stored.marks.remove(&self.store.engine, &entry.id);
            }
            self.journal().forget(&entry.id);
        }
    }

    /// The record of a run that counts now.
    fn live_record(&self, entry: &Entry) -> Option<RecordFile> {
        let stored = entry.stored();
        if stored.is_deleted {
            return None;
        }
        if let Some(json) = &stored.outcome {
            return Some(RecordFile::Outcome(json.clone()));
        }
        let request = stored.request.as_ref().map(RequestCopy::json);
        drop(stored);
        if let Some(outcome) = entry.log.outcome() {
            let json = self.outcome_json(entry, outcome.as_ref().as_ref()).ok()?;
            return Some(RecordFile::Outcome(json.into()));
        }
        request.map(RecordFile::Request)
    }
}

fn note_stored(entry: &Entry, stored: Result<(), Error>) {
    match stored {
        Ok(()) => entry.stored().has_outcome = true,
        Err(error) => log::warn!("the outcome of run {} is only in memory: {error}", entry.id),
    }
}

impl LiveRecords for RecordKeeper {
    fn pack(
        &self,
        is_packed: &dyn Fn(&str) -> bool,
        packer: &mut RecordPacker<'_, '_>,
    ) -> Result<(), archive::Error> {
        let entering: Vec<Arc<Entry>> = {
            let entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
            entering.iter().filter_map(Weak::upgrade).collect()
        };
        // Afterwards: what is listed meanwhile is then in both.
        let listed = self.registry.list();
        let mut packed = HashSet::new();
        for entry in listed.iter().chain(&entering) {
            if packed.insert(&entry.id)
                && !is_packed(&entry.id)
                && let Some(record) = self.live_record(entry)
            {
                packer.add(&entry.id, &record)?;
            }
        }
        Ok(())
    }
}
