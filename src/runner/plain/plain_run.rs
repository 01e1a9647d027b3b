//! One plain run in memory: how far it has come, and the end of its output for readers that come while it goes on.

use crate::cancel::Cancel;
use crate::runner::changes::Changes;
use crate::runner::clock::Moment;
use crate::runner::jobs::entry::{Phase, RunState, Steps};
use crate::runner::jobs::event_log::{EventLog, Outcome};
use crate::runner::jobs::logs::Followed;
use crate::runner::jobs::record::RunFacts;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::{Encoding, RunKind};
use crate::runner::run::result::{Event, RunEnd, RunResult, Sink};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much of a run's output is kept for readers while it goes on. Only runs that have a slot print.
const LOG_BYTES: u64 = 256 << 10;

/// A plain run.
pub(super) struct PlainRun {
    pub(super) id: String,
    /// Fired to end the run. It fires with the caller's token too.
    pub(super) cancel: Cancel,
    facts: RunFacts,
    encoding: Encoding,
    log: EventLog,
    progress: Mutex<Progress>,
}

struct Progress {
    steps: Steps,
    finished: Option<Moment>,
}

impl PlainRun {
    pub(super) fn new(spec: &RunSpec, cancel: Cancel) -> Self {
        Self {
            id: spec.id.clone(),
            cancel,
            facts: RunFacts::new(spec, None),
            encoding: spec.output_encoding,
            log: EventLog::new(LOG_BYTES),
            progress: Mutex::new(Progress {
                steps: Steps::new(),
                finished: None,
            }),
        }
    }

    /// Ends the run for its readers. Returns what is kept of it: no output.
    pub(super) fn end(&self, outcome: &Outcome) -> Self {
        let progress = {
            let mut progress = self.progress();
            let steps = progress.steps;
            let begun = steps.started.unwrap_or(self.created());
            progress.finished = Some(Moment::now().max(begun));
            Progress {
                steps,
                finished: progress.finished,
            }
        };
        let outcome: Arc<Outcome> = Arc::new(outcome.as_ref().map(brief).map_err(Clone::clone));
        let ended = Self {
            id: self.id.clone(),
            cancel: Cancel::new(),
            facts: self.facts.clone(),
            encoding: self.encoding,
            log: EventLog::new(0),
            progress: Mutex::new(progress),
        };
        ended.log.finish(outcome.clone());
        self.log.finish(outcome);
        ended
    }

    fn created(&self) -> Moment {
        Moment(self.facts.created)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result without what was printed and collected, which only the run's caller gets.
fn brief(result: &RunResult) -> RunResult {
    RunResult {
        id: result.id.clone(),
        status: result.status.clone(),
        signal: result.signal.clone(),
        image_digest: result.image_digest.clone(),
        stdout: String::new(),
        stderr: String::new(),
        volumes: BTreeMap::new(),
        warnings: Vec::new(),
        memory: None,
        ..*result
    }
}

impl Followed for PlainRun {
    fn id(&self) -> &str {
        &self.id
    }

    fn log(&self) -> &EventLog {
        &self.log
    }

    fn output_encoding(&self) -> Encoding {
        self.encoding
    }

    fn state(&self) -> RunState {
        let outcome = self.log.outcome();
        let progress = self.progress();
        RunState {
            id: self.id.clone(),
            kind: RunKind::Plain,
            order: self.facts.order,
            image: self.facts.image.clone(),
            command: self.facts.command.clone(),
            phase: match &outcome {
                Some(_) => Phase::Finished,
                None => progress.steps.phase,
            },
            created_at: self.created().to_string(),
            started_at: progress.steps.started.map(|moment| moment.to_string()),
            finished_at: outcome
                .as_ref()
                .and(progress.finished)
                .map(|moment| moment.to_string()),
            output_encoding: self.encoding,
            end: outcome.as_deref().map(RunEnd::of),
            outcome: outcome.filter(|outcome| outcome.is_err()),
        }
    }
}

/// Hands a run's events to its caller's sink, and keeps the last ones.
pub(super) struct TappedSink<'a> {
    pub(super) run: &'a PlainRun,
    pub(super) changes: &'a Changes,
    pub(super) sink: &'a dyn Sink,
}

impl Sink for TappedSink<'_> {
    fn event(&self, event: Event) {
        let created = self.run.created();
        if self.run.progress().steps.advance(&event, created) {
            self.changes.note(&self.run.id);
        }
        self.run.log.push(event.clone());
        self.sink.event(event);
    }

    fn stop_waiting(&self) {
        self.sink.stop_waiting();
    }
}
