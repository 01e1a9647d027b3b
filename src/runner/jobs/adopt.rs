//! Takes over the detached runs of a dead predecessor: what ended is remembered, what goes on is followed, what waited
//! waits again, in the same order. A run that may have been started is never started again.

use crate::archive;
use crate::docker::{self, ContainerSummary};
use crate::runner::cleanup::labels::{RUN, Role};
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::facade::Inner;
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::registry::Entry;
use crate::runner::jobs::store::{self, Ended, Facts, result_name, role, started_name};
use crate::runner::jobs::submit::Turn;
use crate::runner::run::stage::Staged;
use crate::runner::run::utf8_chunks::Utf8Chunks;
use crate::runner::{Encoding, Error, Event, RunResult, Sink};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// What the engine has of one run.
#[derive(Default)]
struct Remains {
    request: Option<ContainerSummary>,
    run: Option<ContainerSummary>,
    stage: Option<ContainerSummary>,
    result: Option<ContainerSummary>,
    /// Helpers that nobody needs any more.
    others: Vec<ContainerSummary>,
}

/// What the dead server asked of the engine last may still be on its way; after so long it is done.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Looks for what a dead predecessor left. Errors: the engine cannot be asked; what was taken over until then stays so.
pub(crate) fn adopt(inner: &Arc<Inner>) -> Result<(), docker::Error> {
    if remains(inner)?.is_empty() || inner.stop.wait(LAST_WORDS) {
        return Ok(());
    }
    let (mut ended, mut unfinished) = (Vec::new(), Vec::new());
    for (id, remains) in remains(inner)? {
        if inner.registry.get(&id).is_some() {
            continue;
        }
        if let Some(result) = &remains.result
            && let Some(record) = inner.stage.recall::<Ended>(&result.id)?
        {
            ended.push((record, id, remains));
        } else if let Some(request) = &remains.request
            && let Some(record) = inner.stage.recall::<store::Request>(&request.id)?
        {
            unfinished.push((record.facts, id, remains));
        } else {
            // Its acceptance was never told.
            remains.discard(inner, &[]);
        }
    }
    let counts = (ended.len(), unfinished.len());
    ended.sort_by_key(|(record, ..)| record.finished);
    for (record, id, remains) in ended {
        remember(inner, &id, record, &remains);
    }
    unfinished.sort_by_key(|(facts, ..)| facts.order);
    for (facts, id, remains) in unfinished {
        go_on(inner, &id, facts, remains);
    }
    if counts != (0, 0) {
        log::info!("took over {} results and {} runs", counts.0, counts.1);
    }
    Ok(())
}

fn remains(inner: &Inner) -> Result<HashMap<String, Remains>, docker::Error> {
    let ours = [crate::runner::cleanup::labels::INSTANCE.to_owned()];
    let mut runs: HashMap<String, Remains> = HashMap::new();
    for container in inner.client.container_list(&ours)? {
        let Some(run) = container.labels.get(RUN) else {
            continue;
        };
        if !inner.identity.inherits(&container.labels) {
            continue;
        }
        let remains = runs.entry(run.clone()).or_default();
        match role(&container.labels) {
            Some(Role::Request) => remains.request = Some(container),
            Some(Role::Run) => remains.run = Some(container),
            Some(Role::Stage) => remains.stage = Some(container),
            Some(Role::Result) => remains.result = Some(container),
            None => remains.others.push(container),
        }
    }
    // Runs whose callers waited are the reaper's.
    runs.retain(|_, remains| {
        remains.request.is_some()
            || remains.result.is_some()
            || remains.run.is_some()
            || remains.stage.is_some()
    });
    Ok(runs)
}

impl Remains {
    /// Removes, now, everything but what plays these roles: what comes next may need its names.
    fn discard(&self, inner: &Inner, keep: &[Role]) {
        let roles = [
            (Role::Request, &self.request),
            (Role::Run, &self.run),
            (Role::Stage, &self.stage),
            (Role::Result, &self.result),
        ];
        let gone = roles.into_iter().filter(|(role, _)| !keep.contains(role));
        let gone = gone.filter_map(|(_, container)| container.as_ref());
        for container in gone.chain(&self.others) {
            if inner.client.container_remove(&container.id).is_err() {
                inner.stage.discard(&container.id);
            }
        }
    }
}

fn remember(inner: &Inner, id: &str, record: Ended, remains: &Remains) {
    let facts = record.facts.clone();
    let (started, finished) = (record.started.map(Moment), Moment(record.finished));
    let outcome = record.outcome();
    let bytes = outcome.as_ref().map_or(0, output_bytes);
    let entry = Arc::new(Entry::new(inner.active.hold(id), facts, bytes + (1 << 20)));
    if let Ok(result) = &outcome {
        replay(&entry, result, started.is_some());
    }
    entry.set_started(started);
    entry.kept().outcome = remains.result.as_ref().map(|result| result.id.clone());
    inner.registry.enter_anyway();
    inner.registry.accept(entry.clone(), entry.facts.key());
    let gone = inner.registry.finish(&entry, outcome, finished);
    inner.discard_outcomes(gone);
    remains.discard(inner, &[Role::Result]);
}

fn output_bytes(result: &RunResult) -> u64 {
    2 * (result.stdout.len() + result.stderr.len()) as u64
}

/// In which order it was printed is not known any more.
fn replay(entry: &Entry, result: &RunResult, has_started: bool) {
    if has_started {
        entry.event(Event::Started);
    }
    replay_stream(entry, &result.stdout, Event::Stdout);
    replay_stream(entry, &result.stderr, Event::Stderr);
}

/// In pieces as a container's come, however much it is.
fn replay_stream(entry: &Entry, text: &str, event: fn(Vec<u8>) -> Event) {
    const PIECE_BYTES: usize = 32 * 1024;
    match entry.encoding {
        Encoding::Base64 => {
            let bytes = archive::decode_base64(text).unwrap_or_default();
            let pieces = bytes.chunks(PIECE_BYTES);
            pieces.for_each(|piece| entry.event(event(piece.to_vec())));
        }
        Encoding::Utf8 => {
            let mut whole = Utf8Chunks::default();
            let pieces = text.as_bytes().chunks(PIECE_BYTES);
            pieces.for_each(|piece| entry.event(event(whole.push(piece))));
        }
    }
}

fn go_on(inner: &Arc<Inner>, id: &str, facts: Facts, remains: Remains) {
    let key = facts.key();
    let most = inner.policy.max_output_bytes;
    let entry = Arc::new(Entry::new(
        inner.active.hold(id),
        facts,
        2 * most + (1 << 20),
    ));
    let request = remains.request.as_ref();
    let name = format!("/{}", started_name(id));
    let may_have_started = request.is_some_and(|request| request.names.contains(&name));
    {
        let mut kept = entry.kept();
        kept.request = request.map(|request| request.id.clone());
        kept.may_have_started = may_have_started;
        kept.has_remains = true;
    }
    if let Some(run) = remains.run.as_ref().filter(|run| run.state != "created") {
        entry.set_started(Some(created(run)));
    }
    inner.registry.enter_anyway();
    inner.registry.accept(entry.clone(), key);
    if !may_have_started {
        remains.discard(inner, &[Role::Request]);
        return inner.enqueue(entry);
    }
    let slot = inner.admission.enter_anyway();
    let (worker, turn) = (inner.clone(), Turn { entry, slot });
    let spawned = Builder::new()
        .name("run".into())
        .spawn(move || follow_up(&worker, turn, remains));
    if let Err(error) = spawned {
        log::error!("no thread to follow run {id}, which the next server has to do: {error}");
    }
}

/// When a run's container was created, which is just before its start.
fn created(run: &ContainerSummary) -> Moment {
    Moment(u64::try_from(run.created).unwrap_or(0) * 1000)
}

/// A run that may have been started.
fn follow_up(inner: &Inner, turn: Turn, remains: Remains) {
    let outcome = match &remains.run {
        Some(run) if run.state == "created" => {
            remains.discard(inner, &[Role::Request]);
            return inner.take_turn(turn);
        }
        Some(run) => resume(inner, &turn.entry, &remains, run),
        None => {
            let lost = "the run's container was removed while no server watched it";
            Err(Error::Engine(lost.into()))
        }
    };
    let outcome = match outcome {
        // The dead server was quicker.
        Err(error) => told_before(inner, &turn.entry).unwrap_or(Err(error)),
        outcome => outcome,
    };
    inner.finish(&turn.entry, outcome);
    drop(turn);
}

fn told_before(inner: &Inner, entry: &Entry) -> Option<Outcome> {
    let name = result_name(&entry.id);
    let record: Ended = inner.stage.recall(&name).ok()??;
    entry.kept().outcome = Some(name);
    if let Some(request) = entry.kept().request.take() {
        inner.stage.discard(&request);
    }
    Some(record.outcome())
}

fn resume(
    inner: &Inner,
    entry: &Entry,
    remains: &Remains,
    run: &ContainerSummary,
) -> Result<RunResult, Error> {
    let (spec, _) = loop {
        match inner.recall(entry) {
            Err(Error::EngineUnreachable(_)) if !inner.stop.wait(LAST_WORDS) => {}
            other => break other?,
        }
    };
    let own = |container: &ContainerSummary| {
        let id = container.id.clone();
        inner.removal.own(Object::Container(id))
    };
    let staged = remains.stage.as_ref().map(own).map(Staged::adopted);
    inner.resume(&spec, entry, (own(run), staged, created(run)))
}
