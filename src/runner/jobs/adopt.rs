//! Takes over the asynchronous runs of dead predecessors: results are loaded, runs that go on are followed, and runs that waited
//! wait again in the same order. A run that may have been started is never started again.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::{self, ContainerSummary, Labels};
use crate::process_identity::ProcessIdentity;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{ASYNC, INSTANCE, RUN, Role, owner};
use crate::runner::cleanup::owners::{Owners, Unheard};
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::entry::{Entry, Kept};
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::predecessor::{PredecessorObjects, UnknownRuns};
use crate::runner::jobs::record::{OutcomeRecord, RequestRecord, RunFacts};
use crate::runner::jobs::record_keeper::{Persistence, RecordKeeper};
use crate::runner::jobs::registry::Registry;
use crate::runner::jobs::request_copies::RequestCopy;
use crate::runner::jobs::scheduler::{Scheduler, Turn};
use crate::runner::jobs::store::LoadError;
use crate::runner::jobs::unadopted::{Sighting, Unadopted};
use crate::runner::request::types::Encoding;
use crate::runner::run::admission::Admission;
use crate::runner::run::lifecycle::StartedRun;
use crate::runner::run::result::{Event, RunResult, Sink};
use crate::runner::run::utf8_chunks::Utf8Chunks;
use crate::runner::takeover::lead::{Lead, Succession};
use std::collections::{HashMap, HashSet};
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
    /// Most output of a run that the policy allows, in bytes.
    pub(crate) max_output_bytes: u64,
    pub(crate) stop: Cancel,
    pub(crate) succession: Succession,
    pub(crate) unadopted: Arc<Unadopted>,
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

/// What a call of [`Adopter::adopt`] found of servers that may live.
#[derive(Default)]
pub(crate) struct OtherServers {
    /// Processes that have to be asked whether they live, before more can be adopted.
    pub(crate) suspects: HashSet<ProcessIdentity>,
    /// Whether there are runs of this instance name that belong to another server, unless that is dead.
    pub(crate) have_runs: bool,
}

/// What a record says of its run.
enum Loaded {
    Finished(Box<OutcomeRecord>),
    Unfinished(RunFacts, Option<RequestCopy>),
}

/// Runs that are orphaned.
#[derive(Default)]
struct Found {
    finished: Vec<FinishedRun>,
    unfinished: Vec<UnfinishedRun>,
    /// Why the record of each cannot be read.
    unreadable: HashMap<String, String>,
}

struct Survey {
    unknown: UnknownRuns,
    /// `None`: there is nothing to adopt, or another server does it.
    lead: Option<Arc<Lead>>,
}

/// The last calls of the dead server may still be under way in the engine; after this time they are done.
const LAST_CALLS: Duration = Duration::from_secs(2);

impl Adopter {
    /// Adopts everything that dead predecessors left; processes in `unheard` count as dead. A run whose record cannot be read is
    /// skipped and stays in the engine. Errors: the engine cannot be asked; runs that were adopted until then stay adopted, and
    /// the next call continues.
    pub(crate) fn adopt(&self, unheard: &Unheard) -> Result<OtherServers, docker::Error> {
        let Survey { unknown, lead } = self.survey(unheard)?;
        let others = OtherServers {
            suspects: unknown.suspects,
            have_runs: !unknown.elsewhere.is_empty(),
        };
        let Some(lead) = lead else {
            return Ok(others);
        };
        self.adopt_results(unknown.orphaned, &lead)?;
        if self.stop.wait(LAST_CALLS) {
            return Ok(others);
        }
        // Once more: what was found before may have changed until then.
        let Survey { unknown, lead } = self.survey(unheard)?;
        if let Some(lead) = lead {
            self.adopt_orphans(unknown.orphaned, &lead)?;
        }
        Ok(others)
    }

    fn adopt_orphans(
        &self,
        orphaned: HashMap<String, PredecessorObjects>,
        lead: &Arc<Lead>,
    ) -> Result<(), docker::Error> {
        let Found {
            mut finished,
            mut unfinished,
            unreadable,
        } = self.load_records(orphaned)?;
        let counts = (finished.len(), unfinished.len());
        finished.sort_by_key(|run| run.record.kept());
        for run in finished {
            self.add_finished(run, lead);
        }
        unfinished.sort_by_key(|run| run.facts.order);
        for run in unfinished {
            if self.stop.is_fired() {
                return Ok(());
            }
            self.resume_unfinished(run, lead);
        }
        if counts != (0, 0) {
            log::info!("took over {} results and {} runs", counts.0, counts.1);
        }
        self.unadopted.finish(unreadable);
        Ok(())
    }

    /// Loads the records of these runs. Removes what is left of runs that have none.
    fn load_records(
        &self,
        orphaned: HashMap<String, PredecessorObjects>,
    ) -> Result<Found, docker::Error> {
        let mut found = Found::default();
        for (id, objects) in orphaned {
            match self.load(&objects) {
                Ok(Some(Loaded::Finished(record))) => found.finished.push(FinishedRun {
                    id,
                    record: *record,
                    objects,
                }),
                Ok(Some(Loaded::Unfinished(facts, request_copy))) => {
                    found.unfinished.push(UnfinishedRun {
                        id,
                        facts,
                        request_copy,
                        objects,
                    });
                }
                // Its caller never got an answer.
                Ok(None) | Err(LoadError::Absent) => objects.remove_all_but(&self.engine, &[]),
                Err(LoadError::Unreadable(why)) => drop(found.unreadable.insert(id, why)),
                Err(LoadError::Engine(error)) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Whether another server of this name has the record of a run: it may have accepted the run since the last look at the engine.
    /// False if the engine cannot say.
    pub(crate) fn is_elsewhere(&self, id: &str) -> bool {
        if self.keeper.persistence() == Persistence::Process {
            return false;
        }
        let us = &self.engine.identity;
        let of_run = [
            format!("{RUN}={id}"),
            format!("{INSTANCE}={}", us.instance),
            ASYNC.to_owned(),
        ];
        let found = self.engine.client.container_list(&of_run);
        let is_theirs = |labels: &Labels| {
            Role::of(labels).is_some_and(Role::is_record)
                && owner(labels).as_ref() != Some(&us.owner)
        };
        found.is_ok_and(|found| found.iter().any(|found| is_theirs(&found.labels)))
    }

    /// Finds the runs that this server does not know, and takes the lead if there are any to adopt.
    fn survey(&self, unheard: &Unheard) -> Result<Survey, docker::Error> {
        let containers = self.engine.client.container_list(&[INSTANCE.to_owned()])?;
        let owners = Owners::new(&self.engine.identity, unheard, &containers);
        let unknown = UnknownRuns::among(containers.clone(), &self.engine, &self.active, &owners);
        let lead = match unknown.orphaned.is_empty() {
            true => None,
            false => self.succession.lead(&containers, &owners)?,
        };
        let orphaned = unknown.orphaned.keys().cloned();
        let mut sighting = Sighting {
            pending: HashSet::new(),
            elsewhere: unknown.elsewhere.clone(),
            has_suspects: !unknown.suspects.is_empty(),
        };
        match &lead {
            Some(_) => sighting.pending.extend(orphaned),
            // The server that leads adopts them.
            None => sighting.elsewhere.extend(orphaned),
        }
        self.unadopted.set(sighting);
        if unknown.orphaned.is_empty() {
            self.unadopted.finish(HashMap::new());
        }
        Ok(Survey { unknown, lead })
    }

    /// `None`: the run has no record.
    fn load(&self, objects: &PredecessorObjects) -> Result<Option<Loaded>, LoadError> {
        let store = self.keeper.store();
        if let Some(result) = &objects.result {
            match store.load(&result.id) {
                Ok(record) => return Ok(Some(Loaded::Finished(Box::new(record)))),
                // Its writing was cut short, or the run was forgotten just now.
                Err(LoadError::Absent) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(request) = &objects.request else {
            return Ok(None);
        };
        match store.load::<RequestRecord>(&request.id) {
            Ok(record) => {
                let copy = self.keeper.copy_of(&record);
                Ok(Some(Loaded::Unfinished(record.facts, copy)))
            }
            Err(LoadError::Absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a run that has an outcome to the registry.
    pub(crate) fn add_finished(&self, run: FinishedRun, lead: &Arc<Lead>) {
        let FinishedRun {
            id,
            record,
            objects,
        } = run;
        let facts = record.facts.clone();
        let (started, finished) = (record.started.map(Moment), Moment(record.finished));
        let kept = record.kept();
        let outcome = record.outcome();
        let bytes = outcome.as_ref().map_or(0, output_bytes);
        let held = self.active.hold(&id);
        let entry = Arc::new(Entry::new(held, facts, bytes + (1 << 20)));
        entry.keep_lead(lead.clone());
        if let Ok(result) = &outcome {
            replay(&entry, result, started.is_some());
        }
        entry.set_started(started);
        entry.set_finished(finished);
        entry.facts.precede_new_runs();
        entry.stored().outcome = objects.result.as_ref().map(|result| result.id.clone());
        self.registry.enter_anyway();
        self.registry.accept(entry.clone(), entry.facts.key());
        let forgotten = self.registry.finish(&entry, outcome, Kept::since(kept));
        self.keeper.remove_records(forgotten);
        self.unadopted.remove(&id);
        objects.remove_all_but(&self.engine, &[Role::Result]);
    }

    fn resume_unfinished(&self, mut run: UnfinishedRun, lead: &Arc<Lead>) {
        let entry = self.list_unfinished(&mut run, lead);
        let UnfinishedRun { id, objects, .. } = run;
        if !entry.stored().may_have_started {
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

    /// Adds a run without an outcome to the registry.
    fn list_unfinished(&self, run: &mut UnfinishedRun, lead: &Arc<Lead>) -> Arc<Entry> {
        let UnfinishedRun { id, objects, .. } = run;
        let key = run.facts.key();
        let log_bytes = 2 * self.max_output_bytes + (1 << 20);
        let entry = Arc::new(Entry::new(
            self.active.hold(id),
            run.facts.clone(),
            log_bytes,
        ));
        entry.keep_lead(lead.clone());
        entry.facts.precede_new_runs();
        {
            let mut stored = entry.stored();
            stored.request = objects.request.as_ref().map(|request| request.id.clone());
            stored.request_copy = run.request_copy.take();
            stored.may_have_started = objects.may_have_started(id);
            stored.is_fed = objects.is_fed(id);
            stored.is_cancelled = objects.is_cancelled(id);
            if stored.is_cancelled {
                entry.cancel.fire();
            }
            stored.has_leftovers = true;
        }
        if objects.is_started() {
            entry.set_running();
        }
        self.registry.enter_anyway();
        self.registry.accept(entry.clone(), key);
        self.unadopted.remove(id);
        entry
    }

    /// Brings a run that may have been started to its outcome.
    fn finish_started(&self, turn: Turn, objects: &PredecessorObjects) {
        let outcome = match &objects.run {
            Some(run) if run.state == "created" && !self.has_started_since(run) => {
                if let Err(error) = self.keeper.unmark_started(&turn.entry) {
                    let id = &turn.entry.id;
                    log::warn!("another restart just now would lose run {id}: {error}");
                }
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

    /// Whether a container that had not started when it was listed has started since: the dead server may have sent the call, whose
    /// end both calls here wait for. If it has not, it is removed and never will.
    fn has_started_since(&self, run: &ContainerSummary) -> bool {
        let client = &self.engine.client;
        let found = client.container_inspect(&run.id);
        let has_started = found.is_ok_and(|found| Moment::parse(&found.state.started_at).is_some());
        // Fails if it runs by now.
        has_started
            || client
                .container_remove_stopped(&run.id)
                .is_err_and(|error| {
                    matches!(error, docker::Error::Status { status: 409, .. })
                        && !error.is_object_gone()
                })
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
            helper: objects.stage.as_ref().map(own),
        };
        let has_stdin = loaded
            .spec
            .stdin
            .as_ref()
            .is_some_and(|bytes| !bytes.is_empty());
        let is_delivered = objects.is_fed(&entry.id);
        // A cancelled run ends as cancelled, whatever it read.
        if has_stdin && !is_delivered && !entry.cancel.is_fired() {
            // What the container got of it cannot be found out, and the engine has closed its stdin. Dropping `started` kills it.
            let lost = "the service was restarted before it had delivered all of the run's stdin; the run was ended, send it again";
            let lost = Error::StdinLost(lost.into());
            // Before the container is gone, so that a server that finds none knows why.
            self.keeper.save_outcome(entry, Err(&lost));
            return Err(lost);
        }
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
