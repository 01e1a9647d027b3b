//! Takes over the asynchronous runs of a dead predecessor: results are loaded, runs that go on are followed, and runs that waited
//! wait again in the same order. A run that may have been started is never started again.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::{self, ContainerSummary};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::entry::Entry;
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::predecessor::{PredecessorObjects, created};
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunFacts};
use crate::runner::jobs::record_keeper::RecordKeeper;
use crate::runner::jobs::registry::Registry;
use crate::runner::jobs::request_copies::RequestCopy;
use crate::runner::jobs::scheduler::{Scheduler, Turn};
use crate::runner::jobs::unadopted::UnadoptedRuns;
use crate::runner::request::types::Encoding;
use crate::runner::run::admission::Admission;
use crate::runner::run::lifecycle::StartedRun;
use crate::runner::run::result::{Event, RunResult, Sink};
use crate::runner::run::stage::Staged;
use crate::runner::run::utf8_chunks::Utf8Chunks;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// Adopts runs. Clones share everything.
#[derive(Clone)]
pub(crate) struct Adopter {
    pub(crate) engine: Engine,
    pub(crate) active: Active,
    pub(crate) admission: Admission,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keeper: Arc<RecordKeeper>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) unadopted: Arc<UnadoptedRuns>,
    /// Most output of a run that the policy allows, in bytes.
    pub(crate) max_output_bytes: u64,
    pub(crate) stop: Cancel,
}

/// A run of the predecessor that has an outcome.
pub(crate) struct FinishedRun {
    pub(crate) id: String,
    pub(crate) record: OutcomeRecord,
    pub(crate) objects: PredecessorObjects,
}

/// A run of the predecessor that has none.
struct UnfinishedRun {
    id: String,
    facts: RunFacts,
    request_copy: Option<RequestCopy>,
    objects: PredecessorObjects,
}

/// Runs of the predecessor.
#[derive(Default)]
struct Found {
    finished: Vec<FinishedRun>,
    unfinished: Vec<UnfinishedRun>,
}

/// The last calls of the dead server may still be under way in the engine; after this time they are done.
const LAST_CALLS: Duration = Duration::from_secs(2);

impl Adopter {
    /// Adopts everything that a dead predecessor left. Errors: the engine cannot be asked; runs that were adopted until then stay
    /// adopted, and a second call continues.
    pub(crate) fn adopt(&self) -> Result<(), docker::Error> {
        let objects = PredecessorObjects::find(&self.engine)?;
        let is_new = |id: &&String| self.registry.get(id).is_none();
        self.unadopted.set(objects.keys().filter(is_new).cloned());
        if objects.is_empty() {
            return Ok(());
        }
        self.adopt_results(objects)?;
        if self.stop.wait(LAST_CALLS) {
            return Ok(());
        }
        let Found {
            mut finished,
            mut unfinished,
        } = self.load_records()?;
        let counts = (finished.len(), unfinished.len());
        finished.sort_by_key(|run| run.record.finished);
        finished.into_iter().for_each(|run| self.add_finished(run));
        unfinished.sort_by_key(|run| run.facts.order);
        for run in unfinished {
            let id = run.id.clone();
            self.resume_unfinished(run);
            self.unadopted.remove(&id);
        }
        if counts != (0, 0) {
            log::info!("took over {} results and {} runs", counts.0, counts.1);
        }
        self.unadopted.set([]);
        Ok(())
    }

    /// Loads the records of every run that is not adopted yet. Removes what is left of runs that have none.
    fn load_records(&self) -> Result<Found, docker::Error> {
        let mut found = Found::default();
        let store = self.keeper.store();
        for (id, objects) in PredecessorObjects::find(&self.engine)? {
            if self.registry.get(&id).is_some() {
                continue;
            }
            if let Some(result) = &objects.result
                && let Some(record) = store.load(&result.id)?
            {
                found.finished.push(FinishedRun {
                    id,
                    record,
                    objects,
                });
            } else if let Some(request) = &objects.request
                && let Some(record) = store.load::<RequestRecord>(&request.id)?
            {
                found.unfinished.push(UnfinishedRun {
                    id,
                    request_copy: self.keeper.copy_of(&record),
                    facts: record.facts,
                    objects,
                });
            } else {
                // Its caller never got an answer.
                objects.remove_all_but(&self.engine, &[]);
            }
        }
        Ok(found)
    }

    /// Adds a run that has an outcome to the registry.
    pub(crate) fn add_finished(&self, run: FinishedRun) {
        let FinishedRun {
            id,
            record,
            objects,
        } = run;
        let facts = record.facts.clone();
        let (started, finished) = (record.started.map(Moment), Moment(record.finished));
        let outcome = record.outcome();
        let bytes = outcome.as_ref().map_or(0, output_bytes);
        let held = self.active.hold(&id);
        let entry = Arc::new(Entry::new(held, facts, bytes + (1 << 20)));
        if let Ok(result) = &outcome {
            replay(&entry, result, started.is_some());
        }
        entry.set_started(started);
        entry.stored().outcome = objects.result.as_ref().map(|result| result.id.clone());
        self.registry.enter_anyway();
        self.registry.accept(entry.clone(), entry.facts.key());
        let forgotten = self.registry.finish(&entry, outcome, finished);
        self.keeper.remove_records(forgotten);
        objects.remove_all_but(&self.engine, &[Role::Result]);
    }

    fn resume_unfinished(&self, run: UnfinishedRun) {
        let UnfinishedRun {
            id,
            facts,
            request_copy,
            objects,
        } = run;
        let key = facts.key();
        let log_bytes = 2 * self.max_output_bytes + (1 << 20);
        let entry = Arc::new(Entry::new(self.active.hold(&id), facts, log_bytes));
        let may_have_started = objects.may_have_started(&id);
        {
            let mut stored = entry.stored();
            stored.request = objects.request.as_ref().map(|request| request.id.clone());
            stored.request_copy = request_copy;
            stored.may_have_started = may_have_started;
            stored.is_cancelled = objects.is_cancelled(&id);
            if stored.is_cancelled {
                entry.cancel.fire();
            }
            stored.has_leftovers = true;
        }
        if let Some(started) = objects.started() {
            entry.set_started(Some(started));
        }
        self.registry.enter_anyway();
        self.registry.accept(entry.clone(), key);
        if !may_have_started {
            objects.remove_all_but(&self.engine, &[Role::Request]);
            return self.scheduler.enqueue(entry);
        }
        let slot = self.admission.enter_anyway();
        let (adopter, turn) = (self.clone(), Turn { entry, slot });
        let spawned = Builder::new()
            .name("run".into())
            .spawn(move || adopter.finish_started(turn, &objects));
        if let Err(error) = spawned {
            log::error!("no thread to follow run {id}, which the next server has to do: {error}");
        }
    }

    /// Brings a run that may have been started to its outcome.
    fn finish_started(&self, turn: Turn, objects: &PredecessorObjects) {
        let outcome = match &objects.run {
            Some(run) if run.state == "created" => {
                objects.remove_all_but(&self.engine, &[Role::Request]);
                return self.scheduler.take_turn(turn);
            }
            Some(run) => self.follow(&turn.entry, objects, run),
            None => {
                let lost = "the run's container was removed while no server watched it";
                Err(Error::Engine(lost.into()))
            }
        };
        let outcome = match outcome {
            // The dead server may have stored an outcome after we looked for one.
            Err(error) => self
                .keeper
                .load_stored_result(&turn.entry)
                .unwrap_or(Err(error)),
            outcome => outcome,
        };
        self.keeper.finish(&turn.entry, outcome);
        drop(turn);
    }

    /// Follows the run's container to its end, from which point its containers are ours to remove.
    fn follow(
        &self,
        entry: &Entry,
        objects: &PredecessorObjects,
        run: &ContainerSummary,
    ) -> Outcome {
        let loaded = loop {
            match self.keeper.load_run(entry) {
                Err(Error::EngineUnreachable(_)) if !self.stop.wait(LAST_CALLS) => {}
                other => break other?,
            }
        };
        let own = |container: &ContainerSummary| {
            let object = Object::Container(container.id.clone());
            self.engine.removal.own(object)
        };
        let started = StartedRun {
            container: own(run),
            staged: objects.stage.as_ref().map(own).map(Staged::adopted),
            started: created(run),
        };
        self.scheduler.resume(entry, &loaded, started)
    }
}

fn output_bytes(result: &RunResult) -> u64 {
    2 * (result.stdout.len() + result.stderr.len()) as u64
}

/// Fills a log from a result. The order of stdout and stderr among each other is lost.
fn replay(entry: &Entry, result: &RunResult, has_started: bool) {
    if has_started {
        entry.event(Event::Started);
    }
    replay_stream(entry, &result.stdout, Event::Stdout);
    replay_stream(entry, &result.stderr, Event::Stderr);
}

/// Events are as small as a container's own.
fn replay_stream(entry: &Entry, text: &str, event: fn(Vec<u8>) -> Event) {
    const PIECE_BYTES: usize = 32 * 1024;
    match entry.encoding {
        Encoding::Base64 => {
            let bytes = archive::decode_base64(text).unwrap_or_default();
            let pieces = bytes.chunks(PIECE_BYTES);
            pieces.for_each(|piece| entry.event(event(piece.to_vec())));
        }
        Encoding::Utf8 => {
            let mut chunks = Utf8Chunks::default();
            let pieces = text.as_bytes().chunks(PIECE_BYTES);
            pieces.for_each(|piece| entry.event(event(chunks.push(piece))));
        }
    }
}
