//! Stores again what the engine has lost of the asynchronous runs. No prune of Docker's takes it, but someone may remove any volume,
//! and Podman's prunes take these. This server knows everything that they say, for as long as it lives.

use crate::cancel::Cancel;
use crate::docker::{self, Client};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{ASYNC, INSTANCE};
use crate::runner::jobs::entry::Entry;
use crate::runner::jobs::record_keeper::{Persistence, RecordKeeper};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Watches the engine for what it loses.
pub(crate) struct Healer {
    client: Client,
    instance: String,
    keeper: Arc<RecordKeeper>,
    stop: Cancel,
}

/// How long to wait before the engine is asked again after it failed.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How long the events are followed before everything is compared with what the engine has: an engine may miss an event, and
/// Podman sends none of these.
const PERIOD: Duration = Duration::from_secs(30);

/// A run, and the volume of its mark before the engine was asked for all it has.
struct Expected {
    entry: Arc<Entry>,
    mark: Option<String>,
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

    /// Compares everything with what the engine has, then stores each volume again that the engine reports as removed. Returns
    /// when the events end, and about every 30 s.
    fn watch(&self) -> Result<(), docker::Error> {
        let removed = self.client.volume_removals(PERIOD)?;
        self.compare()?;
        let begun = Instant::now();
        for volume in removed {
            if self.stop.is_fired() {
                break;
            }
            self.heal(&volume);
            if begun.elapsed() > PERIOD {
                break;
            }
        }
        Ok(())
    }

    /// Stores what was on this volume, which was removed, if it counts.
    fn heal(&self, volume: &str) {
        if self.keeper.journal().is_kept_in(volume) {
            return self.rewrite();
        }
        let run = volume.strip_prefix("oneoff-").and_then(|rest| {
            let (run, _mark) = rest.rsplit_once('-')?;
            self.keeper.registry().get(run)
        });
        if let Some(entry) = run
            && entry.stored().marks.volume(&entry.id).as_deref() == Some(volume)
        {
            self.keeper.heal_mark(&entry);
        }
    }

    fn rewrite(&self) {
        if let Err(error) = self.keeper.rewrite() {
            log::warn!("the records of asynchronous runs are only in memory: {error}");
        }
    }

    fn compare(&self) -> Result<(), docker::Error> {
        // Before the engine is asked: what is stored later may be missing from its answer.
        let journal = self.keeper.journal().volume();
        let runs = self.keeper.registry().list();
        let expected: Vec<Expected> = runs.into_iter().map(expected).collect();
        if expected.is_empty() {
            return Ok(());
        }
        let labels = [format!("{INSTANCE}={}", self.instance), ASYNC.to_owned()];
        let found = self.client.volume_list(&labels)?;
        let existing: HashSet<&str> = found.iter().map(|volume| volume.name.as_str()).collect();
        let is_gone = |volume: &&String| !existing.contains(volume.as_str());
        // What a run is comes before that there is one.
        if let Some(gone) = journal.as_ref().filter(is_gone)
            && self.keeper.journal().is_kept_in(gone)
        {
            self.rewrite();
        }
        for Expected { entry, mark } in &expected {
            if mark.as_ref().filter(is_gone).is_some() {
                self.keeper.heal_mark(entry);
            }
            self.keeper.heal_outcome(entry);
        }
        Ok(())
    }
}

fn expected(entry: Arc<Entry>) -> Expected {
    let mark = entry.stored().marks.volume(&entry.id);
    Expected { entry, mark }
}
