//! Named volumes: create, fill, read and delete on request. They belong to the caller and stay until deleted.

use crate::archive::{self, UidGid};
use crate::docker::{
    self, Client, DriverConfig, Labels, Mount, Volume, VolumeCreate, VolumeOptions,
};
use crate::memory::{MemoryBudget, Reservation};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::fill::{self, Fill};
use crate::runner::cleanup::labels::{FILLS, KEPT, OBJECT_SLACK};
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::{ApiProfile, archive_limits};
use crate::runner::request::mounts::{VOLUME_NAME_RULE, is_volume_name};
use crate::runner::request::volume::{Content, VolumeSpec};
use crate::runner::semaphore::Semaphore;
use crate::runner::staging::helper::{HelperSpec, STAGE, reading_mount};
use crate::runner::staging::upload::{pack_files, staged_name, upload};
use crate::runner::volumes::write_locks::WriteLocks;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for removals in progress before a volume counts as in use.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many volumes are read from the engine at once.
const READS_AT_ONCE: usize = 8;
/// How long a read waits for its turn.
const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Memory of a read beside its content, for buffers and compression.
const READ_BYTES: u64 = 512 * 1024;

/// Creates, fills, reads back and removes named volumes.
pub(crate) struct Volumes {
    engine: Engine,
    active: Active,
    policy: Arc<Policy>,
    memory: MemoryBudget,
    reading: Semaphore,
    write_locks: WriteLocks,
}

/// The content of a volume.
#[derive(Debug)]
pub struct VolumeContent {
    /// Base64 of a tar.gz.
    pub content: String,
    /// The memory of the content, to be held as long as the content is.
    pub memory: Reservation,
}

impl Volumes {
    pub(crate) fn new(
        engine: Engine,
        active: Active,
        policy: Arc<Policy>,
        memory: MemoryBudget,
    ) -> Self {
        Self {
            engine,
            active,
            policy,
            memory,
            reading: Semaphore::new(READS_AT_ONCE),
            write_locks: WriteLocks::default(),
        }
    }

    /// Creates and fills a volume, or writes the content over that of an existing volume of this service. If it fails, a
    /// volume that it created is removed. Returns a sentence that says what was done.
    pub(crate) fn create(&self, request: Value, profile: ApiProfile) -> Result<String, Error> {
        let spec = VolumeSpec::from_json(request, profile, &self.policy)?;
        let _lock = self
            .write_locks
            .try_lock(&spec.name)
            .ok_or_else(|| busy(&spec.name))?;
        match self.engine.client.volume_inspect(&spec.name) {
            Ok(volume) if fill::is_unfinished(&self.engine.client, &volume)? => {
                Err(busy(&spec.name))
            }
            Ok(volume) if is_ours(&volume) => self.overwrite(&spec),
            Ok(_) => Err(Error::Conflict {
                code: "volume_not_ours",
                detail: format!(
                    "a volume {} exists that this service did not make",
                    spec.name
                ),
            }),
            Err(error) if is_absent(&error) => self.create_new(&spec),
            Err(error) => Err(error.into()),
        }
    }

    fn create_new(&self, spec: &VolumeSpec) -> Result<String, Error> {
        let active = self.active.enter();
        let mut labels = spec.labels.clone();
        labels.insert(KEPT.into(), active.id().to_owned());
        if matches!(spec.content, Content::Nothing) {
            let config = VolumeCreate {
                name: spec.name.clone(),
                driver: spec.driver.clone(),
                driver_opts: spec.driver_opts.clone(),
                labels,
            };
            self.engine
                .client
                .volume_create(&config)
                .map_err(driver_error)?;
            return Ok(format!("volume {} created, empty", spec.name));
        }
        let fill = Fill {
            id: active.id().to_owned(),
            volume: spec.name.clone(),
        };
        let mut guard = self.engine.removal.own(Object::Fill(fill.clone()));
        guard.keep_active(active);
        match self.create_filled(&fill, spec, labels) {
            Ok(()) => {
                guard.release();
                Ok(format!("volume {} created and filled", spec.name))
            }
            Err(error) => {
                // Before the answer, because the caller may try again at once.
                let _ = guard.remove_now(&self.engine.client);
                Err(error)
            }
        }
    }

    fn create_filled(&self, fill: &Fill, spec: &VolumeSpec, labels: Labels) -> Result<(), Error> {
        let mut helper_labels = self.engine.identity.labels(&fill.id, OBJECT_SLACK);
        helper_labels.insert(FILLS.into(), fill.volume.clone());
        fill.create_marker(&self.engine.client, &helper_labels)?;
        let mount = Mount {
            volume_options: Some(VolumeOptions {
                no_copy: true,
                labels,
                driver_config: Some(DriverConfig {
                    name: spec.driver.clone(),
                    options: spec.driver_opts.clone(),
                }),
            }),
            ..filled_mount(spec)
        };
        let helper =
            HelperSpec::with_mount(&fill.helper(), helper_labels, mount).create(&self.engine);
        // From here on the guard of the whole fill covers the helper too.
        let helper = helper.map_err(driver_error)?.release();
        self.put_content(&helper, spec)?;
        Ok(fill.complete(&self.engine.client)?)
    }

    fn overwrite(&self, spec: &VolumeSpec) -> Result<String, Error> {
        if matches!(spec.content, Content::Nothing) {
            return Ok(format!("volume {} exists, nothing to write", spec.name));
        }
        let active = self.active.enter();
        let labels = self.engine.identity.labels(active.id(), OBJECT_SLACK);
        let name = fill::helper_name(active.id());
        let mut helper = HelperSpec::with_mount(&name, labels, filled_mount(spec))
            .create(&self.engine)
            .map_err(driver_error)?;
        helper.keep_active(active);
        self.put_content(helper.id(), spec)?;
        helper.remove_now(&self.engine.client)?;
        Ok(format!(
            "volume {} exists, its content written over",
            spec.name
        ))
    }

    fn put_content(&self, helper: &str, spec: &VolumeSpec) -> Result<(), Error> {
        let limits = archive_limits(self.policy.max_unpacked_bytes);
        let client = &self.engine.client;
        upload(client, helper, UidGid::default(), |packer| {
            match &spec.content {
                Content::Nothing => Ok(()),
                Content::Archive {
                    base64,
                    strip_components,
                } => packer.targz(
                    STAGE.trim_start_matches('/'),
                    base64,
                    *strip_components,
                    limits,
                ),
                Content::Files(files) => pack_files(packer, &staged_name(""), files),
            }
        })
    }

    /// Reads a volume of this service. Errors: [`Error::NotFound`], [`Error::Forbidden`], [`Error::TooLarge`] over the collect
    /// limit, [`Error::OutOfMemory`], [`Error::Overloaded`].
    pub(crate) fn read(&self, name: &str) -> Result<VolumeContent, Error> {
        self.require_our_volume(name)?;
        let memory = self.memory.reservation();
        if !memory.grow(READ_BYTES) {
            return Err(Error::OutOfMemory);
        }
        let _permit = self.reading.acquire(READ_PATIENCE).ok_or_else(|| {
            Error::Overloaded("too many volumes are being read; try again later".into())
        })?;
        let content = self.read_content(name, &memory)?;
        memory.set(content.len() as u64);
        Ok(VolumeContent { content, memory })
    }

    fn read_content(&self, name: &str, memory: &Reservation) -> Result<String, Error> {
        let active = self.active.enter();
        let helper_name = format!("oneoff-{}-read", active.id());
        let labels = self.engine.identity.labels(active.id(), OBJECT_SLACK);
        let helper = HelperSpec::with_mount(&helper_name, labels, reading_mount(name))
            .create(&self.engine)?;
        let mut tar = self.engine.client.archive_get(helper.id(), STAGE)?;
        let (limit, room) = (self.policy.max_collect_bytes, &mut |bytes| {
            memory.grow(bytes)
        });
        let collected = archive::collect_directory(&mut *tar, limit, room);
        drop(tar);
        // Before the answer, because the caller may delete the volume next.
        helper.remove_now(&self.engine.client)?;
        match collected {
            Ok(collected) => Ok(collected.content),
            Err(archive::Error::TooLarge(detail)) => Err(Error::TooLarge(detail)),
            Err(archive::Error::NoRoom) => Err(Error::OutOfMemory),
            Err(error) => {
                let detail = format!("the engine's archive cannot be read: {error}");
                Err(Error::Engine(detail))
            }
        }
    }

    /// Deletes a volume of this service. If it is in use, waits for removals in progress and tries once more. Errors:
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`].
    pub(crate) fn delete(&self, name: &str) -> Result<(), Error> {
        self.require_our_volume(name)?;
        let _lock = self.write_locks.try_lock(name).ok_or_else(|| busy(name))?;
        let removed = match self.engine.client.volume_remove(name) {
            Err(docker::Error::Status { status: 409, .. }) => {
                // The container of a run that was answered already may not be removed yet.
                self.engine.removal.settle(Instant::now() + SETTLE_TIMEOUT);
                self.engine.client.volume_remove(name)
            }
            other => other,
        };
        removed.map_err(|error| match error {
            docker::Error::Status {
                status: 409,
                message,
                ..
            } => Error::Conflict {
                code: "volume_in_use",
                detail: message,
            },
            other => other.into(),
        })
    }

    fn require_our_volume(&self, name: &str) -> Result<(), Error> {
        if !is_volume_name(name) {
            return Err(Error::invalid(&["path", "name"], VOLUME_NAME_RULE));
        }
        if !self.policy.allowed_volumes.allow(name) {
            let detail = "this volume is not allowed here".into();
            return Err(Error::Forbidden {
                code: "volume_not_allowed",
                detail,
            });
        }
        match is_ours(&require_volume(&self.engine.client, name)?) {
            true => Ok(()),
            false => Err(Error::Forbidden {
                code: "volume_not_ours",
                detail: format!("volume {name} was not made by this service"),
            }),
        }
    }
}

/// Inspects a volume, of this service or not. A volume that is not completely filled counts as absent. Errors:
/// [`Error::NotFound`].
pub(crate) fn require_volume(client: &Client, name: &str) -> Result<Volume, Error> {
    let absent = || Error::NotFound {
        code: "volume_not_found",
        detail: format!("there is no volume {name}"),
    };
    match client.volume_inspect(name) {
        Ok(volume) if fill::is_unfinished(client, &volume)? => Err(absent()),
        Ok(volume) => Ok(volume),
        Err(error) if is_absent(&error) => Err(absent()),
        Err(error) => Err(error.into()),
    }
}

fn filled_mount(spec: &VolumeSpec) -> Mount {
    Mount {
        kind: "volume".into(),
        source: spec.name.clone(),
        target: STAGE.into(),
        ..Mount::default()
    }
}

fn is_ours(volume: &Volume) -> bool {
    volume.labels.contains_key(KEPT)
}

fn is_absent(error: &docker::Error) -> bool {
    matches!(error, docker::Error::Status { status: 404, .. })
}

fn busy(name: &str) -> Error {
    Error::Conflict {
        code: "volume_busy",
        detail: format!("volume {name} is being written, or taken back, at this moment"),
    }
}

/// An error status of the engine here is the caller's fault: an unknown driver or driver option.
fn driver_error(error: docker::Error) -> Error {
    match error {
        docker::Error::Status { message, .. } => Error::StartFailed(message),
        other => other.into(),
    }
}
