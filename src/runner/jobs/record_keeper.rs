//! Keeps of each asynchronous run what a later attempt or the next server needs, in the engine or, if nothing outlives this
//! process, in memory; and keeps the registry in step with it.

use crate::runner::cleanup::labels::Role;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::entry::Entry;
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunTimes};
use crate::runner::jobs::registry::Registry;
use crate::runner::jobs::store::{LoadError, Mark, Store, result_name};
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use crate::runner::run::context::{ContainerTimes, RunHooks};
use crate::runner::run::result::RunResult;
use crate::runner::semaphore::Semaphore;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

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
}

/// A request without its credentials.
pub(crate) struct StrippedRequest {
    pub(crate) request: Value,
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

    /// Direct access to the records, for adoption.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Stores the request; if that is in the engine, the run survives this process from here on. Errors: the engine failed, or
    /// was too slow to store those that came before.
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
            facts: entry.facts.clone(),
            had_auth: stripped.had_auth,
        };
        let container = {
            // Bounds what these calls take of the engine and of our memory, whatever the number of requests.
            let permit = self.storing.acquire(STORING_PATIENCE);
            let slow = "the engine is slow to take new runs; try again later";
            let _permit = permit.ok_or_else(|| Error::Overloaded(slow.into()))?;
            self.store.save(&entry.id, Role::Request, &record)?
        };
        let mut stored = entry.stored();
        stored.request = Some(container);
        stored.auth = spec.auth.take();
        Ok(())
    }

    /// Loads the run as it was asked for. From memory this works once; from the engine, any number of times.
    pub(crate) fn load_run(&self, entry: &Entry) -> Result<LoadedRun, Error> {
        if let Some(spec) = entry.stored().spec.take() {
            return Ok(LoadedRun {
                spec: *spec,
                lacks_auth: false,
            });
        }
        let gone = || Error::Engine("the request that the engine kept is gone".into());
        let (container, auth) = {
            let stored = entry.stored();
            let container = stored.request.clone();
            (container.ok_or_else(gone)?, stored.auth.clone())
        };
        let loaded = self.store.load(&container);
        let record: RequestRecord = loaded.map_err(|error| match error {
            LoadError::Absent => gone(),
            LoadError::Unreadable(why) => Error::Engine(format!(
                "the request that the engine kept cannot be read: {why}"
            )),
            LoadError::Engine(error) => error.into(),
        })?;
        let profile = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Always,
        };
        let mut spec = RunSpec::from_json(record.request, profile, &self.policy)?;
        spec.id = entry.id.clone();
        spec.is_detached = true;
        let lacks_auth = record.had_auth && auth.is_none();
        spec.auth = auth;
        Ok(LoadedRun { spec, lacks_auth })
    }

    /// Stores the outcome, then publishes it: a caller that has seen an outcome must still find it after a restart.
    pub(crate) fn finish(&self, entry: &Entry, outcome: Outcome) {
        self.save_outcome(entry, outcome.as_ref());
        entry.stored().forget_request();
        let forgotten = self.registry.finish(entry, outcome, Moment::now());
        self.remove_records(forgotten);
    }

    /// Stores the outcome in the place of the request, unless that was done before. A failure is logged.
    pub(crate) fn save_outcome(&self, entry: &Entry, outcome: Result<&RunResult, &Error>) {
        if self.persistence == Persistence::Process || entry.stored().outcome.is_some() {
            return;
        }
        let now = Moment::now();
        let times = RunTimes {
            started: entry.started(),
            finished: entry.set_finished(now),
            kept: entry.set_kept(now),
        };
        // The record is a copy, as a value and as text.
        let result_memory = outcome.ok().and_then(|result| result.memory.as_ref());
        let _record_memory = result_memory.map(|result| {
            let record = result.another();
            record.grow_anyway(2 * result.bytes());
            record
        });
        let record = OutcomeRecord::new(entry.facts.clone(), &times, outcome);
        match self.store.save(&entry.id, Role::Result, &record) {
            Ok(container) => self.outcome_replaces_request(entry, container),
            Err(error) => log::warn!("the outcome of run {} is only in memory: {error}", entry.id),
        }
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
        self.remove_records(self.registry.expire(Moment::now()));
    }

    /// Removes the records of runs that the registry has forgotten.
    pub(crate) fn remove_records(&self, forgotten: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in forgotten {
            let stored = entry.stored();
            for container in [&stored.request, &stored.outcome].into_iter().flatten() {
                self.store.remove(container);
            }
        }
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
        let mut stored = self.entry.stored();
        if let Some(request) = stored.request.as_ref().filter(|_| !stored.may_have_started) {
            self.keeper
                .store
                .mark(&self.entry.id, request, Mark::Started)?;
            stored.may_have_started = true;
        }
        Ok(())
    }

    fn stdin_delivered(&self) {
        let Some(request) = self.entry.stored().request.clone() else {
            return;
        };
        let id = &self.entry.id;
        if let Err(error) = self.keeper.store.mark(id, &request, Mark::Fed) {
            log::warn!("after a restart, run {id} would end with stdin_lost: {error}");
        }
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
