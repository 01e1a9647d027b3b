//! Asynchronous runs: every operation on them. A run is accepted once it is stored, and listed and queued before its caller hears
//! of it.

use crate::cancel::Cancel;
use crate::docker;
use crate::runner::changes::Changes;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::owners::Unheard;
use crate::runner::error::Error;
use crate::runner::jobs::adopt::{Adopter, OtherServers};
use crate::runner::jobs::digest::digest;
use crate::runner::jobs::entry::{Entry, Phase, RunState, RunStates};
use crate::runner::jobs::heal::Healer;
use crate::runner::jobs::journal::Journal;
use crate::runner::jobs::logs::{LogQuery, RunEvents, RunLogs};
use crate::runner::jobs::record::{IdempotencyKey, RunFacts};
use crate::runner::jobs::record_keeper::{Persistence, RecordKeeper, RecordStore, StrippedRequest};
use crate::runner::jobs::registry::{Place, Registry, Retention};
use crate::runner::jobs::scheduler::Scheduler;
use crate::runner::jobs::unadopted::{Unadopted, elsewhere, not_known_yet};
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::admission::Admission;
use crate::runner::run::archive_checks::ArchiveChecks;
use crate::runner::run::lifecycle::Executor;
use crate::runner::takeover::lead::Succession;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The asynchronous runs of one server.
pub(crate) struct Jobs {
    policy: Arc<Policy>,
    archive_checks: ArchiveChecks,
    active: Active,
    admission: Admission,
    registry: Arc<Registry>,
    keeper: Arc<RecordKeeper>,
    scheduler: Arc<Scheduler>,
    adopter: Adopter,
    accepting: Mutex<()>,
    stop: Cancel,
}

/// How asynchronous runs are kept.
pub(crate) struct JobSettings {
    pub(crate) retention: Retention,
    pub(crate) persistence: Persistence,
    /// Longest record of a request or a result.
    pub(crate) max_record_bytes: u64,
    pub(crate) policy: Arc<Policy>,
    pub(crate) archive_checks: ArchiveChecks,
    /// Where changes of runs are noted.
    pub(crate) changes: Changes,
}

/// How long a caller waits for a run of an earlier server to be adopted. With an engine that answers, it takes milliseconds.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(2);

impl Jobs {
    /// Starts the scheduler. Errors: no thread.
    pub(crate) fn start(settings: JobSettings, executor: &Executor) -> std::io::Result<Self> {
        let stop = Cancel::new();
        let policy = settings.policy;
        let registry = Arc::new(Registry::new(settings.retention, settings.changes));
        let store = RecordStore {
            persistence: settings.persistence,
            engine: executor.engine.clone(),
            journal: Journal::new(executor.engine.clone(), executor.active.clone()),
            limit_bytes: settings.max_record_bytes,
        };
        let keeper = Arc::new(RecordKeeper::new(store, registry.clone(), policy.clone()));
        let scheduler = Scheduler::start(executor.clone(), keeper.clone(), stop.clone())?;
        Healer::start(&executor.engine, &keeper, &stop)?;
        let unadopted = Arc::new(match settings.persistence {
            Persistence::Engine => Unadopted::not_asked_yet(ADOPTION_PATIENCE),
            Persistence::Process => Unadopted::none(),
        });
        let adopter = Adopter {
            unadopted,
            engine: executor.engine.clone(),
            active: executor.active.clone(),
            admission: executor.admission.clone(),
            registry: registry.clone(),
            keeper: keeper.clone(),
            scheduler: scheduler.clone(),
            max_output_bytes: policy.max_output_bytes,
            stop: stop.clone(),
            succession: Succession::new(executor.engine.clone(), executor.active.clone()),
        };
        Ok(Self {
            policy,
            archive_checks: settings.archive_checks,
            active: executor.active.clone(),
            admission: executor.admission.clone(),
            registry,
            keeper,
            scheduler,
            adopter,
            accepting: Mutex::default(),
            stop,
        })
    }

    /// Adopts the runs of dead predecessors that no earlier call has adopted. Processes in `unheard` count as dead.
    pub(crate) fn adopt(&self, unheard: &Unheard) -> Result<OtherServers, docker::Error> {
        match self.keeper.persistence() {
            Persistence::Engine => self.adopter.adopt(unheard),
            Persistence::Process => Ok(OtherServers::default()),
        }
    }

    /// Says that everything is adopted that can be adopted now: who has not, was asked, and lives.
    pub(crate) fn set_adopted(&self) {
        self.adopter.unadopted.settle();
    }

    /// Accepts a run. The same `key` with the same request gives the same run. `cancel` ends the check of its archives. Errors:
    /// an invalid or forbidden request, too many runs, a key that was used with another request, or one that a run may have that
    /// is not known yet.
    pub(crate) fn submit(
        &self,
        request: Value,
        profile: ApiProfile,
        key: Option<&str>,
        cancel: &Cancel,
    ) -> Result<RunState, Error> {
        let mut stripped = strip_credentials(request.clone(), profile);
        let key = key.map(|name| IdempotencyKey {
            name: name.to_owned(),
            digest: digest(&stripped.request),
        });
        let spec = RunSpec::from_json(request, profile, &self.policy)?;
        if let Some(members) = stripped.request.as_object_mut() {
            members.insert("pull_policy".into(), spec.pull_policy.word().into());
        }
        stripped.had_auth = spec.auth.is_some();
        // Asked before the registry: an adopted run is there before it is no longer unadopted.
        let may_be_unadopted = key.is_some() && self.adopter.unadopted.may_be_some();
        if let Place::Known(entry) = self.registry.enter(key.as_ref())? {
            return Ok(entry.state());
        }
        if may_be_unadopted {
            self.registry.reject(key.as_ref());
            return Err(not_known_yet());
        }
        let facts = RunFacts::new(&spec, key.as_ref());
        let held = self.active.hold(spec.id());
        let entry = Arc::new(Entry::new(held, facts, log_bytes(&spec)));
        // Before it is accepted, so that the caller hears of a fault at once.
        self.archive_checks
            .check(&spec, cancel)
            .and_then(|()| self.keeper.save_request(&entry, spec, stripped))
            .inspect_err(|_| self.registry.reject(key.as_ref()))?;
        self.accept(&entry, key);
        Ok(entry.state())
    }

    /// Lists and queues a run, one at a time, so that the registry and the queue have the same order.
    fn accept(&self, entry: &Arc<Entry>, key: Option<IdempotencyKey>) {
        let _one = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.registry.accept(entry.clone(), key);
        self.scheduler.enqueue(entry.clone());
    }

    /// State and result of one run.
    pub(crate) fn state(&self, id: &str) -> Result<RunState, Error> {
        Ok(self.entry(id)?.state())
    }

    /// Blocks until the run has finished, the deadline has passed or `stop` fires. Returns the state then.
    pub(crate) fn wait(
        &self,
        id: &str,
        deadline: Option<Instant>,
        stop: &Cancel,
    ) -> Result<RunState, Error> {
        let entry = self.entry(id)?;
        entry.log.wait(deadline, stop);
        Ok(entry.state())
    }

    /// Cancels a run that waits or runs. Does not wait for its end. A finished run stays as it is. Error: the run goes on,
    /// because the engine cannot store that it is cancelled, so that a later server would let it go on.
    pub(crate) fn cancel(&self, id: &str) -> Result<RunState, Error> {
        let entry = self.entry(id)?;
        if entry.log.outcome().is_none() {
            match self.keeper.mark_cancelled(&entry) {
                Ok(()) => {}
                // It may store it later, and a later server would then act on it.
                Err(error @ docker::Error::TimedOut { .. }) => {
                    self.scheduler.cancel(&entry);
                    let unsure = "the run is being cancelled, but that is not stored for certain, so that it may go on after a restart";
                    return Err(because(unsure, error.into()));
                }
                Err(error) => return Err(because("the run is not cancelled", error.into())),
            }
        }
        self.scheduler.cancel(&entry);
        Ok(entry.state())
    }

    /// Forgets a finished run, and returns its last state. `None`: it has not finished. Error: the run is still known, because
    /// the engine cannot remove what it stores of it.
    pub(crate) fn forget(&self, id: &str) -> Result<Option<RunState>, Error> {
        let entry = self.entry(id)?;
        let state = entry.state();
        if state.outcome.is_none() {
            return Ok(None);
        }
        let deleted = self.keeper.delete_records(&entry);
        deleted.map_err(|error| because("the run is not deleted", error))?;
        self.registry.forget(id);
        Ok(Some(state))
    }

    /// Runs of one phase or of all, newest first. Error: those of an earlier server are not all known yet.
    pub(crate) fn list(&self, phase: Option<Phase>, limit: usize) -> Result<RunStates, Error> {
        // Asked before the registry: an adopted run is there before it is no longer unadopted.
        let are_all_known = self.adopter.unadopted.are_all_known()?;
        let entries = self.registry.list();
        let states = entries.iter().map(|entry| entry.state());
        let mut states = states.filter(|state| phase.is_none_or(|phase| state.phase == phase));
        let states_within_limit = states.by_ref().take(limit).collect();
        Ok(RunStates {
            states: states_within_limit,
            is_complete: are_all_known && states.next().is_none(),
        })
    }

    /// The states of runs behind `last` in the order of a list, or from its start: those that are known just now.
    pub(crate) fn page(&self, last: Option<&RunState>, limit: usize) -> Vec<RunState> {
        let entries = self.registry.list().into_iter();
        let is_behind = |entry: &Arc<Entry>| {
            last.is_none_or(|last| (entry.facts.order, &entry.id) < (last.order, &last.id))
        };
        let page = entries.filter(is_behind).take(limit);
        page.map(|entry| entry.state()).collect()
    }

    /// The state of a run that is known just now.
    pub(crate) fn known(&self, id: &str) -> Option<RunState> {
        Some(self.registry.get(id)?.state())
    }

    /// A reader of the run's events.
    pub(crate) fn events(&self, id: &str, cursor: Option<&str>) -> Result<RunEvents, Error> {
        Ok(RunEvents::new(self.entry(id)?, cursor))
    }

    /// A page of the run's output.
    pub(crate) fn logs(&self, id: &str, query: &LogQuery<'_>) -> Result<RunLogs, Error> {
        query.check()?;
        Ok(RunLogs::read(self.entry(id)?, query))
    }

    /// Cancels all runs that nothing outlives. Does not wait for their end.
    pub(crate) fn cancel_all(&self) {
        if self.keeper.persistence() == Persistence::Process {
            for entry in self.registry.list() {
                self.scheduler.cancel(&entry);
            }
        }
    }

    /// Stops the scheduler. Runs that nothing outlives are cancelled first, and waited for until `deadline`.
    pub(crate) fn close(&self, deadline: Instant) {
        if self.keeper.persistence() == Persistence::Process {
            self.cancel_all();
            match self.registry.settle(deadline) {
                0 => {}
                left => log::warn!(
                    "{left} detached runs were still in progress at the end of the grace period"
                ),
            }
        }
        // Before the dispatcher stops: a slot that is offered to a closed queue would be offered to the next run, and so on.
        self.admission.close();
        self.stop.fire();
    }

    /// Lets another server adopt what this one has adopted. To be called when nothing adopts any more.
    pub(crate) fn give_up_lead(&self) {
        self.adopter.succession.give_up();
    }

    fn entry(&self, id: &str) -> Result<Arc<Entry>, Error> {
        // Asked before the registry: an adopted run is there before it is no longer unadopted.
        let may_be_unadopted = self.adopter.unadopted.may_contain(id);
        if let Some(entry) = self.registry.get(id) {
            return Ok(entry);
        }
        if may_be_unadopted {
            return Err(not_known_yet());
        }
        let why = self.adopter.unadopted.why(id);
        let why = why.or_else(|| self.adopter.is_elsewhere(id).then(elsewhere));
        Err(why.unwrap_or_else(|| Error::NotFound {
            code: "run_not_found",
            detail: "there is no such run, or its result is not kept any more".into(),
        }))
    }
}

/// The same error, with what follows from it.
fn because(consequence: &str, error: Error) -> Error {
    match error {
        Error::EngineUnreachable(detail) => {
            Error::EngineUnreachable(format!("{consequence}, because {detail}"))
        }
        other => Error::Engine(format!("{consequence}, because {other}")),
    }
}

fn strip_credentials(mut request: Value, profile: ApiProfile) -> StrippedRequest {
    let had_auth = request
        .as_object_mut()
        .is_some_and(|members| members.remove("auth_config").is_some());
    StrippedRequest {
        request,
        spelling: profile.spelling,
        had_auth,
    }
}

/// Bytes of events that are kept of a run: its output, and room for pulls and the like.
fn log_bytes(spec: &RunSpec) -> u64 {
    2 * spec.output_bytes + (1 << 20)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::docker::{Client, Host};
    use crate::memory::MemoryBudget;
    use crate::process_identity::ProcessIdentity;
    use crate::runner::cleanup::engine::Engine;
    use crate::runner::cleanup::labels::Identity;
    use crate::runner::cleanup::removal::Removal;
    use crate::runner::init::choice::InitMode;
    use crate::runner::init::delivery::InitDelivery;
    use crate::runner::request::lenient::Spelling;
    use crate::runner::request::types::PullPolicy;
    use crate::runner::run::pull::Images;
    use crate::runner::run::user::UserCache;
    use serde_json::json;

    const PROFILE: ApiProfile = ApiProfile {
        root: "body",
        pull_policy: PullPolicy::Never,
        spelling: Spelling::Exact,
    };

    /// An executor that never calls its engine: there is none.
    fn executor_without_engine() -> Executor {
        let host = Host::Unix("/nonexistent/engine.sock".into());
        let client = Client::new(host, None).unwrap();
        let engine = Engine {
            removal: Removal::start(&client, 1).unwrap(),
            identity: Identity {
                instance: "idle".into(),
                owner: ProcessIdentity::current(),
            },
            client: client.clone(),
        };
        let init = InitDelivery::new(engine.clone(), Active::default(), InitMode::Off);
        Executor {
            engine,
            admission: Admission::new(1, 0),
            active: Active::default(),
            images: Images::new(client, Duration::ZERO),
            users: UserCache::default(),
            memory: MemoryBudget::new(1 << 20),
            init,
            warm: Default::default(),
        }
    }

    fn jobs_in_memory(executor: &Executor) -> Jobs {
        let settings = JobSettings {
            retention: Retention {
                result_ttl: Duration::from_secs(60),
                max_result_bytes: 1 << 20,
                max_runs: 10,
            },
            persistence: Persistence::Process,
            max_record_bytes: 1 << 20,
            policy: Arc::default(),
            archive_checks: ArchiveChecks::new(1),
            changes: Changes::default(),
        };
        Jobs::start(settings, executor).unwrap()
    }

    fn assert_closes_clean(jobs: &Jobs, executor: &Executor) {
        jobs.close(Instant::now());
        assert_eq!(executor.engine.removal.finish(Instant::now()), 0);
        assert_eq!(executor.active.count_unheld(), 0);
    }

    #[test]
    fn a_finished_run_keeps_neither_its_request_nor_its_credentials() {
        let executor = executor_without_engine();
        let jobs = jobs_in_memory(&executor);
        let _other_run = executor.admission.enter_anyway();
        let auth = json!({"username": "me", "password": "secret"});
        let request = json!({"image": "x", "stdin": "much", "auth_config": auth});
        let id = jobs
            .submit(request, PROFILE, None, &Cancel::new())
            .unwrap()
            .id;
        let entry = jobs.entry(&id).unwrap();
        let auth = entry.stored().spec.as_mut().unwrap().auth.take();
        // If the engine stores the request, this alone is in memory.
        entry.stored().auth = auth;
        jobs.cancel(&id).unwrap();
        assert!(entry.stored().spec.is_none());
        assert!(entry.stored().auth.is_none());
        assert_closes_clean(&jobs, &executor);
    }

    #[test]
    fn a_run_cancelled_before_it_was_queued_does_not_wait_for_a_slot() {
        let executor = executor_without_engine();
        let jobs = jobs_in_memory(&executor);
        let _other_run = executor.admission.enter_anyway();
        let spec = RunSpec::from_json(json!({"image": "x"}), PROFILE, &jobs.policy).unwrap();
        jobs.registry.enter_anyway();
        let held = executor.active.hold(spec.id());
        let entry = Arc::new(Entry::new(held, RunFacts::new(&spec, None), 1000));
        jobs.registry.accept(entry.clone(), None);
        jobs.cancel(&entry.id).unwrap();
        jobs.scheduler.enqueue(entry.clone());
        assert_eq!(entry.state().phase, Phase::Finished);
        assert_eq!(executor.admission.occupancy(), (0, 0));
        assert_closes_clean(&jobs, &executor);
    }

    fn some_key() -> IdempotencyKey {
        IdempotencyKey {
            name: "k".into(),
            digest: 1,
        }
    }

    fn run_of(place: Place) -> Option<String> {
        match place {
            Place::New => None,
            Place::Known(entry) => Some(entry.id.clone()),
        }
    }

    #[test]
    fn a_key_means_the_run_that_was_accepted_last_with_it_in_whatever_order_runs_are_adopted() {
        let executor = executor_without_engine();
        let jobs = jobs_in_memory(&executor);
        let _other_run = executor.admission.enter_anyway();
        let key = some_key();
        let spec = || RunSpec::from_json(json!({"image": "x"}), PROFILE, &jobs.policy).unwrap();
        let [older, newer] = [1, 2].map(|order| {
            let spec = spec();
            let held = executor.active.hold(spec.id());
            let facts = RunFacts {
                order,
                ..RunFacts::new(&spec, Some(&key))
            };
            Arc::new(Entry::new(held, facts, 1000))
        });
        for entries in [[&newer, &older], [&older, &newer]] {
            for entry in entries {
                jobs.registry.enter_anyway();
                jobs.registry.adopt(entry.clone(), entry.facts.key());
            }
            let known = run_of(jobs.registry.enter(Some(&key)).unwrap());
            assert_eq!(known, Some(newer.id.clone()));
        }
        for entry in [&older, &newer] {
            jobs.cancel(&entry.id).unwrap();
        }
        assert_closes_clean(&jobs, &executor);
    }

    #[test]
    fn a_request_that_is_refused_takes_no_key_from_a_run_that_was_adopted_meanwhile() {
        let executor = executor_without_engine();
        let jobs = jobs_in_memory(&executor);
        let _other_run = executor.admission.enter_anyway();
        let key = some_key();
        assert_eq!(run_of(jobs.registry.enter(Some(&key)).unwrap()), None);
        let spec = RunSpec::from_json(json!({"image": "x"}), PROFILE, &jobs.policy).unwrap();
        let held = executor.active.hold(spec.id());
        let entry = Arc::new(Entry::new(held, RunFacts::new(&spec, Some(&key)), 1000));
        jobs.registry.enter_anyway();
        jobs.registry.adopt(entry.clone(), entry.facts.key());
        jobs.registry.reject(Some(&key));
        let known = run_of(jobs.registry.enter(Some(&key)).unwrap());
        assert_eq!(known, Some(entry.id.clone()));
        jobs.cancel(&entry.id).unwrap();
        assert_closes_clean(&jobs, &executor);
    }
}
