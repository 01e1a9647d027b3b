//! The detached runs that this server answers for: those that wait or go on, and the results of those that ended, for
//! a while. Touches nothing in the engine.

use crate::cancel::Cancel;
use crate::docker::AuthConfig;
use crate::runner::cleanup::active::HeldId;
use crate::runner::clock::Moment;
use crate::runner::jobs::event_log::{EventLog, Outcome};
use crate::runner::jobs::store::Facts;
use crate::runner::request::wire::wire_enum;
use crate::runner::{Encoding, Error, Event, RunResult, RunSpec, Sink};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How long a result is kept.
    pub result_ttl: Duration,
    /// How many bytes of results are kept; over it the oldest go.
    pub max_result_bytes: u64,
    /// How many runs may wait or go on, and how many results are kept.
    pub max_runs: usize,
}

/// What detached runs end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// With themselves: the engine keeps what is needed, and the next server of the name goes on with them.
    Engine,
    /// With this process, which nobody succeeds: they are in its memory only, and cancelled when it stops.
    Process,
}

wire_enum! {
    /// How far a run has come.
    pub enum Phase {
        /// It waits for a slot, or is being prepared.
        Queued = "queued",
        /// Its image is being pulled.
        Pulling = "pulling",
        /// Its container runs.
        Running = "running",
        /// It has a result, or an error.
        Finished = "finished",
    }
}

/// A detached run as it stands.
#[derive(Clone, Debug)]
pub struct RunState {
    /// The run's id.
    pub id: String,
    /// How far it has come.
    pub phase: Phase,
    /// When it was accepted, as RFC 3339.
    pub created_at: String,
    /// When its container started.
    pub started_at: Option<String>,
    /// When its result was there.
    pub finished_at: Option<String>,
    /// How its output is to be told.
    pub output_encoding: Encoding,
    /// How it came out, once it has.
    pub outcome: Option<Arc<Outcome>>,
}

/// One detached run.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) created: Moment,
    pub(crate) accepted: Instant,
    pub(crate) encoding: Encoding,
    pub(crate) cancel: Cancel,
    pub(crate) log: EventLog,
    pub(crate) facts: Facts,
    progress: Mutex<Progress>,
    kept: Mutex<Kept>,
    _held: HeldId,
}

/// What is kept of a run: by the engine, and what it must not keep.
#[derive(Default)]
pub(crate) struct Kept {
    /// The container that carries the request.
    pub(crate) request: Option<String>,
    /// Whether it says that the run may have started.
    pub(crate) may_have_started: bool,
    /// Whether an earlier attempt, perhaps another process's, may have left something under its names.
    pub(crate) has_remains: bool,
    /// The container that carries the outcome.
    pub(crate) outcome: Option<String>,
    pub(crate) auth: Option<AuthConfig>,
    /// The run itself, where the engine keeps nothing.
    pub(crate) spec: Option<Box<RunSpec>>,
}

impl Kept {
    /// The run is over: what it was, and with which credentials, is of no use any more, and may be much.
    pub(crate) fn forget_request(&mut self) {
        self.spec = None;
        self.auth = None;
    }
}

struct Progress {
    phase: Phase,
    started: Option<Moment>,
    finished: Option<Moment>,
    /// Its place in the queue.
    ticket: Option<u64>,
}

/// What makes a second request the same as the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// Of the request.
    pub(crate) digest: u128,
}

/// What came of asking for a place.
pub(crate) enum Place {
    /// It is new, and not accepted before [`Registry::accept`] says so.
    New,
    /// Its key was used before: the run of then.
    Known(Arc<Entry>),
}

/// All detached runs.
pub(crate) struct Registry {
    keeping: Retention,
    runs: Mutex<Runs>,
    /// Somebody's acceptance was decided, or a run has finished.
    decided: Condvar,
}

#[derive(Default)]
struct Runs {
    by_id: HashMap<String, Listed>,
    /// `None`: its run is not accepted yet.
    keys: HashMap<String, (u128, Option<String>)>,
    /// In the order in which they finished, with their sizes.
    finished: VecDeque<(String, u64)>,
    finished_bytes: u64,
    unfinished: usize,
    next: u64,
}

struct Listed {
    entry: Arc<Entry>,
    number: u64,
    key: Option<String>,
}

impl Entry {
    pub(crate) fn new(held: HeldId, facts: Facts, log_bytes: u64) -> Self {
        let created = Moment(facts.created);
        let now = Instant::now();
        Self {
            id: held.id().to_owned(),
            created,
            accepted: now.checked_sub(Moment::now().since(created)).unwrap_or(now),
            encoding: match facts.base64 {
                true => Encoding::Base64,
                false => Encoding::Utf8,
            },
            facts,
            cancel: Cancel::new(),
            log: EventLog::new(log_bytes),
            progress: Mutex::new(Progress {
                phase: Phase::Queued,
                started: None,
                finished: None,
                ticket: None,
            }),
            kept: Mutex::default(),
            _held: held,
        }
    }

    pub(crate) fn state(&self) -> RunState {
        let progress = self.progress();
        let outcome = self.log.outcome();
        RunState {
            id: self.id.clone(),
            phase: match &outcome {
                Some(_) => Phase::Finished,
                None => progress.phase,
            },
            created_at: self.created.to_string(),
            started_at: progress.started.map(|moment| moment.to_string()),
            finished_at: outcome
                .as_ref()
                .and(progress.finished)
                .map(|moment| moment.to_string()),
            output_encoding: self.encoding,
            outcome,
        }
    }

    pub(crate) fn set_ticket(&self, ticket: u64) {
        self.progress().ticket = Some(ticket);
    }

    pub(crate) fn ticket(&self) -> Option<u64> {
        self.progress().ticket
    }

    pub(crate) fn started(&self) -> Option<Moment> {
        self.progress().started
    }

    /// What an earlier process knew: its container started then.
    pub(crate) fn set_started(&self, started: Option<Moment>) {
        let mut progress = self.progress();
        progress.started = started;
        if started.is_some() {
            progress.phase = Phase::Running;
        }
    }

    /// The moment at which it finished: `at`, unless that was said before.
    pub(crate) fn set_finished(&self, at: Moment) -> Moment {
        *self.progress().finished.get_or_insert(at)
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Entry {
    fn event(&self, event: Event) {
        {
            let mut progress = self.progress();
            match event {
                Event::Pull { .. } => progress.phase = Phase::Pulling,
                Event::Started => {
                    progress.phase = Phase::Running;
                    progress.started.get_or_insert_with(Moment::now);
                }
                Event::Queued { .. } | Event::Stdout(_) | Event::Stderr(_) => {}
            }
        }
        self.log.push(event);
    }
}

impl Registry {
    pub(crate) fn new(keeping: Retention) -> Self {
        Self {
            keeping,
            runs: Mutex::default(),
            decided: Condvar::new(),
        }
    }

    /// A place for one more run. Errors: there are too many, or the key was used with another request.
    pub(crate) fn enter(&self, key: Option<&Key>) -> Result<Place, Error> {
        let mut runs = self.lock();
        while let Some(key) = key {
            match runs.keys.get(&key.name) {
                None => break,
                Some((digest, _)) if *digest != key.digest => {
                    let msg = "was used with another request";
                    return Err(Error::invalid(&["header", "Idempotency-Key"], msg));
                }
                Some((_, Some(id))) => match runs.by_id.get(id) {
                    Some(listed) => return Ok(Place::Known(listed.entry.clone())),
                    None => break,
                },
                Some((_, None)) => {
                    let woken = self.decided.wait(runs);
                    runs = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        if runs.unfinished >= self.keeping.max_runs {
            return Err(Error::QueueFull {
                retry_after_secs: 1,
            });
        }
        runs.unfinished += 1;
        if let Some(key) = key {
            runs.keys.insert(key.name.clone(), (key.digest, None));
        }
        Ok(Place::New)
    }

    /// The place's run is accepted.
    pub(crate) fn accept(&self, entry: Arc<Entry>, key: Option<Key>) {
        let mut runs = self.lock();
        let number = runs.next;
        runs.next += 1;
        let id = entry.id.clone();
        let name = key.map(|key| {
            let accepted = (key.digest, Some(id.clone()));
            runs.keys.insert(key.name.clone(), accepted);
            key.name
        });
        let listed = Listed {
            entry,
            number,
            key: name,
        };
        runs.by_id.insert(id, listed);
        self.decided.notify_all();
    }

    /// The place's run is not accepted after all.
    pub(crate) fn reject(&self, key: Option<&Key>) {
        let mut runs = self.lock();
        runs.unfinished -= 1;
        if let Some(key) = key {
            runs.keys.remove(&key.name);
        }
        self.decided.notify_all();
    }

    /// A place for a run that was accepted by an earlier process, however many there are.
    pub(crate) fn enter_anyway(&self) {
        self.lock().unfinished += 1;
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.lock().by_id.get(id).map(|listed| listed.entry.clone())
    }

    /// Waits until every run has finished, at most until `deadline`; gives how many have not.
    pub(crate) fn settle(&self, deadline: Instant) -> usize {
        let mut runs = self.lock();
        while runs.unfinished > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            let waited = self.decided.wait_timeout(runs, left);
            runs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        runs.unfinished
    }

    /// Newest first.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        let runs = self.lock();
        let mut listed: Vec<&Listed> = runs.by_id.values().collect();
        listed.sort_by_key(|listed| std::cmp::Reverse(listed.number));
        listed.iter().map(|listed| listed.entry.clone()).collect()
    }

    /// Keeps the outcome that a run has since `at`. Gives the runs that have to make room for it.
    pub(crate) fn finish(&self, entry: &Entry, outcome: Outcome, at: Moment) -> Vec<Arc<Entry>> {
        let mut runs = self.lock();
        if entry.log.outcome().is_some() || !runs.by_id.contains_key(&entry.id) {
            return Vec::new();
        }
        let bytes = entry.log.bytes() + outcome.as_ref().map_or(0, size) + RESULT_BYTES;
        entry.set_finished(at);
        entry.log.finish(Arc::new(outcome));
        runs.unfinished -= 1;
        self.decided.notify_all();
        runs.finished.push_back((entry.id.clone(), bytes));
        runs.finished_bytes += bytes;
        let mut gone = Vec::new();
        while runs.finished.len() > 1
            && (runs.finished_bytes > self.keeping.max_result_bytes
                || runs.finished.len() > self.keeping.max_runs)
        {
            gone.extend(runs.forget_oldest());
        }
        gone
    }

    /// Forgets the results whose time is over, and gives them.
    pub(crate) fn expire(&self, now: Moment) -> Vec<Arc<Entry>> {
        let mut runs = self.lock();
        let mut gone = Vec::new();
        while let Some((id, _)) = runs.finished.front() {
            let finished = runs
                .by_id
                .get(id)
                .and_then(|listed| listed.entry.progress().finished);
            if finished.is_some_and(|finished| now.since(finished) < self.keeping.result_ttl) {
                break;
            }
            gone.extend(runs.forget_oldest());
        }
        gone
    }

    /// Forgets a run that has finished.
    pub(crate) fn forget(&self, id: &str) -> Option<Arc<Entry>> {
        let mut runs = self.lock();
        let place = runs.finished.iter().position(|(other, _)| other == id)?;
        runs.forget_at(place)
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a result costs beside its texts.
const RESULT_BYTES: u64 = 2048;

fn size(result: &RunResult) -> u64 {
    let content =
        |volume: &crate::runner::CollectedVolume| volume.content.as_ref().map_or(0, String::len);
    let volumes = result
        .volumes
        .values()
        .flatten()
        .map(content)
        .sum::<usize>();
    (result.stdout.len() + result.stderr.len() + volumes) as u64
}

impl Runs {
    fn forget_oldest(&mut self) -> Option<Arc<Entry>> {
        self.forget_at(0)
    }

    fn forget_at(&mut self, place: usize) -> Option<Arc<Entry>> {
        let (id, bytes) = self.finished.remove(place)?;
        self.finished_bytes -= bytes;
        let listed = self.by_id.remove(&id)?;
        if let Some(key) = listed.key {
            self.keys.remove(&key);
        }
        Some(listed.entry)
    }
}
