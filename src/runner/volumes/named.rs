//! Named volumes: create, fill, read and delete on request. They belong to the caller and stay until deleted.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::{
    self, Client, DriverConfig, Labels, Mount, Volume, VolumeCreate, VolumeOptions,
};
use crate::memory::{MemoryBudget, Reservation};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::fill::{self, Fill};
use crate::runner::cleanup::labels::{
    FILLS, HOST_PATHS, INSTANCE, KEPT, OBJECT_SLACK, VOLUME_OWNER,
};
use crate::runner::cleanup::removal::{Object, RemovalGuard};
use crate::runner::error::Error;
use crate::runner::policy::{Policy, VolumeOwners};
use crate::runner::request::check::ApiProfile;
use crate::runner::request::host_paths::{HostClaim, to_label};
use crate::runner::request::mounts::{Access, VOLUME_NAME_RULE, is_volume_name};
use crate::runner::request::volume::{Content, VolumeSpec};
use crate::runner::semaphore::Semaphore;
use crate::runner::staging::existing_volume::{is_made_for, must_exist, open_volume};
use crate::runner::staging::transfer_container::{HelperSpec, STAGE};
use crate::runner::volumes::content::{Ownership, put_content};
use crate::runner::volumes::driver_options::driver_options;
use crate::runner::volumes::existing::{require_as_asked, require_created_by};
use crate::runner::volumes::host_paths::{Claimant, claim_of, device_claim};
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
    /// The caller bounds the number of calls at once: an archive is unpacked twice.
    pub(crate) fn create(
        &self,
        request: Value,
        profile: ApiProfile,
        cancel: &Cancel,
    ) -> Result<String, Error> {
        let mut spec = VolumeSpec::from_json(request, profile, &self.policy)?;
        spec.check_archive(cancel)?;
        let _lock = self
            .write_locks
            .try_lock(&spec.name)
            .ok_or_else(|| busy(&spec.name))?;
        again_if_vanished(|| self.write(&spec))
    }

    fn write(&self, spec: &VolumeSpec) -> Result<String, Error> {
        match self.engine.client.volume_inspect(&spec.name) {
            Ok(volume) if fill::is_unfinished(&self.engine.client, &volume)? => {
                Err(busy(&spec.name))
            }
            Ok(volume) if is_ours(&volume) => self.overwrite(spec, &volume),
            Ok(_) => Err(Error::Conflict {
                code: "volume_not_ours",
                detail: format!(
                    "a volume {} exists that this service did not make",
                    spec.name
                ),
            }),
            Err(error) if is_absent(&error) => self.create_new(spec),
            Err(error) => Err(error.into()),
        }
    }

    fn create_new(&self, spec: &VolumeSpec) -> Result<String, Error> {
        let active = self.active.enter();
        let mut labels = spec.labels.clone().unwrap_or_default();
        labels.insert(KEPT.into(), active.id().to_owned());
        if let Some(owner) = spec.owner {
            labels.insert(VOLUME_OWNER.into(), owner.to_string());
        }
        let is_empty = matches!(spec.content, Content::Nothing);
        if is_empty && spec.top_mode().is_none() {
            let config = VolumeCreate {
                name: spec.name.clone(),
                driver: spec.driver_or_default().to_owned(),
                driver_opts: driver_options(&self.engine.client, spec)?,
                labels,
            };
            let created = self.engine.client.volume_create(&config);
            require_created_by(active.id(), &created.map_err(Error::of_the_request)?)?;
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
                let how = if is_empty { ", empty" } else { " and filled" };
                Ok(format!("volume {} created{how}", spec.name))
            }
            Err(error) => {
                // Before the answer, because the caller, or this service, may try again at once.
                guard.remove_by(Instant::now() + SETTLE_TIMEOUT);
                Err(error)
            }
        }
    }

    fn create_filled(&self, fill: &Fill, spec: &VolumeSpec, labels: Labels) -> Result<(), Error> {
        let mut helper_labels = self.engine.identity.labels(&fill.id, OBJECT_SLACK);
        helper_labels.insert(FILLS.into(), fill.volume.clone());
        let claim = device_claim(
            spec.driver_or_default(),
            &spec.driver_opts.clone().unwrap_or_default(),
            Access::ReadWrite,
        );
        fill.create_marker(&self.engine.client, &helper_labels)?;
        let mount = Mount {
            volume_options: Some(VolumeOptions {
                no_copy: true,
                labels,
                driver_config: Some(DriverConfig {
                    name: spec.driver_or_default().to_owned(),
                    options: driver_options(&self.engine.client, spec)?,
                }),
                ..VolumeOptions::default()
            }),
            ..filled_mount(spec)
        };
        helper_labels.insert(HOST_PATHS.into(), to_label(claim.as_slice()));
        let helper =
            HelperSpec::with_mount(&fill.helper(), helper_labels, mount).create(&self.engine);
        // From here on the guard of the whole fill covers the helper too.
        let helper = helper.map_err(Error::of_the_request)?.release();
        let volume = self.engine.client.volume_inspect(&spec.name)?;
        require_created_by(&fill.id, &volume)?;
        self.claim(&helper, &fill.id, claim.as_slice())?;
        put_content(&self.engine.client, &helper, spec, Ownership::of_new(spec))?;
        remove_in_time(self.engine.removal.own(Object::Container(helper)))?;
        Ok(fill.complete(&self.engine.client)?)
    }

    fn overwrite(&self, spec: &VolumeSpec, volume: &Volume) -> Result<String, Error> {
        require_as_asked(spec, volume)?;
        if matches!(spec.content, Content::Nothing) {
            return Ok(format!("volume {} exists, nothing to write", spec.name));
        }
        let active = self.active.enter();
        let id = active.id().to_owned();
        let mut labels = self.engine.identity.labels(&id, OBJECT_SLACK);
        let name = fill::helper_name(&id);
        let mount = Mount {
            volume_options: Some(must_exist(&name, labels.clone())),
            ..filled_mount(spec)
        };
        let claim = claim_of(volume, Access::ReadWrite);
        labels.insert(HOST_PATHS.into(), to_label(claim.as_slice()));
        let mut helper = HelperSpec::with_mount(&name, labels, mount)
            .create(&self.engine)
            .map_err(Error::of_the_request)?;
        if is_made_for(&self.engine.client, &spec.name, &name)? {
            helper.then(self.engine.removal.own(Object::Volume(spec.name.clone())));
            remove_in_time(helper)?;
            let name = &spec.name;
            return Err(Error::Vanished(format!("volume {name} was removed")));
        }
        helper.keep_active(active);
        self.claim(helper.id(), &id, claim.as_slice())?;
        let ownership = Ownership::of_existing(volume);
        put_content(&self.engine.client, helper.id(), spec, ownership)?;
        remove_in_time(helper)?;
        Ok(format!(
            "volume {} exists; its content was overwritten",
            spec.name
        ))
    }

    /// Reads a volume of this service. Errors: [`Error::NotFound`], [`Error::Forbidden`], [`Error::TooLarge`] over the collect
    /// limit, [`Error::OutOfMemory`], [`Error::Overloaded`].
    pub(crate) fn read(&self, name: &str) -> Result<VolumeContent, Error> {
        again_if_vanished(|| self.try_read(name))
    }

    fn try_read(&self, name: &str) -> Result<VolumeContent, Error> {
        let volume = self.require_our_volume(name)?;
        let memory = self.memory.reservation();
        if !memory.grow(READ_BYTES) {
            return Err(Error::OutOfMemory);
        }
        let _permit = self.reading.acquire(READ_PATIENCE).ok_or_else(|| {
            Error::Overloaded("too many volumes are being read; try again later".into())
        })?;
        let content = self.read_content(&volume, &memory)?;
        memory.set(content.len() as u64);
        Ok(VolumeContent { content, memory })
    }

    fn read_content(&self, volume: &Volume, memory: &Reservation) -> Result<String, Error> {
        let name = &volume.name;
        let active = self.active.enter();
        let helper_name = format!("oneoff-{}-read", active.id());
        let mut labels = self.engine.identity.labels(active.id(), OBJECT_SLACK);
        let claim = claim_of(volume, Access::ReadOnly);
        labels.insert(HOST_PATHS.into(), to_label(claim.as_slice()));
        let helper = open_volume(&self.engine, name, &helper_name, labels)?
            .ok_or_else(|| no_such_volume(name))?;
        self.claim(helper.id(), active.id(), claim.as_slice())?;
        let mut tar = self.engine.client.archive_get(helper.id(), STAGE)?;
        let (limit, room) = (self.policy.max_collect_bytes, &mut |bytes| {
            memory.grow(bytes)
        });
        let collected = archive::collect_directory(&mut *tar, limit, room);
        drop(tar);
        if collected.is_err() {
            memory.set(0);
        }
        // Before the answer, because the caller may delete the volume next.
        remove_in_time(helper)?;
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

    fn claim(&self, helper: &str, id: &str, claims: &[HostClaim]) -> Result<(), Error> {
        let claimant = Claimant {
            engine: &self.engine,
            container: helper,
            run: id,
            allowed: &self.policy.allowed_host_paths,
        };
        claimant.claim(claims)
    }

    fn require_our_volume(&self, name: &str) -> Result<Volume, Error> {
        if !is_volume_name(name) {
            return Err(Error::invalid(&["path", "name"], VOLUME_NAME_RULE));
        }
        if !self.policy.allows_volume(name) {
            let detail = "this volume is not allowed here".into();
            return Err(Error::Forbidden {
                code: "volume_not_allowed",
                detail,
            });
        }
        let volume = require_volume(&self.engine.client, name)?;
        match is_ours(&volume) {
            true => Ok(volume),
            false => Err(Error::Forbidden {
                code: "volume_not_ours",
                detail: format!("volume {name} was not made by this service"),
            }),
        }
    }
}

/// Inspects a volume that a run may mount. Errors: [`Error::NotFound`]; [`Error::Forbidden`] for a volume of another client, or one
/// in which this service keeps what belongs to runs.
pub(crate) fn require_mountable(
    client: &Client,
    name: &str,
    owners: VolumeOwners,
) -> Result<Volume, Error> {
    let volume = require_volume(client, name)?;
    if is_ours(&volume) {
        return Ok(volume);
    }
    if volume.labels.contains_key(INSTANCE) {
        return Err(Error::Forbidden {
            code: "volume_not_allowed",
            detail: format!("volume {name} belongs to a run"),
        });
    }
    match owners {
        VolumeOwners::Anyone => Ok(volume),
        VolumeOwners::Ours => Err(Error::Forbidden {
            code: "volume_not_ours",
            detail: format!(
                "volume {name} was not created by this service, and is not in RUNNER_ALLOWED_VOLUMES"
            ),
        }),
    }
}

/// Removes a helper. A prune may be removing it already, which is waited for.
fn remove_in_time(helper: RemovalGuard) -> Result<(), Error> {
    match helper.remove_by(Instant::now() + SETTLE_TIMEOUT) {
        true => Ok(()),
        false => Err(Error::Engine(
            "the engine does not remove a helper of this service in time".into(),
        )),
    }
}

/// Repeats an operation while it fails because another client of the engine, such as a prune, removes the objects that it makes
/// for itself; a bounded number of times.
fn again_if_vanished<T>(operation: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    const MOST: u32 = 50;
    for _ in 1..MOST {
        match operation() {
            Err(Error::Vanished(what)) => log::info!("done again: {what}"),
            outcome => return outcome,
        }
    }
    operation()
}

/// Inspects a volume, of this service or not. A volume that is not completely filled counts as absent. Errors:
/// [`Error::NotFound`].
fn require_volume(client: &Client, name: &str) -> Result<Volume, Error> {
    let absent = || no_such_volume(name);
    match client.volume_inspect(name) {
        Ok(volume) if fill::is_unfinished(client, &volume)? => Err(absent()),
        Ok(volume) => Ok(volume),
        Err(error) if is_absent(&error) => Err(absent()),
        Err(error) => Err(error.into()),
    }
}

/// The error for a volume that does not exist.
pub(crate) fn no_such_volume(name: &str) -> Error {
    Error::NotFound {
        code: "volume_not_found",
        detail: format!("there is no volume {name}"),
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
