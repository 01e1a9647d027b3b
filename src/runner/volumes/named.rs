//! Named volumes: made, filled, read back and removed on request. They are the caller's and stay until removed.

use crate::archive::{self, UidGid};
use crate::docker::{
    self, Client, DriverConfig, Labels, Mount, Volume, VolumeCreate, VolumeOptions,
};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::fill::{self, Fill};
use crate::runner::cleanup::labels::{FILLS, KEPT, OBJECT_SLACK};
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::check::{Check, archive_limits};
use crate::runner::request::mounts::{VOLUME_NAME_RULE, file_names, is_volume_name};
use crate::runner::request::types::VolumeRequest;
use crate::runner::request::wire::Wire;
use crate::runner::staging::helper::{HelperSpec, STAGE, reading_mount};
use crate::runner::staging::upload::{pack_files, staged_name, upload};
use crate::runner::volumes::names::Names;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long removals under way are waited for before a volume counts as in use.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Creates, fills, reads back and removes named volumes.
pub(crate) struct Volumes {
    engine: Engine,
    active: Active,
    policy: Arc<Policy>,
    names: Names,
}

/// A checked volume request.
struct VolumeSpec {
    name: String,
    content: Content,
    driver: String,
    driver_opts: BTreeMap<String, String>,
    labels: Labels,
}

enum Content {
    Nothing,
    Archive {
        base64: String,
        strip_components: usize,
    },
    Files(BTreeMap<String, String>),
}

impl Volumes {
    pub(crate) fn new(engine: Engine, active: Active, policy: Arc<Policy>) -> Self {
        Self {
            engine,
            active,
            policy,
            names: Names::default(),
        }
    }

    /// Creates and fills a volume, or writes over one of ours. A volume that this call created is gone if it fails.
    pub(crate) fn create(&self, request: Value, front: ApiProfile) -> Result<String, Error> {
        let mut check = Check::new(front, &self.policy);
        let spec =
            VolumeRequest::take(request, &mut check.reader).map(|request| check.volume(request));
        let spec = check.finish(spec)?;
        let _writing = self
            .names
            .enter(&spec.name)
            .ok_or_else(|| busy(&spec.name))?;
        match self.engine.client.volume_inspect(&spec.name) {
            Ok(volume) if fill::is_unfinished(&self.engine.client, &volume)? => {
                Err(busy(&spec.name))
            }
            Ok(volume) if is_ours(&volume) => self.write_over(&spec),
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
        let mut owned = self.engine.removal.own(Object::Fill(fill.clone()));
        owned.keep_active(active);
        match self.create_filled(&fill, spec, labels) {
            Ok(()) => {
                owned.release();
                Ok(format!("volume {} created and filled", spec.name))
            }
            Err(error) => {
                // Now rather than behind the answer: the caller may try again at once.
                let _ = owned.remove_now(&self.engine.client);
                Err(error)
            }
        }
    }

    fn create_filled(&self, fill: &Fill, spec: &VolumeSpec, labels: Labels) -> Result<(), Error> {
        let mut helper_labels = self.engine.identity.labels(&fill.id, OBJECT_SLACK);
        helper_labels.insert(FILLS.into(), fill.volume.clone());
        fill.mark(&self.engine.client, &helper_labels)?;
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
        // It belongs to the fill from here on, which is owned as a whole.
        let helper = helper.map_err(driver_error)?.release();
        self.fill(&helper, spec)?;
        Ok(fill.complete(&self.engine.client)?)
    }

    fn write_over(&self, spec: &VolumeSpec) -> Result<String, Error> {
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
        self.fill(helper.id(), spec)?;
        helper.remove_now(&self.engine.client)?;
        Ok(format!(
            "volume {} exists, its content written over",
            spec.name
        ))
    }

    fn fill(&self, helper: &str, spec: &VolumeSpec) -> Result<(), Error> {
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

    /// Content of a volume of ours.
    pub(crate) fn read(&self, name: &str) -> Result<String, Error> {
        self.require_our_volume(name)?;
        let active = self.active.enter();
        let helper_name = format!("oneoff-{}-read", active.id());
        let labels = self.engine.identity.labels(active.id(), OBJECT_SLACK);
        let helper = HelperSpec::with_mount(&helper_name, labels, reading_mount(name))
            .create(&self.engine)?;
        let mut tar = self.engine.client.archive_get(helper.id(), STAGE)?;
        let collected = archive::collect_directory(&mut *tar, self.policy.max_collect_bytes);
        drop(tar);
        // Now rather than behind the answer: the caller may remove the volume next.
        helper.remove_now(&self.engine.client)?;
        match collected {
            Ok(collected) => Ok(collected.content),
            Err(archive::Error::TooLarge(detail)) => Err(Error::TooLarge(detail)),
            Err(error) => {
                let detail = format!("the engine's archive cannot be read: {error}");
                Err(Error::Engine(detail))
            }
        }
    }

    /// Removes a volume of ours.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Error> {
        self.require_our_volume(name)?;
        let _writing = self.names.enter(name).ok_or_else(|| busy(name))?;
        let removed = match self.engine.client.volume_remove(name) {
            Err(docker::Error::Status { status: 409, .. }) => {
                // A run that was answered already may still hold it for a moment.
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

/// Fails unless the volume exists, whoever made it. One that is not complete does not.
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

impl Check<'_> {
    fn volume(&mut self, request: VolumeRequest) -> VolumeSpec {
        let name = self.volume_name(request.name);
        // The engine takes an empty name for `local` too, so that the rules for `local` must hold for it.
        let driver = request
            .driver
            .filter(|driver| !driver.is_empty())
            .unwrap_or_else(|| "local".into());
        let driver_opts = request.driver_opts.unwrap_or_default();
        self.driver(&driver, &driver_opts);
        VolumeSpec {
            name,
            content: self.volume_content(request.content, request.files, request.strip_components),
            driver,
            driver_opts,
            labels: self.labels(request.labels.unwrap_or_default()),
        }
    }

    fn volume_name(&mut self, name: Option<String>) -> String {
        match name {
            Some(name) if is_volume_name(&name) => {
                if !self.policy.allowed_volumes.allow(&name) {
                    let list = self.policy.allowed_volumes.describe();
                    self.forbid(
                        "volume_not_allowed",
                        format!("this volume is not allowed here; allowed: {list}"),
                    );
                }
                name
            }
            Some(_) => {
                self.reader.fault_at("name", VOLUME_NAME_RULE);
                String::new()
            }
            None => {
                if self.reader.is_clean_at("name") {
                    self.reader.fault_at("name", "required: the volume's name");
                }
                String::new()
            }
        }
    }

    fn volume_content(
        &mut self,
        content: Option<String>,
        files: Option<BTreeMap<String, String>>,
        strip_components: Option<u64>,
    ) -> Content {
        if strip_components.is_some() && content.is_none() {
            self.reader
                .fault_at("strip_components", "goes with content only");
        }
        match (content, files) {
            (Some(_), Some(_)) => self
                .reader
                .fault_at("files", "give either content or files"),
            (None, Some(files)) => {
                self.reader
                    .within("files", |reader| file_names(reader, &files));
                return Content::Files(files);
            }
            (None, None) => {}
            (Some(base64), None) => match self.archive(&base64, strip_components) {
                Ok(strip_components) => {
                    return Content::Archive {
                        base64,
                        strip_components,
                    };
                }
                Err(error) => self.reader.fault_at("content", error.to_string()),
            },
        }
        Content::Nothing
    }

    /// Checks an archive and says how many components to strip: one, when a single top-level directory holds it all.
    fn archive(
        &self,
        base64: &str,
        strip_components: Option<u64>,
    ) -> Result<usize, archive::Error> {
        let limits = archive_limits(self.policy.max_unpacked_bytes);
        let automatic = match strip_components {
            Some(_) => 0,
            None => u64::from(archive::check_targz(base64, limits)?.shared_top.is_some()),
        };
        let strip = strip_components.unwrap_or(automatic).min(4096) as usize;
        // Dropping components can make two names one.
        archive::check_targz_stripped(base64, strip, limits)?;
        Ok(strip)
    }

    /// A volume must not reach the host by its driver's options. `local` mounts whatever it is told to: only what
    /// comes from memory or the network is free, a bind obeys the rule for host paths.
    fn driver(&mut self, driver: &str, options: &BTreeMap<String, String>) {
        const FREE_TYPES: [&str; 5] = ["tmpfs", "nfs", "nfs4", "cifs", "smb3"];
        let value = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let mount_options: Vec<&str> = value("o").split(',').map(str::trim).collect();
        let binds = mount_options
            .iter()
            .any(|option| ["bind", "rbind", "move", "remount"].contains(option));
        if driver == "local" {
            let kind = value("type");
            let host_type = !kind.is_empty() && !FREE_TYPES.contains(&kind);
            let device = value("device");
            let host_device = device.starts_with('/') && !device.starts_with("//");
            if (binds || host_type || host_device)
                && !(["", "none", "bind"].contains(&kind) && self.is_allowed(device))
            {
                self.forbid_host_options();
            }
            return;
        }
        if options
            .values()
            .any(|value| value.contains('/') && !self.is_allowed(value))
        {
            self.forbid_host_options();
        }
    }

    fn is_allowed(&self, path: &str) -> bool {
        path.starts_with('/')
            && !path.split('/').any(|part| part == "..")
            && self.policy.allows_host_path(path)
    }

    fn forbid_host_options(&mut self) {
        let detail =
            "these driver_opts reach the engine's host outside what the server allows".into();
        self.forbid("host_path_not_allowed", detail);
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

/// An unknown driver or option is the caller's.
fn driver_error(error: docker::Error) -> Error {
    match error {
        docker::Error::Status { message, .. } => Error::StartFailed(message),
        other => other.into(),
    }
}
