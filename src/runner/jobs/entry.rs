//! One asynchronous run in this server's memory: its progress, its events, and what of it is stored in the engine.

use crate::cancel::Cancel;
use crate::docker::AuthConfig;
use crate::runner::cleanup::active::HeldId;
use crate::runner::clock::Moment;
use crate::runner::jobs::event_log::{EventLog, Outcome};
use crate::runner::jobs::marks::Marks;
use crate::runner::jobs::record::RunFacts;
use crate::runner::jobs::request_copies::RequestCopy;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::Encoding;
use crate::runner::request::wire::wire_enum;
use crate::runner::run::result::{Event, Sink};
use crate::runner::takeover::lead::Lead;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

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

/// State and result of an asynchronous run at one moment.
#[derive(Clone, Debug)]
pub struct RunState {
    /// The run's id.
    pub id: String,
    /// How far it has come.
    pub phase: Phase,
    /// When it was accepted, as RFC 3339.
    pub created_at: String,
    /// When its container started, as RFC 3339.
    pub started_at: Option<String>,
    /// When its result was there, as RFC 3339.
    pub finished_at: Option<String>,
    /// How its output is encoded.
    pub output_encoding: Encoding,
    /// Its result or error, once it has finished.
    pub outcome: Option<Arc<Outcome>>,
}

/// Asynchronous runs, newest first.
#[derive(Clone, Debug)]
pub struct RunStates {
    /// Their states.
    pub states: Vec<RunState>,
    /// False if there are more, or may be: beyond the limit, of another server of this instance name, or with a record that cannot
    /// be read.
    pub is_complete: bool,
}

/// One asynchronous run. As a [`Sink`] it receives the run's events.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) created: Moment,
    /// When it was accepted; in the past for a run that an earlier process accepted.
    pub(crate) accepted: Instant,
    pub(crate) encoding: Encoding,
    pub(crate) cancel: Cancel,
    pub(crate) log: EventLog,
    pub(crate) facts: RunFacts,
    progress: Mutex<Progress>,
    stored: Mutex<Stored>,
    _held: HeldId,
    /// For a run that this server adopted: the right to do so, which it needs for as long as it has the run.
    lead: OnceLock<Arc<Lead>>,
}

/// What a later attempt or a later server needs of a run.
#[derive(Default)]
pub(crate) struct Stored {
    /// The run's marks in the engine.
    pub(crate) marks: Marks,
    /// Whether the run may have started: no server starts it again.
    pub(crate) may_have_started: bool,
    /// The request's record, for when the engine loses it.
    pub(crate) request: Option<RequestCopy>,
    /// The outcome's record, from before it is written to the journal until the outcome is published.
    pub(crate) outcome: Option<Arc<[u8]>>,
    /// Whether the outcome is in the journal.
    pub(crate) has_outcome: bool,
    /// Whether an earlier attempt, perhaps by another process, may have left containers under this run's names.
    pub(crate) has_leftovers: bool,
    /// Whether the run was deleted, so that nothing of it may be stored any more.
    pub(crate) is_deleted: bool,
    /// The credentials, which are kept in memory only.
    pub(crate) auth: Option<AuthConfig>,
    /// The run itself, if nothing is stored in the engine.
    pub(crate) spec: Option<Box<RunSpec>>,
}

impl Stored {
    /// Drops the request and its credentials from memory: the run is over.
    pub(crate) fn forget_request(&mut self) {
        self.spec = None;
        self.auth = None;
        self.request = None;
    }
}

/// From when on the outcome of a run can be asked for; its time to live counts from here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// As later servers read it.
    pub(crate) at: Moment,
    /// As this server counts: a wall clock that is set forward must not end the life of a result.
    pub(crate) from: Instant,
}

impl Kept {
    pub(crate) fn now() -> Self {
        Self {
            at: Moment::now(),
            from: Instant::now(),
        }
    }

    /// Since an earlier process noted this moment.
    pub(crate) fn since(at: Moment) -> Self {
        let (now, age) = (Instant::now(), Moment::now().since(at));
        Self {
            at,
            from: now.checked_sub(age).unwrap_or(now),
        }
    }
}

struct Progress {
    phase: Phase,
    started: Option<Moment>,
    finished: Option<Moment>,
    kept: Option<Kept>,
    /// Its place in the admission queue.
    ticket: Option<u64>,
}

impl Entry {
    /// Keeps the lead for as long as this run is known.
    pub(crate) fn keep_lead(&self, lead: Arc<Lead>) {
        let _ = self.lead.set(lead);
    }

    /// A run that waits. Its log keeps up to `log_bytes` bytes of events.
    pub(crate) fn new(held: HeldId, facts: RunFacts, log_bytes: u64) -> Self {
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
                kept: None,
                ticket: None,
            }),
            stored: Mutex::default(),
            _held: held,
            lead: OnceLock::new(),
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

    /// Sets when the container started, as an earlier process or the engine knew it.
    pub(crate) fn set_started(&self, started: Option<Moment>) {
        self.progress().started = started;
    }

    /// An earlier process has started the container; when, the engine will say.
    pub(crate) fn set_running(&self) {
        self.progress().phase = Phase::Running;
    }

    /// Sets from when on the outcome can be asked for, unless that is set already. Returns what is set.
    pub(crate) fn set_kept(&self, kept: Kept) -> Kept {
        *self.progress().kept.get_or_insert(kept)
    }

    /// Sets when the run finished, unless that is set already. Returns what is set, which is not before the start even if the
    /// clock was set back.
    pub(crate) fn set_finished(&self, at: Moment) -> Moment {
        let mut progress = self.progress();
        let at = at.max(progress.started.unwrap_or(self.created));
        *progress.finished.get_or_insert(at)
    }

    pub(crate) fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
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
                    let now = Moment::now().max(self.created);
                    progress.started.get_or_insert(now);
                }
                Event::Queued { .. } | Event::Stdout(_) | Event::Stderr(_) => {}
            }
        }
        self.log.push(event);
    }
}
