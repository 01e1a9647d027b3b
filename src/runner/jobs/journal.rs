//! The engine as database: requests and outcomes of a server's asynchronous runs are files on one named volume. Whether such a
//! file counts is said by its run's marks; a file is never removed alone.
//!
//! Writers that come at the same time share one call, because an engine may take 50 ms for it, whatever its size. When the volume
//! is lost, or most of it is of runs that are forgotten, all that counts is written to a new one.

use crate::archive::{self, Packer, UidGid};
use crate::docker;
use crate::random_id;
use crate::runner::cleanup::active::{Active, HeldId};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::staging::pipe::PipeWriter;
use crate::runner::staging::transfer_container::{HelperSpec, lasting_volume};
use crate::runner::staging::upload::{StagedNames, upload};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Packs records.
pub(crate) struct RecordPacker<'p, 'w> {
    packer: &'p mut Packer<&'w mut PipeWriter>,
    names: StagedNames,
}

/// What a run has in the journal.
#[derive(Clone)]
pub(crate) enum RecordFile {
    /// What was asked for.
    Request(Arc<[u8]>),
    /// What came of it. The request counts no longer.
    Outcome(Arc<[u8]>),
}

/// Everything that counts, for a new volume.
pub(crate) trait LiveRecords: Sync {
    /// Packs the records of all runs but those for which `is_packed`.
    fn pack(
        &self,
        is_packed: &dyn Fn(&str) -> bool,
        packer: &mut RecordPacker<'_, '_>,
    ) -> Result<(), archive::Error>;
}

/// The journal of this server.
pub(crate) struct Journal {
    engine: Engine,
    active: Active,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    volume: Option<RecordVolume>,
    waiting: Vec<Batch>,
    is_writing: bool,
    /// Bytes of the runs that have files in the volume, or will have.
    runs: HashMap<String, u64>,
}

/// A write that waits for its turn.
#[derive(Clone)]
struct Batch {
    run: String,
    /// `None`: everything that counts is to be written to a new volume.
    file: Option<RecordFile>,
    done: Arc<OnceLock<Result<(), Error>>>,
}

/// A volume, and the container through which files are put there.
struct RecordVolume {
    /// While this exists, the reaper leaves both alone.
    _id: HeldId,
    /// Of both.
    name: String,
    /// Bytes and files that were written there.
    written_bytes: u64,
    written_files: u64,
}

/// What the names of a run's files end with. A directory is read in the order of its names, so that [`COMPLETE`] comes first.
pub(crate) const COMPLETE: &str = "complete";
pub(crate) const OUTCOME: &str = "outcome";
pub(crate) const REQUEST: &str = "request";

/// How often a new volume is begun for one write, if prunes take it each time.
const MOST_VOLUMES: u32 = 50;
/// A volume is replaced when more than this, and more than twice what counts, was written there.
const WASTE_BYTES: u64 = 32 << 20;
const WASTE_FILES: u64 = 4096;

impl Journal {
    pub(crate) fn new(engine: Engine, active: Active) -> Self {
        Self {
            engine,
            active,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Writes a record; blocks until the engine has it. `live` is everything that counts beside it. No lock that `live` takes
    /// may be held.
    pub(crate) fn write(
        &self,
        run: &str,
        file: RecordFile,
        live: &dyn LiveRecords,
    ) -> Result<(), Error> {
        self.add(run, file.bytes().len() as u64);
        self.perform(run, Some(file), live)
    }

    /// Writes everything that counts to a new volume.
    pub(crate) fn rewrite(&self, live: &dyn LiveRecords) -> Result<(), Error> {
        self.perform("", None, live)
    }

    /// Counts a run whose record an earlier server wrote. [`Journal::rewrite`] has to follow.
    pub(crate) fn add(&self, run: &str, bytes: u64) {
        *self.lock().runs.entry(run.to_owned()).or_default() += bytes;
    }

    /// Whether the volume of this name is the present one.
    pub(crate) fn is_kept_in(&self, volume: &str) -> bool {
        let state = self.lock();
        state
            .volume
            .as_ref()
            .is_some_and(|kept| kept.name == volume)
    }

    /// Name of the present volume.
    pub(crate) fn volume(&self) -> Option<String> {
        self.lock().volume.as_ref().map(|kept| kept.name.clone())
    }

    /// Says that the records of a run no longer count. The volume goes with the last run.
    pub(crate) fn forget(&self, run: &str) {
        let mut state = self.lock();
        state.runs.remove(run);
        self.remove_unused(&mut state);
    }

    fn remove_unused(&self, state: &mut State) {
        if state.runs.is_empty()
            && !state.is_writing
            && let Some(volume) = state.volume.take()
        {
            self.remove(volume);
        }
    }

    fn perform(
        &self,
        run: &str,
        file: Option<RecordFile>,
        live: &dyn LiveRecords,
    ) -> Result<(), Error> {
        let done = Arc::<OnceLock<Result<(), Error>>>::default();
        let mut state = self.lock();
        state.waiting.push(Batch {
            run: run.to_owned(),
            file,
            done: done.clone(),
        });
        loop {
            if let Some(result) = done.get() {
                return result.clone();
            }
            if state.is_writing {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_writing = true;
            let batches = std::mem::take(&mut state.waiting);
            let mut volume = state.volume.take();
            let live_bytes = state.runs.values().sum();
            let live_files = state.runs.len() as u64;
            drop(state);
            if volume
                .as_ref()
                .is_some_and(|volume| volume.is_wasteful(live_bytes, live_files))
                || batches.iter().any(|batch| batch.file.is_none())
            {
                self.replace(&mut volume, &batches, live);
            } else {
                self.append(&mut volume, &batches, live);
            }
            state = self.lock();
            state.volume = volume;
            state.is_writing = false;
            self.remove_unused(&mut state);
            self.changed.notify_all();
        }
    }

    /// Writes the batches to the volume, or to a new one if there is none or it is lost.
    fn append(&self, volume: &mut Option<RecordVolume>, batches: &[Batch], live: &dyn LiveRecords) {
        if let Some(present) = volume {
            let put = self.put(present, batches, None);
            if !put
                .as_ref()
                .is_err_and(|error| self.is_lost(present, error))
            {
                return finish(batches, &put);
            }
        }
        self.replace(volume, batches, live);
    }

    /// Begins a new volume with everything that counts. The old one goes once that is written.
    fn replace(
        &self,
        volume: &mut Option<RecordVolume>,
        batches: &[Batch],
        live: &dyn LiveRecords,
    ) {
        let mut put = Ok(());
        for _ in 0..MOST_VOLUMES {
            let mut new = match self.create() {
                Ok(new) => new,
                Err(error) => {
                    let is_lost = error.is_object_gone();
                    put = Err(error.into());
                    match is_lost {
                        true => continue,
                        false => break,
                    }
                }
            };
            put = self.put(&mut new, batches, Some(live));
            match &put {
                Ok(()) => {
                    if let Some(old) = volume.replace(new) {
                        self.remove(old);
                    }
                    break;
                }
                Err(error) => {
                    let is_lost = self.is_lost(&new, error);
                    self.remove(new);
                    if !is_lost {
                        break;
                    }
                }
            }
        }
        finish(batches, &put);
    }

    fn put(
        &self,
        volume: &mut RecordVolume,
        batches: &[Batch],
        live: Option<&dyn LiveRecords>,
    ) -> Result<(), Error> {
        let batches = || {
            batches
                .iter()
                .filter_map(|batch| Some((batch.run.as_str(), batch.file.as_ref()?)))
        };
        // A request may be in both, since its run is live before it is written.
        let files: HashMap<_, _> = batches().collect();
        upload(
            &self.engine.client,
            &volume.name,
            UidGid::default(),
            |packer, names| {
                let mut packer = RecordPacker { packer, names };
                if let Some(live) = live {
                    live.pack(&|run| files.contains_key(run), &mut packer)?;
                }
                files
                    .iter()
                    .try_for_each(|(run, file)| packer.add(run, file))
            },
        )?;
        volume.written_bytes += batches()
            .map(|(_, file)| file.bytes().len() as u64)
            .sum::<u64>();
        volume.written_files += files.len() as u64;
        Ok(())
    }

    fn create(&self) -> Result<RecordVolume, docker::Error> {
        let id = self.active.hold(&random_id::unique());
        let name = format!("oneoff-{}-records", id.id());
        let labels = self.engine.identity.async_labels(id.id(), Role::Records);
        let mount = lasting_volume(&self.engine.client, &name, labels.clone())?;
        let volume = self.engine.removal.own(Object::Volume(name.clone()));
        // The volume outlives this process, for the next server of this name.
        HelperSpec::with_mount(&name, labels, mount)
            .create(&self.engine)?
            .release();
        volume.release();
        Ok(RecordVolume {
            _id: id,
            name,
            written_bytes: 0,
            written_files: 0,
        })
    }

    /// Whether the write failed because a prune took the container.
    fn is_lost(&self, volume: &RecordVolume, error: &Error) -> bool {
        let found = self.engine.client.container_inspect(&volume.name);
        let is_lost =
            matches!(error, Error::Vanished(_)) || found.is_err_and(|error| error.is_object_gone());
        if is_lost {
            log::debug!("the records are written anew: {error}");
        }
        is_lost
    }

    fn remove(&self, volume: RecordVolume) {
        let container = Object::Container(volume.name.clone());
        let objects = vec![container, Object::Volume(volume.name.clone())];
        self.engine.removal.remove(Object::InOrder(objects));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordFile {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Request(json) | Self::Outcome(json) => json,
        }
    }
}

impl RecordPacker<'_, '_> {
    /// Packs the files of a record of a run.
    pub(crate) fn add(&mut self, run: &str, record: &RecordFile) -> Result<(), archive::Error> {
        match record {
            RecordFile::Request(json) => self.file(run, REQUEST, json),
            RecordFile::Outcome(json) => {
                self.file(run, OUTCOME, json)?;
                self.file(run, REQUEST, &[])?;
                self.file(run, COMPLETE, &[])
            }
        }
    }

    fn file(&mut self, run: &str, part: &str, content: &[u8]) -> Result<(), archive::Error> {
        let name = self.names.below(&format!("{run}.{part}"));
        self.packer.file(&name, 0o600, content)
    }
}

impl RecordVolume {
    fn is_wasteful(&self, live_bytes: u64, live_files: u64) -> bool {
        self.written_bytes > WASTE_BYTES + 2 * live_bytes
            || self.written_files > WASTE_FILES + 2 * live_files
    }
}

fn finish(batches: &[Batch], result: &Result<(), Error>) {
    for batch in batches {
        let _ = batch.done.set(result.clone());
    }
}
