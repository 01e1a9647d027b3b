//! Takes over the asynchronous runs of dead predecessors: results are loaded, runs that go on are followed, and runs that waited
//! wait again in the same order. A run that may have been started is never started again.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::{self, ContainerSummary, Volume};
use crate::process_identity::ProcessIdentity;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{INSTANCE, RUN, owner};
use crate::runner::cleanup::owners::{Owners, Unheard};
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::adopt_records::{FinishedRun, RecordLoader, Unfinished, UnfinishedRun};
use crate::runner::jobs::entry::{Entry, Kept};
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::journal_reader::JournalReader;
use crate::runner::jobs::marks::Mark;
use crate::runner::jobs::predecessor::{PredecessorObjects, Search, UnknownRuns};
use crate::runner::jobs::record::OutcomeRecord;
use crate::runner::jobs::record_keeper::{Persistence, RecordKeeper};
use crate::runner::jobs::registry::Registry;
use crate::runner::jobs::run_thread;
use crate::runner::jobs::scheduler::{Scheduler, Turn};
use crate::runner::jobs::unadopted::{Sighting, Unadopted};
use crate::runner::request::types::Encoding;
use crate::runner::run::admission::Admission;
use crate::runner::run::container_config::pid_1_nonce;
use crate::runner::run::engine_away::{has_started, until_reachable};
use crate::runner::run::lifecycle::StartedRun;
use crate::runner::run::result::{Event, RunResult, Sink};
use crate::runner::run::utf8_chunks::Utf8Chunks;
use crate::runner::takeover::lead::{Lead, Succession};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
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

/// What a call of [`Adopter::adopt`] found of servers that may live.
#[derive(Default)]
pub(crate) struct OtherServers {
    /// Processes that have to be asked whether they live, before more can be adopted.
    pub(crate) suspects: HashSet<ProcessIdentity>,
    /// Whether there are runs of this instance name that belong to another server, unless that is dead.
    pub(crate) have_runs: bool,
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
            suspects: unknown.suspects.clone(),
            have_runs: !unknown.elsewhere.is_empty(),
        };
        let Some(lead) = lead else {
            return Ok(others);
        };
        // At once, since an outcome that is stored is final.
        let found = self.adopt_finished(unknown, &lead)?;
        if found.runs.is_empty() && found.unrecorded.is_empty() && found.unreadable.is_empty() {
            self.take_over_journals(&found.journals);
        }
        if self.stop.wait(LAST_CALLS) {
            return Ok(others);
        }
        // Once more: what was found before may have changed until then.
        let Survey { unknown, lead } = self.survey(unheard)?;
        if let Some(lead) = lead {
            self.adopt_orphans(unknown, &lead)?;
        }
        Ok(others)
    }

    /// Adopts every run that has an outcome, and returns the others.
    fn adopt_finished(
        &self,
        unknown: UnknownRuns,
        lead: &Arc<Lead>,
    ) -> Result<Unfinished, docker::Error> {
        let loader = RecordLoader {
            reader: JournalReader {
                engine: &self.engine,
                active: &self.active,
                limit_bytes: self.keeper.limit_bytes(),
            },
            keeper: &self.keeper,
            stop: &self.stop,
        };
        loader.load(unknown, &mut |run| self.add_finished(run, lead))
    }

    fn adopt_orphans(&self, unknown: UnknownRuns, lead: &Arc<Lead>) -> Result<(), docker::Error> {
        let Unfinished {
            journals,
            mut runs,
            unreadable,
            unrecorded,
            finished,
        } = self.adopt_finished(unknown, lead)?;
        for (id, objects) in unrecorded {
            self.end_unrecorded(id, objects, lead);
        }
        runs.sort_by_key(|run| run.facts.order);
        let count = runs.len();
        for run in runs {
            if self.stop.is_fired() {
                return Ok(());
            }
            self.resume_unfinished(run, lead);
        }
        if (finished, count) != (0, 0) {
            log::info!("took over {finished} results and {count} runs");
        }
        self.take_over_journals(&journals);
        self.unadopted.finish(unreadable);
        Ok(())
    }

    /// Writes the records of all adopted runs to the journal of this server, and removes those of the dead ones. A failure is
    /// logged; the next call tries again.
    fn take_over_journals(&self, journals: &[String]) {
        let listed = self.registry.list();
        let listed: Vec<String> = listed.iter().map(|entry| entry.id.clone()).collect();
        for id in &listed {
            self.keeper.journal().add(id, 0);
        }
        if let Err(error) = self.keeper.rewrite() {
            return log::warn!("records of an earlier server are not taken over yet: {error}");
        }
        for id in listed {
            // It was deleted meanwhile.
            if self.registry.get(&id).is_none() {
                self.keeper.journal().forget(&id);
            }
        }
        for journal in journals {
            let container = Object::Container(journal.clone());
            let objects = vec![container, Object::Volume(journal.clone())];
            self.engine.removal.remove(Object::InOrder(objects));
        }
    }

    /// Ends a run whose record is lost. A run without a mark was never accepted: only its containers are left.
    fn end_unrecorded(&self, id: String, objects: PredecessorObjects, lead: &Arc<Lead>) {
        if objects.marks.current().is_none() {
            return objects.remove_containers(&self.engine, &id);
        }
        let lost =
            "the engine lost what was kept of this run, as by a prune while no server was there";
        let record = OutcomeRecord::lost(&Error::Vanished(lost.into()));
        self.add_finished(
            FinishedRun {
                id,
                record,
                objects,
            },
            lead,
        );
    }

    /// Whether another server of this name has a run: it may have accepted the run since the last look at the engine.
    /// False if the engine cannot say.
    pub(crate) fn is_elsewhere(&self, id: &str) -> bool {
        if self.keeper.persistence() == Persistence::Process {
            return false;
        }
        let us = &self.engine.identity;
        let of_run = [format!("{RUN}={id}"), format!("{INSTANCE}={}", us.instance)];
        let found = self.engine.client.volume_list(&of_run);
        let is_theirs = |volume: &Volume| {
            Mark::of(volume).is_some() && owner(&volume.labels).as_ref() != Some(&us.owner)
        };
        found.is_ok_and(|found| found.iter().any(is_theirs))
    }

    /// Finds the runs that this server does not know, and takes the lead if there are any to adopt.
    fn survey(&self, unheard: &Unheard) -> Result<Survey, docker::Error> {
        let ours = [INSTANCE.to_owned()];
        let containers = self.engine.client.container_list(&ours)?;
        let volumes = self.engine.client.volume_list(&ours)?;
        let owners = Owners::new(&self.engine.identity, unheard, &containers);
        let search = Search {
            engine: &self.engine,
            active: &self.active,
            owners: &owners,
        };
        let unknown = search.sort(containers.clone(), volumes);
        let has_none = unknown.orphaned.is_empty() && unknown.journals.is_empty();
        let lead = match has_none {
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
        {
            let mut stored = entry.stored();
            stored.marks = objects.marks.clone();
            stored.has_outcome = true;
        }
        self.registry.enter_anyway();
        self.registry.adopt(entry.clone(), entry.facts.key());
        let forgotten = self.registry.finish(&entry, outcome, Kept::since(kept));
        self.keeper.remove_records(forgotten);
        self.unadopted.remove(&id);
        objects.remove_containers(&self.engine, &id);
    }

    fn resume_unfinished(&self, run: UnfinishedRun, lead: &Arc<Lead>) {
        let UnfinishedRun {
            id,
            facts,
            request,
            objects,
        } = run;
        let held = self.active.hold(&id);
        let entry = Arc::new(Entry::new(held, facts, self.log_bytes()));
        entry.stored().request = Some(request);
        self.list_unfinished(&entry, &objects, lead);
        if !entry.stored().may_have_started {
            objects.remove_containers(&self.engine, &id);
            return self.scheduler.enqueue(entry);
        }
        let slot = self.admission.enter_anyway();
        let (adopter, turn) = (self.clone(), Turn { entry, slot });
        let work = move || adopter.finish_started(turn, &objects);
        if !run_thread::start(work, &self.stop) {
            log::info!("run {id} is left to the next server");
        }
    }

    fn log_bytes(&self) -> u64 {
        2 * self.max_output_bytes + (1 << 20)
    }

    /// Adds a run without an outcome to the registry.
    fn list_unfinished(&self, entry: &Arc<Entry>, objects: &PredecessorObjects, lead: &Arc<Lead>) {
        entry.keep_lead(lead.clone());
        entry.facts.precede_new_runs();
        {
            let mut stored = entry.stored();
            stored.marks = objects.marks.clone();
            stored.may_have_started = objects.may_have_started();
            stored.has_leftovers = true;
        }
        if objects.is_cancelled() {
            entry.cancel.fire();
        }
        if objects.is_started() {
            entry.set_running();
        }
        self.registry.enter_anyway();
        self.registry.adopt(entry.clone(), entry.facts.key());
        self.unadopted.remove(&entry.id);
    }

    /// Brings a run that may have been started to its outcome.
    fn finish_started(&self, turn: Turn, objects: &PredecessorObjects) {
        let outcome = match &objects.run {
            Some(run) if run.state == "created" && !self.has_started_since(&turn, run) => {
                if let Err(error) = self.keeper.unmark_started(&turn.entry) {
                    let id = &turn.entry.id;
                    log::warn!("another restart just now would lose run {id}: {error}");
                }
                objects.remove_containers(&self.engine, &turn.entry.id);
                return self.scheduler.take_turn(turn);
            }
            Some(run) => self.follow(&turn.entry, objects, run),
            None => {
                let lost = "the run's container was removed while no server watched it, and with it what the run printed and its exit code";
                objects.remove_containers(&self.engine, &turn.entry.id);
                Err(Error::Vanished(lost.into()))
            }
        };
        self.keeper.finish_through(&turn.entry, outcome);
        drop(turn);
    }

    /// Whether a container that had not started when it was listed has started since: the dead server may have sent the call. If
    /// that cannot be known, it counts as started.
    fn has_started_since(&self, turn: &Turn, run: &ContainerSummary) -> bool {
        let client = &self.engine.client;
        let started = until_reachable((client, &turn.entry.cancel), || {
            has_started(client, &run.id)
        });
        !matches!(started, Ok(Some(false)))
    }

    /// Follows the run's container to its end, from which point its containers are ours to remove.
    fn follow(
        &self,
        entry: &Entry,
        objects: &PredecessorObjects,
        run: &ContainerSummary,
    ) -> Outcome {
        let loaded = self.keeper.load_run(entry)?;
        let own = |container: &ContainerSummary| {
            let object = Object::Container(container.id.clone());
            self.engine.removal.own(object)
        };
        let started = StartedRun {
            container: own(run),
            helper: objects.stage.as_ref().map(own),
            nonce: pid_1_nonce(&run.labels),
        };
        let has_stdin = loaded
            .spec
            .stdin
            .as_ref()
            .is_some_and(|bytes| !bytes.is_empty());
        let is_delivered = objects.is_fed();
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
