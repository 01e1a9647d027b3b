//! Keeps of each asynchronous run what a later attempt or the next server needs, in the engine or, if nothing outlives this
//! process, in memory; and keeps the registry in step with it.

use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::entry::{Entry, Kept, Stored};
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunTimes};
use crate::runner::jobs::registry::Registry;
use crate::runner::jobs::request_copies::{RequestCopies, RequestCopy};
use crate::runner::jobs::store::{LoadError, RequestState, Store, result_name};
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::context::{ContainerTimes, RunHooks};
use crate::runner::run::result::RunResult;
use crate::runner::semaphore::Semaphore;
use serde_json::Value;
use std::sync::Arc;
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

/// Stores and loads requests and outcomes.
pub(crate) struct RecordKeeper {
    persistence: Persistence,
    store: Store,
    registry: Arc<Registry>,
    policy: Arc<Policy>,
    storing: Semaphore,
    copies: RequestCopies,
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
    pub(crate) fn new(
        persistence: Persistence,
        store: Store,
        registry: Arc<Registry>,
        policy: Arc<Policy>,
    ) -> Self {
        Self {
            copies: RequestCopies::new(registry.retention().max_result_bytes),
            persistence,
            store,
            registry,
            policy,
            storing: Semaphore::new(STORING_AT_ONCE),
        }
    }

    /// Where runs and their outcomes are kept.
    pub(crate) fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// The runs whose records are kept.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Direct access to the records, for adoption.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Stores the request; if that is in the engine, the run survives this process from here on, and a copy lets it survive a
    /// prune of the engine. Errors: the engine failed, or was too slow to store those that came before; no room for the copy.
    pub(crate) fn save_request(
        &self,
        entry: &Entry,
        mut spec: RunSpec,
        stripped: StrippedRequest,
    ) -> Result<(), Error> {
        if self.persistence == Persistence::Process {
            entry.stored().spec = Some(Box::new(spec));
            return Ok(());
        }
        let record = RequestRecord {
            request: stripped.request,
            spelling: stripped.spelling,
            facts: entry.facts.clone(),
            had_auth: stripped.had_auth,
        };
        let json = self.store.to_json(&record)?;
        let full = "the requests of the runs that wait or run leave no room (RUNNER_MAX_RESULT_BYTES); try again later";
        let copy = self.copies.keep(&json);
        let copy = copy.ok_or_else(|| Error::Overloaded(full.into()))?;
        let container = {
            // Bounds what these calls take of the engine and of our memory, whatever the number of requests.
            let permit = self.storing.acquire(STORING_PATIENCE);
            let slow = "the engine is slow to take new runs; try again later";
            let _permit = permit.ok_or_else(|| Error::Overloaded(slow.into()))?;
            let store = &self.store;
            store.save_request(&entry.id, RequestState::Waiting, &json)?
        };
        let mut stored = entry.stored();
        stored.request = Some(container);
        stored.request_copy = Some(copy);
        stored.auth = spec.auth.take();
        Ok(())
    }

    /// Keeps a copy of a request that an earlier server stored, if there is room.
    pub(crate) fn copy_of(&self, record: &RequestRecord) -> Option<RequestCopy> {
        self.copies.keep(&self.store.to_json(record).ok()?)
    }

    /// Loads the run as it was asked for. If nothing is stored in the engine, this works once, else any number of times.
    pub(crate) fn load_run(&self, entry: &Entry) -> Result<LoadedRun, Error> {
        if let Some(spec) = entry.stored().spec.take() {
            return Ok(LoadedRun {
                spec: *spec,
                lacks_auth: false,
            });
        }
        let (record, auth) = {
            let stored = entry.stored();
            let copy = stored.request_copy.as_ref().map(RequestCopy::json);
            let container = stored.request.clone();
            let auth = stored.auth.clone();
            drop(stored);
            (self.load_request(copy, container)?, auth)
        };
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

    fn load_request(
        &self,
        copy: Option<Arc<[u8]>>,
        container: Option<String>,
    ) -> Result<RequestRecord, Error> {
        if let Some(json) = copy {
            return serde_json::from_slice(&json).map_err(|error| Error::Engine(error.to_string()));
        }
        let gone = || Error::Engine("the request that the engine kept is gone".into());
        let container = container.ok_or_else(gone)?;
        self.store.load(&container).map_err(|error| match error {
            LoadError::Absent => gone(),
            LoadError::Unreadable(why) => Error::Engine(format!(
                "the request that the engine kept cannot be read: {why}"
            )),
            LoadError::Engine(error) => error.into(),
        })
    }

    /// Makes sure that no server starts this run again. To be called before the run is started.
    fn mark_started(&self, entry: &Entry) -> Result<(), Error> {
        let mut stored = entry.stored();
        // The name that says that the run is cancelled says this too.
        let has_name = stored.may_have_started || stored.is_cancelled;
        let Some(request) = stored.request.clone().filter(|_| !has_name) else {
            return Ok(());
        };
        if !self
            .store
            .mark(&entry.id, &request, RequestState::Started)?
            && let Some(copy) = &stored.request_copy
        {
            let (state, json) = (RequestState::Started, copy.json());
            match self.store.save_request(&entry.id, state, &json) {
                Ok(container) => stored.request = Some(container),
                // No server can start the run again without the record. The next comparison stores it.
                Err(error) => log::warn!("run {} starts without a record: {error}", entry.id),
            }
        }
        stored.may_have_started = true;
        Ok(())
    }

    /// Takes back that the run may have been started: its container never was, and is to be removed. Without this a server that
    /// dies before the next container would leave a run that looks lost.
    pub(crate) fn unmark_started(&self, entry: &Entry) -> Result<(), Error> {
        let mut stored = entry.stored();
        if let Some(request) = stored.request.clone().filter(|_| !stored.is_cancelled) {
            self.store
                .mark(&entry.id, &request, RequestState::Waiting)?;
            stored.may_have_started = false;
            stored.is_fed = false;
        }
        Ok(())
    }

    /// Says that all of the run's stdin was delivered, so that a later server lets it go on.
    fn mark_fed(&self, entry: &Entry) {
        let mut stored = entry.stored();
        stored.is_fed = true;
        // The name that says that the run is cancelled must stay.
        let Some(request) = stored.request.clone().filter(|_| !stored.is_cancelled) else {
            return;
        };
        // If the container is gone, the request is stored again under the name that says it.
        if let Err(error) = self.store.mark(&entry.id, &request, RequestState::Fed) {
            let id = &entry.id;
            log::warn!("after a restart, run {id} would end with stdin_lost: {error}");
        }
    }

    /// Makes sure that no later server starts this run, or lets it run on. To be called before the run is cancelled here. Error:
    /// that cannot be stored just now.
    pub(crate) fn mark_cancelled(&self, entry: &Entry) -> Result<(), Error> {
        let mut stored = entry.stored();
        if let Some(request) = stored.request.clone().filter(|_| !stored.is_cancelled) {
            // If the container is gone, a later server does not know the run at all.
            self.store
                .mark(&entry.id, &request, RequestState::Cancelled)?;
            stored.is_cancelled = true;
        }
        Ok(())
    }

    /// Stores the request again whose container `gone` was removed by someone else. A failure is logged; the next comparison
    /// tries again.
    pub(crate) fn heal_request(&self, entry: &Entry, gone: &str) {
        let mut stored = entry.stored();
        let is_lost = stored.request.as_deref() == Some(gone) && !stored.is_deleted;
        let Some(copy) = stored.request_copy.as_ref().filter(|_| is_lost) else {
            return;
        };
        match self
            .store
            .save_request(&entry.id, request_state(&stored), &copy.json())
        {
            Ok(container) => stored.request = Some(container),
            Err(error) => log::warn!("the request of run {} is only in memory: {error}", entry.id),
        }
    }

    /// Stores an outcome again whose container `gone` was removed by someone else, or that could not be stored before (`None`).
    /// A failure is logged; the next comparison tries again.
    pub(crate) fn heal_outcome(&self, entry: &Entry, gone: Option<&str>) {
        let Some(outcome) = entry.log.outcome() else {
            return;
        };
        let mut stored = entry.stored();
        if stored.outcome.as_deref() != gone || stored.is_deleted {
            return;
        }
        match self.store_outcome(entry, outcome.as_ref().as_ref()) {
            Ok(container) => {
                stored.outcome = Some(container);
                if let Some(request) = stored.request.take() {
                    self.store.remove(&request);
                }
            }
            Err(error) => log::warn!("the outcome of run {} is only in memory: {error}", entry.id),
        }
    }

    /// Stores the outcome, then publishes it: a caller that has seen an outcome must still find it after a restart.
    pub(crate) fn finish(&self, entry: &Entry, outcome: Outcome) {
        self.save_outcome(entry, outcome.as_ref());
        entry.stored().forget_request();
        let forgotten = self.registry.finish(entry, outcome, Kept::now());
        self.remove_records(forgotten);
    }

    /// Stores the outcome in the place of the request, unless that was done before. A failure is logged.
    pub(crate) fn save_outcome(&self, entry: &Entry, outcome: Result<&RunResult, &Error>) {
        if self.persistence == Persistence::Process || entry.stored().outcome.is_some() {
            return;
        }
        match self.store_outcome(entry, outcome) {
            Ok(container) => self.outcome_replaces_request(entry, container),
            Err(error) => log::warn!("the outcome of run {} is only in memory: {error}", entry.id),
        }
    }

    fn store_outcome(
        &self,
        entry: &Entry,
        outcome: Result<&RunResult, &Error>,
    ) -> Result<String, Error> {
        let kept = Kept::now();
        let times = RunTimes {
            started: entry.started(),
            finished: entry.set_finished(kept.at),
            kept: entry.set_kept(kept).at,
        };
        // The record is a copy, as a value and as text.
        let result_memory = outcome.ok().and_then(|result| result.memory.as_ref());
        let _record_memory = result_memory.map(|result| {
            let record = result.another();
            record.grow_anyway(2 * result.bytes());
            record
        });
        let record = OutcomeRecord::new(entry.facts.clone(), &times, outcome);
        self.store.save_outcome(&entry.id, &record)
    }

    /// Loads the outcome that an earlier process stored just before it died. `None`: it did not.
    pub(crate) fn load_stored_result(&self, entry: &Entry) -> Option<Outcome> {
        let name = result_name(&entry.id);
        let record: OutcomeRecord = self.store.load(&name).ok()?;
        self.outcome_replaces_request(entry, name);
        Some(record.outcome())
    }

    fn outcome_replaces_request(&self, entry: &Entry, container: String) {
        let mut stored = entry.stored();
        stored.outcome = Some(container);
        if let Some(request) = stored.request.take() {
            self.store.remove(&request);
        }
    }

    /// Forgets results that are older than their time to live, and removes their records.
    pub(crate) fn expire(&self) {
        self.remove_records(self.registry.expire(Instant::now()));
    }

    /// Removes the records of a run that is deleted, so that no later server knows it. Error: that is not possible just now.
    pub(crate) fn delete_records(&self, entry: &Entry) -> Result<(), Error> {
        let mut stored = entry.stored();
        for container in [&stored.request, &stored.outcome].into_iter().flatten() {
            self.store.remove_now(container)?;
        }
        stored.is_deleted = true;
        Ok(())
    }

    /// Removes the records of runs that the registry has forgotten.
    pub(crate) fn remove_records(&self, forgotten: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in forgotten {
            let mut stored = entry.stored();
            stored.is_deleted = true;
            for container in [&stored.request, &stored.outcome].into_iter().flatten() {
                self.store.remove(container);
            }
        }
    }
}

/// What the name of the container with the request has to say.
fn request_state(stored: &Stored) -> RequestState {
    match stored {
        Stored {
            is_cancelled: true, ..
        } => RequestState::Cancelled,
        Stored { is_fed: true, .. } => RequestState::Fed,
        Stored {
            may_have_started: true,
            ..
        } => RequestState::Started,
        _ => RequestState::Waiting,
    }
}

/// The hooks of one asynchronous run.
pub(crate) struct KeptRun<'a> {
    pub(crate) keeper: &'a RecordKeeper,
    pub(crate) entry: &'a Entry,
}

impl RunHooks for KeptRun<'_> {
    /// Makes sure that no server ever starts this run again.
    fn before_start(&self) -> Result<(), Error> {
        self.keeper.mark_started(self.entry)
    }

    fn stdin_delivered(&self) {
        self.keeper.mark_fed(self.entry);
    }

    fn container_started(&self, at: Moment) {
        // The engine's clock may differ from ours.
        let at = at.min(Moment::now()).max(self.entry.created);
        self.entry.set_started(Some(at));
    }

    fn container_ended(&self, times: &ContainerTimes) {
        let started = self.entry.started().unwrap_or(times.started);
        let finished = times.finished.min(Moment::now()).max(started);
        self.entry.set_finished(finished);
    }

    fn keep_outcome(&self, result: &RunResult) {
        self.keeper.save_outcome(self.entry, Ok(result));
    }
}
