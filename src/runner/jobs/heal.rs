//! Stores records again that the engine has lost. A record is a container that is never started, so `docker container prune`
//! removes it. This server knows everything that such a record says, for as long as it lives.

use crate::cancel::Cancel;
use crate::docker::{self, Client};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{ASYNC, INSTANCE, RUN};
use crate::runner::jobs::entry::Entry;
use crate::runner::jobs::record_keeper::{Persistence, RecordKeeper};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Watches the engine for lost records.
pub(crate) struct Healer {
    client: Client,
    instance: String,
    keeper: Arc<RecordKeeper>,
    stop: Cancel,
}

/// How long to wait before the engine is asked again after it failed.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How long the events are followed before all records are compared with what the engine has: an engine may miss an event, and
/// Podman sends none of these.
const PERIOD: Duration = Duration::from_secs(30);

/// A run, and the containers that its records were in before the engine was asked for all it has.
struct Expected {
    entry: Arc<Entry>,
    request: Option<String>,
    outcome: Option<String>,
}

impl Healer {
    /// Starts the thread, unless nothing is stored in the engine. It ends soon after `stop` fires. Errors: no thread.
    pub(crate) fn start(
        engine: &Engine,
        keeper: &Arc<RecordKeeper>,
        stop: &Cancel,
    ) -> std::io::Result<()> {
        if keeper.persistence() == Persistence::Process {
            return Ok(());
        }
        let healer = Self {
            client: engine.client.clone(),
            instance: engine.identity.instance.clone(),
            keeper: keeper.clone(),
            stop: stop.clone(),
        };
        let rounds = move || {
            while !healer.stop.is_fired() {
                if let Err(error) = healer.watch() {
                    log::debug!("the records are not watched just now: {error}");
                    healer.stop.wait(RETRY_PAUSE);
                }
            }
        };
        Builder::new()
            .name("records".into())
            .spawn(rounds)
            .map(drop)
    }

    /// Compares all records with what the engine has, then stores each one again whose container the engine reports as
    /// removed. Returns when the events end, and about every 30 s.
    fn watch(&self) -> Result<(), docker::Error> {
        let labels = [format!("{INSTANCE}={}", self.instance), ASYNC.to_owned()];
        let removed = self.client.container_removals(&labels, PERIOD)?;
        self.compare(&labels)?;
        let begun = Instant::now();
        for container in removed {
            if self.stop.is_fired() {
                break;
            }
            let run = container.labels.get(RUN);
            if let Some(entry) = run.and_then(|run| self.keeper.registry().get(run)) {
                self.keeper.heal_request(&entry, &container.id);
                self.keeper.heal_outcome(&entry, Some(&container.id));
            }
            if begun.elapsed() > PERIOD {
                break;
            }
        }
        Ok(())
    }

    fn compare(&self, labels: &[String]) -> Result<(), docker::Error> {
        // Before the engine is asked: what is stored later may be missing from its answer.
        let expected: Vec<Expected> = self
            .keeper
            .registry()
            .list()
            .into_iter()
            .map(expected)
            .collect();
        if expected.is_empty() {
            return Ok(());
        }
        let found = self.client.container_list(labels)?;
        let names = found.iter().flat_map(|container| {
            let names = container
                .names
                .iter()
                .map(|name| &name[1.min(name.len())..]);
            names.chain([container.id.as_str()])
        });
        let existing: HashSet<&str> = names.collect();
        let is_gone = |container: &&String| !existing.contains(container.as_str());
        for run in expected {
            if let Some(gone) = run.request.as_ref().filter(is_gone) {
                self.keeper.heal_request(&run.entry, gone);
            }
            if run.outcome.is_none() || run.outcome.as_ref().filter(is_gone).is_some() {
                self.keeper.heal_outcome(&run.entry, run.outcome.as_deref());
            }
        }
        Ok(())
    }
}

fn expected(entry: Arc<Entry>) -> Expected {
    let (request, outcome) = {
        let stored = entry.stored();
        (stored.request.clone(), stored.outcome.clone())
    };
    Expected {
        entry,
        request,
        outcome,
    }
}
