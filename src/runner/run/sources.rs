//! Finds where a run's mounts can still be read after its end. A prune may remove the run's container, its helper and its volumes
//! at any moment from then on. An object that is gone is an error; it is never taken for something that the run did not leave.

use crate::archive;
use crate::docker;
use crate::docker::container::PathArchive;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::OBJECT_SLACK;
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::request::mounts::{MountSource, MountSpec};
use crate::runner::run::create::Created;
use crate::runner::staging::existing_volume::open_volume;
use crate::runner::staging::transfer_container::STAGE;
use std::fmt;
use std::io::{ErrorKind, Read};

/// How many helpers are made to read one volume, if prunes remove them.
const MOST_HELPERS: u32 = 50;

/// Everything that the mounts of a run can be read from.
pub(crate) struct Sources<'a> {
    pub(crate) engine: &'a Engine,
    /// Id of the run.
    pub(crate) run: &'a str,
    pub(crate) created: &'a Created,
}

/// The engine's tar of one mount.
pub(crate) struct Opened {
    pub(crate) tar: Box<dyn Read + Send>,
    /// Whether the mount's path is a symbolic link; the tar may then be of what it leads to.
    pub(crate) is_symlink: bool,
    /// The helper through which it is read, if it was made for that. It uses the volume until it is removed.
    pub(crate) helper: Option<RemovalGuard>,
}

/// Why a mount cannot be read back.
pub(crate) enum Fault {
    /// The objects that had it were removed.
    Lost(String),
    /// The engine failed.
    Engine(docker::Error),
    /// The engine could not be asked for an earlier mount, with the reason; it was not asked again.
    EngineAway(String),
    /// The engine's archive broke off or makes no sense.
    Archive(archive::Error),
}

impl Sources<'_> {
    /// Opens one mount. `Ok(None)`: the run left nothing there, or a mount of this kind is never read back.
    pub(crate) fn open(&self, index: usize, mount: &MountSpec) -> Result<Option<Opened>, Fault> {
        match &mount.source {
            MountSource::CollectedFile => self.open_collected_file(&mount.target),
            MountSource::File { .. } | MountSource::Archive(_) | MountSource::Files(_) => {
                self.open_staged(index).map(Some)
            }
            MountSource::Named(name) => self.open_named(index, name).map(Some),
            MountSource::Host(_) => Ok(None),
        }
    }

    fn open_collected_file(&self, path: &str) -> Result<Option<Opened>, Fault> {
        let client = &self.engine.client;
        match client.archive_get_if_present(&self.created.container, path) {
            Ok(archive) => Ok(archive.map(Opened::from)),
            Err(error) if error.is_object_gone() => Err(Fault::Lost(format!(
                "the run's container was removed by another client of the engine before this was read ({error})"
            ))),
            Err(error) => Err(Fault::Engine(error)),
        }
    }

    /// Through the helper, or through a new one if that is gone.
    fn open_staged(&self, index: usize) -> Result<Opened, Fault> {
        let stage = &self.created.stage;
        let path = format!("{STAGE}/{index}");
        if let Some(helper) = &stage.helper {
            match self.engine.client.archive_get(helper, &path) {
                Ok(tar) => return Ok(tar.into()),
                Err(error) if error.is_object_gone() => {}
                Err(error) => return Err(Fault::Engine(error)),
            }
        }
        match &stage.volume {
            Some(volume) => self.open_volume(index, volume, &path),
            None => Err(Fault::Lost(lost_volume())),
        }
    }

    fn open_named(&self, index: usize, volume: &str) -> Result<Opened, Fault> {
        self.open_volume(index, volume, STAGE)
    }

    /// Opens a path of a volume through a new helper.
    fn open_volume(&self, index: usize, volume: &str, path: &str) -> Result<Opened, Fault> {
        let mut attempt = 1;
        loop {
            let name = format!("oneoff-{}-read{index}-{attempt}", self.run);
            match self.try_open_volume(&name, volume, path) {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) => return Err(Fault::Lost(lost_volume())),
                Err(error) if !error.is_object_gone() => return Err(Fault::Engine(error)),
                Err(_) if attempt < MOST_HELPERS => attempt += 1,
                Err(_) => return Err(Fault::Lost(lost_volume())),
            }
        }
    }

    fn try_open_volume(
        &self,
        name: &str,
        volume: &str,
        path: &str,
    ) -> Result<Option<Opened>, docker::Error> {
        let labels = self.engine.identity.labels(self.run, OBJECT_SLACK);
        let Some(helper) = open_volume(self.engine, volume, name, labels)? else {
            return Ok(None);
        };
        let tar = self.engine.client.archive_get(helper.id(), path)?;
        Ok(Some(Opened {
            helper: Some(helper),
            ..tar.into()
        }))
    }
}

impl Fault {
    /// Whether the engine could not be asked at all, so that asking it for more would only take time.
    pub(crate) fn is_engine_away(&self) -> bool {
        match self {
            Self::Engine(error) => is_engine_away(error),
            Self::Archive(archive::Error::Io(error)) => error.kind() == ErrorKind::TimedOut,
            Self::EngineAway(_) => true,
            Self::Archive(_) | Self::Lost(_) => false,
        }
    }

    /// Whether the engine sent only a part of an archive.
    pub(crate) fn is_cut(&self) -> bool {
        match self {
            Self::Archive(error) => matches!(error, archive::Error::Io(_) | archive::Error::Tar(_)),
            Self::Engine(_) | Self::EngineAway(_) | Self::Lost(_) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(text) | Self::EngineAway(text) => f.write_str(text),
            Self::Engine(error) => error.fmt(f),
            Self::Archive(error) => write!(f, "the engine's archive cannot be read: {error}"),
        }
    }
}

impl From<Box<dyn Read + Send>> for Opened {
    fn from(tar: Box<dyn Read + Send>) -> Self {
        Self {
            tar,
            is_symlink: false,
            helper: None,
        }
    }
}

impl From<PathArchive> for Opened {
    fn from(archive: PathArchive) -> Self {
        Self {
            is_symlink: archive.is_symlink,
            ..archive.tar.into()
        }
    }
}

fn is_engine_away(error: &docker::Error) -> bool {
    matches!(
        error,
        docker::Error::Unreachable { .. } | docker::Error::TimedOut { .. }
    )
}

fn lost_volume() -> String {
    "the volume was removed by another client of the engine before it was read".into()
}
