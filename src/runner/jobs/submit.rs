//! Runs whose callers do not wait: accepted into the queue that all runs share, run when it is their turn, and
//! remembered for a while. However many wait, no thread waits with them.

use crate::cancel::Cancel;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::facade::Inner;
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::registry::{Entry, Key, Persistence, Phase, Place, RunState};
use crate::runner::jobs::store::{self, Ended, Facts};
use crate::runner::run::admission::Slot;
use crate::runner::{ApiProfile, Error, Event, PullPolicy, RunResult, RunSpec, Runner};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// A run whose turn it is.
pub(crate) struct Turn {
    pub(crate) entry: Arc<Entry>,
    pub(crate) slot: Slot,
}

/// How often results are looked at whose time may be over.
const TICK: Duration = Duration::from_millis(500);
/// How long nothing is started after a thread was not to be had.
const NO_THREAD_PAUSE: Duration = Duration::from_millis(100);
/// How long a request waits to be handed to the engine: as long as the engine may then take for it.
const RECORDING_PATIENCE: Duration = Duration::from_secs(30);
/// How long a run waits that cannot begin because the engine is away.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);

impl Runner {
    /// Accepts a run (see [`Runner::check`]) that goes on whoever listens. The same `key` with the same request gives
    /// the same run. Errors: as `check`, too many runs, or a key that was used with another request.
    pub fn submit(
        &self,
        request: Value,
        front: ApiProfile,
        key: Option<&str>,
    ) -> Result<RunState, Error> {
        let inner = self.inner();
        let mut kept = request.clone();
        let had_auth = kept
            .as_object_mut()
            .is_some_and(|members| members.remove("auth_config").is_some());
        let key = key.map(|name| Key {
            name: name.to_owned(),
            digest: digest(&kept),
        });
        let spec = self.check(request, front)?;
        if let Some(members) = kept.as_object_mut() {
            members.insert("pull_policy".into(), spec.pull_policy.word().into());
        }
        if let Place::Known(entry) = inner.registry.enter(key.as_ref())? {
            return Ok(entry.state());
        }
        let facts = Facts::new(&spec, key.as_ref());
        let held = inner.active.hold(spec.id());
        let entry = Arc::new(Entry::new(held, facts, log_bytes(&spec)));
        let kept = inner.keep_request(&entry, spec, (kept, had_auth));
        kept.inspect_err(|_| inner.registry.reject(key.as_ref()))?;
        {
            // One after the other, so that the list and the queue have one order.
            let _one = inner
                .accepting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            inner.registry.accept(entry.clone(), key);
            inner.enqueue(entry.clone());
        }
        Ok(entry.state())
    }

    /// How a detached run stands.
    pub fn run_state(&self, id: &str) -> Result<RunState, Error> {
        Ok(self.inner().entry(id)?.state())
    }

    /// How it stands once it has finished, or `timeout` is over, or `stop` has fired. `None`: no limit.
    pub fn run_wait(
        &self,
        id: &str,
        timeout: Option<Duration>,
        stop: &Cancel,
    ) -> Result<RunState, Error> {
        let entry = self.inner().entry(id)?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        entry.log.wait(deadline, stop);
        Ok(entry.state())
    }

    /// Cancels a run that waits or goes on, which may take a moment; what it printed is kept. One that has finished stays
    /// as it is.
    pub fn run_cancel(&self, id: &str) -> Result<RunState, Error> {
        let inner = self.inner();
        let entry = inner.entry(id)?;
        inner.cancel(&entry);
        Ok(entry.state())
    }

    /// Forgets a run that has finished; gives how it stood. `None`: it has not finished.
    pub fn run_forget(&self, id: &str) -> Result<Option<RunState>, Error> {
        let inner = self.inner();
        let state = inner.entry(id)?.state();
        if state.outcome.is_none() {
            return Ok(None);
        }
        inner.discard_outcomes(inner.registry.forget(id));
        Ok(Some(state))
    }

    /// Detached runs, newest first, of one phase or of all.
    pub fn run_list(&self, phase: Option<Phase>, limit: usize) -> Vec<RunState> {
        let entries = self.inner().registry.list();
        let states = entries.iter().map(|entry| entry.state());
        states
            .filter(|state| phase.is_none_or(|phase| state.phase == phase))
            .take(limit)
            .collect()
    }
}

/// How many bytes of events are kept of a run: its output's, and what pulls and the like take up.
pub(crate) fn log_bytes(spec: &RunSpec) -> u64 {
    2 * spec.output_bytes + (1 << 20)
}

/// Tells requests apart.
fn digest(request: &Value) -> u128 {
    let text = request.to_string();
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, &text).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

impl Inner {
    pub(crate) fn entry(&self, id: &str) -> Result<Arc<Entry>, Error> {
        self.registry
            .get(id)
            .ok_or_else(|| match self.is_adopted() {
                true => Error::NotFound {
                    code: "run_not_found",
                    detail: "there is no such run, or its result is not kept any more".into(),
                },
                false => Error::EngineUnreachable(
                    "the runs of before are known once the engine can be reached".into(),
                ),
            })
    }

    /// From here on the run survives this process, if anything does.
    fn keep_request(
        &self,
        entry: &Entry,
        mut spec: RunSpec,
        (request, had_auth): (Value, bool),
    ) -> Result<(), Error> {
        if self.lifetime == Persistence::Process {
            entry.kept().spec = Some(Box::new(spec));
            return Ok(());
        }
        let record = store::Request {
            request,
            facts: entry.facts.clone(),
            had_auth,
        };
        let recorded = {
            // However many ask at once, the engine and our memory hold only so many of these calls.
            let room = self.recording.enter(RECORDING_PATIENCE);
            let slow = "the engine is slow to take new runs; try again later";
            let _room = room.ok_or_else(|| Error::Overloaded(slow.into()))?;
            self.stage.keep(&entry.id, Role::Request, &record)?
        };
        let mut kept = entry.kept();
        kept.request = Some(recorded);
        kept.auth = spec.auth.take();
        Ok(())
    }

    fn cancel(&self, entry: &Entry) {
        entry.cancel.fire();
        if entry
            .ticket()
            .is_some_and(|ticket| self.admission.leave(ticket))
        {
            let result = self.cancelled(entry.id.clone(), entry.accepted);
            self.finish(entry, Ok(result));
        }
    }

    /// Cancels every run, and waits until all have finished.
    pub(crate) fn end_detached(&self, deadline: Instant) {
        for entry in self.registry.list() {
            self.cancel(&entry);
        }
        match self.registry.settle(deadline) {
            0 => {}
            left => log::warn!("{left} detached runs did not end in time"),
        }
    }

    pub(crate) fn enqueue(&self, entry: Arc<Entry>) {
        let (turns, waiting) = (self.turns.clone(), entry.clone());
        let turn = move |slot| {
            let entry = waiting;
            let _ = turns.send(Box::new(Turn { entry, slot }));
        };
        self.admission
            .enter_later(Box::new(turn), &|ticket, position| {
                entry.set_ticket(ticket);
                entry.log.push(Event::Queued { position });
            });
        if entry.cancel.is_fired() {
            // Who cancelled it may not have seen the place that it has now.
            self.cancel(&entry);
        }
    }

    /// The engine's memory first: whoever hears of the outcome must still hear of it after a restart.
    pub(crate) fn finish(&self, entry: &Entry, outcome: Outcome) {
        self.keep_outcome(entry, outcome.as_ref());
        entry.kept().forget_request();
        let gone = self.registry.finish(entry, outcome, Moment::now());
        self.discard_outcomes(gone);
    }

    /// Puts the outcome in the place of the request.
    pub(crate) fn keep_outcome(&self, entry: &Entry, outcome: Result<&RunResult, &Error>) {
        if self.lifetime == Persistence::Process || entry.kept().outcome.is_some() {
            return;
        }
        let times = (entry.started(), entry.set_finished(Moment::now()));
        let ended = Ended::new(entry.facts.clone(), times, outcome);
        match self.stage.keep(&entry.id, Role::Result, &ended) {
            Ok(record) => {
                let mut kept = entry.kept();
                kept.outcome = Some(record);
                if let Some(request) = kept.request.take() {
                    self.stage.discard(&request);
                }
            }
            Err(error) => log::warn!("the outcome of run {} is only in memory: {error}", entry.id),
        }
    }

    pub(crate) fn discard_outcomes(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in entries {
            let kept = entry.kept();
            for record in [&kept.request, &kept.outcome].into_iter().flatten() {
                self.stage.discard(record);
            }
        }
    }

    /// What makes sure that no server ever starts a run that may have been started.
    pub(crate) fn before_start(&self, entry: &Entry) -> Result<(), Error> {
        let mut kept = entry.kept();
        if let Some(request) = kept.request.as_ref().filter(|_| !kept.may_have_started) {
            self.stage.mark_started(&entry.id, request)?;
            kept.may_have_started = true;
        }
        Ok(())
    }

    /// The run as it was asked for, from the engine's memory: what waits takes up no other.
    pub(crate) fn recall(&self, entry: &Entry) -> Result<(RunSpec, bool), Error> {
        if let Some(spec) = entry.kept().spec.take() {
            return Ok((*spec, false));
        }
        let broken = || Error::Engine("the request that the engine kept is gone".into());
        let (container, auth) = {
            let kept = entry.kept();
            (kept.request.clone().ok_or_else(broken)?, kept.auth.clone())
        };
        let record: store::Request = self.stage.recall(&container)?.ok_or_else(broken)?;
        let front = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Always,
        };
        let mut spec = RunSpec::from_json(record.request, front, &self.policy)?;
        spec.id = entry.id.clone();
        spec.is_detached = true;
        let lacks_auth = record.had_auth && auth.is_none();
        spec.auth = auth;
        Ok((spec, lacks_auth))
    }

    pub(crate) fn take_turn(&self, turn: Turn) {
        let Turn { entry, slot } = turn;
        let outcome = loop {
            if entry.cancel.is_fired() {
                break Ok(self.cancelled(entry.id.clone(), entry.accepted));
            }
            let outcome = self.attempt(&entry);
            let unreachable = matches!(outcome, Err(Error::EngineUnreachable(_)));
            let is_gone = self.lifetime == Persistence::Process;
            if !unreachable
                || is_gone
                || entry.kept().may_have_started
                || entry.cancel.wait(ENGINE_PAUSE)
            {
                break outcome;
            }
            entry.kept().has_remains = true;
        };
        self.finish(&entry, outcome);
        drop(slot);
    }

    fn attempt(&self, entry: &Entry) -> Outcome {
        let (spec, lacks_auth) = self.recall(entry)?;
        if entry.kept().has_remains {
            // None of these has been started: the request's name says so.
            let names = ["", "-stage", "-user"].map(|name| format!("oneoff-{}{name}", entry.id));
            if !self
                .removal
                .remove_all(&names.map(Object::Container), &entry.cancel)
            {
                return Ok(self.cancelled(entry.id.clone(), entry.accepted));
            }
        }
        let outcome = self.execute_detached(spec, entry);
        match outcome {
            Err(Error::RegistryDenied(words) | Error::ImageNotFound(words)) if lacks_auth => {
                Err(Error::RegistryDenied(format!(
                    "{words} (the credentials of this run were not kept over a restart of the server)"
                )))
            }
            other => other,
        }
    }
}

/// Starts what gives detached runs their turns. It ends when `stop` fires.
pub(crate) fn dispatch(
    inner: &Arc<Inner>,
    turns: Receiver<Box<Turn>>,
    stop: Cancel,
) -> std::io::Result<()> {
    let inner = Arc::downgrade(inner);
    let rounds = move || {
        while !stop.is_fired() {
            let turn = turns.recv_timeout(TICK);
            let Some(inner) = inner.upgrade() else {
                return;
            };
            match turn {
                Ok(turn) if !stop.is_fired() => start(&inner, *turn),
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            inner.discard_outcomes(inner.registry.expire(Moment::now()));
        }
    };
    Builder::new()
        .name("dispatch".into())
        .stack_size(256 * 1024)
        .spawn(rounds)
        .map(drop)
}

fn start(inner: &Arc<Inner>, turn: Turn) {
    let (hand_over, taken) = crossbeam_channel::bounded::<Turn>(1);
    let _ = hand_over.send(turn);
    loop {
        let (inner, taken) = (inner.clone(), taken.clone());
        let run = move || {
            if let Ok(turn) = taken.recv() {
                inner.take_turn(turn);
            }
        };
        match Builder::new().name("run".into()).spawn(run) {
            Ok(_) => return,
            Err(error) => {
                log::warn!("no thread for a run yet: {error}");
                std::thread::sleep(NO_THREAD_PAUSE);
            }
        }
    }
}

/// The queue between admission and [`dispatch`].
pub(crate) fn turns() -> (Sender<Box<Turn>>, Receiver<Box<Turn>>) {
    unbounded()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::docker::{Client, Host};
    use crate::runner::{Policy, Retention, Settings};
    use serde_json::json;

    const FRONT: ApiProfile = ApiProfile {
        root: "body",
        pull_policy: PullPolicy::Never,
    };

    /// A runner of which nobody asks the engine anything: there is none.
    fn idle_runner() -> Runner {
        let settings = Settings {
            instance: "idle".into(),
            max_concurrent_runs: 1,
            queue_length: 0,
            pull_timeout: Duration::ZERO,
            keeping: Retention {
                result_ttl: Duration::from_secs(60),
                max_result_bytes: 1 << 20,
                max_runs: 10,
            },
            lifetime: Persistence::Process,
            policy: Policy::default(),
        };
        let engine = Host::Unix("/nonexistent/engine.sock".into());
        Runner::new(settings, Client::new(engine, None).unwrap()).unwrap()
    }

    #[test]
    fn a_run_that_is_over_keeps_neither_its_request_nor_its_credentials() {
        let runner = idle_runner();
        let inner = runner.inner();
        let _others = inner.admission.enter_anyway();
        let auth = json!({"username": "me", "password": "secret"});
        let request = json!({"image": "x", "stdin": "much", "auth_config": auth});
        let id = runner.submit(request, FRONT, None).unwrap().id;
        let entry = inner.entry(&id).unwrap();
        let auth = entry.kept().spec.as_mut().unwrap().auth.take();
        // Where the engine keeps the request, this alone is here.
        entry.kept().auth = auth;
        runner.run_cancel(&id).unwrap();
        assert!(entry.kept().spec.is_none());
        assert!(entry.kept().auth.is_none());
        assert_eq!(runner.close(Instant::now()), 0);
    }

    #[test]
    fn one_that_was_cancelled_before_it_had_a_place_does_not_wait_for_its_turn() {
        let runner = idle_runner();
        let inner = runner.inner();
        let _others = inner.admission.enter_anyway();
        let spec = runner.check(json!({"image": "x"}), FRONT).unwrap();
        inner.registry.enter_anyway();
        let held = inner.active.hold(spec.id());
        let entry = Arc::new(Entry::new(held, Facts::new(&spec, None), 1000));
        inner.registry.accept(entry.clone(), None);
        runner.run_cancel(&entry.id).unwrap();
        inner.enqueue(entry.clone());
        assert_eq!(entry.state().phase, Phase::Finished);
        assert_eq!(inner.admission.occupancy(), (0, 0));
        assert_eq!(runner.close(Instant::now()), 0);
    }
}
