//! Marks: empty named volumes whose names say which asynchronous runs there are, and how far each came. A run exists for as long
//! as it has a mark; what it was asked for and what came of it are in the journal.
//!
//! A volume, and not a container that is never started, because there are volumes that no prune takes.

use crate::docker::{self, Volume, VolumeCreate};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{KEPT, RUN, Role};
use crate::runner::cleanup::removal::Object;
use std::collections::BTreeSet;

/// How far a run came. The greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// It has not started, for certain.
    Waiting,
    /// It may have started: set just before the start. No server starts it again.
    Started,
    /// It has started, and all of its stdin is on its way to the container.
    Fed,
    /// It is cancelled, and must not start.
    Cancelled,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Waiting, Self::Started, Self::Fed, Self::Cancelled];

    /// The mark that is this volume, and the id of its run. `None`: it is none.
    pub(crate) fn of(volume: &Volume) -> Option<(&str, Self)> {
        let labels = &volume.labels;
        // A caller can give a volume any name and any label, but not take this one away.
        if Role::of(labels) != Some(Role::Mark) || labels.contains_key(KEPT) {
            return None;
        }
        let run = labels.get(RUN)?;
        let mark = Self::ALL
            .into_iter()
            .find(|mark| mark.volume(run) == volume.name)?;
        Some((run, mark))
    }

    /// Name of the volume that is this mark of a run.
    pub(crate) fn volume(self, run: &str) -> String {
        let word = match self {
            Self::Waiting => "waiting",
            Self::Started => "started",
            Self::Fed => "fed",
            Self::Cancelled => "cancelled",
        };
        format!("oneoff-{run}-{word}")
    }
}

/// The marks of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// The one that counts. `None`: the engine does not have the run.
    current: Option<Mark>,
    /// All that the engine may have, also after a call that failed.
    created: BTreeSet<Mark>,
}

impl Marks {
    /// Adds a mark that the engine has.
    pub(crate) fn add(&mut self, mark: Mark) {
        self.created.insert(mark);
        self.current = self.current.max(Some(mark));
    }

    /// The mark that counts.
    pub(crate) fn current(&self) -> Option<Mark> {
        self.current
    }

    /// Name of the volume that is the mark that counts.
    pub(crate) fn volume(&self, run: &str) -> Option<String> {
        self.current.map(|mark| mark.volume(run))
    }

    /// Creates a mark, and removes the lesser ones. Error: the run may be marked as before, or as it should be.
    pub(crate) fn set(
        &mut self,
        engine: &Engine,
        run: &str,
        mark: Mark,
    ) -> Result<(), docker::Error> {
        let lesser = self.created.clone();
        self.created.insert(mark);
        create(engine, run, mark)?;
        self.current = self.current.max(Some(mark));
        for other in lesser.into_iter().filter(|other| *other < mark) {
            match engine.client.volume_remove(&other.volume(run)) {
                Ok(()) => drop(self.created.remove(&other)),
                Err(error) => log::debug!("mark of run {run}, not removed yet: {error}"),
            }
        }
        Ok(())
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.current == Some(Mark::Cancelled)
    }

    /// Marks a run as waiting again that has not started after all.
    pub(crate) fn set_back(&mut self, engine: &Engine, run: &str) -> Result<(), docker::Error> {
        self.created.insert(Mark::Waiting);
        create(engine, run, Mark::Waiting)?;
        for other in [Mark::Started, Mark::Fed] {
            if self.created.contains(&other) {
                engine.client.volume_remove(&other.volume(run))?;
                self.created.remove(&other);
            }
        }
        self.current = Some(Mark::Waiting);
        Ok(())
    }

    /// Creates the mark that counts once more, because the engine has lost it.
    pub(crate) fn create_again(&self, engine: &Engine, run: &str) -> Result<(), docker::Error> {
        self.current
            .map_or(Ok(()), |mark| create(engine, run, mark))
    }

    /// Removes all marks: from here on there is no such run. Error: there may still be one.
    pub(crate) fn remove_now(&mut self, engine: &Engine, run: &str) -> Result<(), docker::Error> {
        while let Some(mark) = self.created.first().copied() {
            engine.client.volume_remove(&mark.volume(run))?;
            self.created.remove(&mark);
        }
        self.current = None;
        Ok(())
    }

    /// As [`Marks::remove_now`], but returns at once: the removal threads do the work.
    pub(crate) fn remove(&mut self, engine: &Engine, run: &str) {
        for mark in std::mem::take(&mut self.created) {
            engine.removal.remove(Object::Volume(mark.volume(run)));
        }
        self.current = None;
    }
}

fn create(engine: &Engine, run: &str, mark: Mark) -> Result<(), docker::Error> {
    let volume = VolumeCreate {
        name: mark.volume(run),
        driver: "local".into(),
        driver_opts: engine.client.options_against_prunes()?,
        labels: engine.identity.async_labels(run, Role::Mark),
    };
    engine.client.volume_create(&volume).map(drop)
}
