//! From a typed request to a checked volume: every rule of the contract and of the policy, before any engine call.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::Labels;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::{ApiProfile, Check, archive_limits};
use crate::runner::request::host_paths::below_outermost;
use crate::runner::request::kernel_limits::{MOST_MOUNT_OPTION_BYTES, MOST_NAME_BYTES};
use crate::runner::request::mounts::{VOLUME_NAME_RULE, file_names, is_volume_name};
use crate::runner::request::types::VolumeRequest;
use crate::runner::request::values::NumericOwner;
use crate::runner::request::wire::Wire;
use serde_json::Value;
use std::collections::BTreeMap;

/// A volume request that passed every check.
pub(crate) struct VolumeSpec {
    pub(crate) name: String,
    pub(crate) content: Content,
    /// `None`: not asked for. An existing volume may then have any, and a new one has [`LOCAL`].
    pub(crate) driver: Option<String>,
    pub(crate) driver_opts: Option<BTreeMap<String, String>>,
    pub(crate) labels: Option<Labels>,
    /// `None`: not asked for. An existing volume may then have any.
    pub(crate) owner: Option<NumericOwner>,
    /// Most bytes that the archive may unpack to.
    max_unpacked_bytes: u64,
    /// First element of the `loc` of faults that show only beside the volume.
    pub(crate) loc_root: &'static str,
}

/// The engine's own volume driver.
pub(crate) const LOCAL: &str = "local";
/// Types of file systems on the network that the operator may allow in `driver_opts`.
pub const NETWORK_TYPES: [&str; 4] = ["nfs", "nfs4", "cifs", "smb3"];
/// What is wrong with content for a volume in memory.
pub(crate) const KEEPS_NOTHING: &str =
    "the volume is in memory (tmpfs), which keeps nothing while no container uses it";
/// What is wrong with an owner for a volume in memory.
const OWNER_IN_MEMORY: &str =
    "the volume is in memory (tmpfs): give the owner as uid=…,gid=… in driver_opts.o";
/// Most path components that are stripped; no name has more.
const MAX_STRIP: u64 = 4096;

pub(crate) enum Content {
    Nothing,
    /// A tar.gz. Only its beginning is checked; see [`VolumeSpec::check_archive`].
    Archive {
        base64: String,
        /// Number of leading path components to strip. `None`: one if a single top-level directory holds all entries.
        strip_components: Option<u64>,
    },
    /// Relative path to text.
    Files(BTreeMap<String, String>),
}

impl VolumeSpec {
    /// Reads and checks a request, all but the content of its archive. Errors: [`Error::Invalid`] with every fault, else
    /// [`Error::Forbidden`].
    pub(crate) fn from_json(
        request: Value,
        profile: ApiProfile,
        policy: &Policy,
    ) -> Result<Self, Error> {
        let mut check = Check::new(profile, policy);
        let spec = VolumeRequest::take(request, &mut check.reader)
            .map(|request| check.volume(request, profile));
        check.finish(spec)
    }

    /// The limits of the archive.
    pub(crate) fn archive_limits(&self) -> archive::Limits {
        archive_limits(self.max_unpacked_bytes)
    }

    /// Unpacks and checks the archive, and decides how many leading path components are stripped. The caller holds a slot
    /// meanwhile. Errors: [`Error::Invalid`], or `cancel` fired first.
    pub(crate) fn check_archive(&mut self, cancel: &Cancel) -> Result<(), Error> {
        let limits = self.archive_limits();
        let Content::Archive {
            base64,
            strip_components,
        } = &mut self.content
        else {
            return Ok(());
        };
        let strip = strip_components.unwrap_or(0).min(MAX_STRIP);
        let is_stopped = || cancel.is_fired();
        let checked =
            archive::TargzCheck::new(limits, &is_stopped).check(base64, strip as usize, &[]);
        if cancel.is_fired() {
            return Err(Error::left());
        }
        let summary = checked
            .map_err(|error| Error::invalid(&[self.loc_root, "content"], error.to_string()))?;
        // Stripping the directory that all names share makes no two of them equal: there is nothing to check again.
        let automatic = u64::from(summary.shared_top.is_some());
        *strip_components = Some(strip_components.map_or(automatic, |_| strip));
        Ok(())
    }
}

impl VolumeSpec {
    pub(crate) fn driver_or_default(&self) -> &str {
        self.driver.as_deref().unwrap_or(LOCAL)
    }

    /// The mode of a new volume's top directory. `None`: it stays what its storage gives it, since that is not new: a directory of
    /// the host or of a file server, or whatever another driver uses.
    pub(crate) fn top_mode(&self) -> Option<u32> {
        let none = BTreeMap::new();
        let options = self.driver_opts.as_ref().unwrap_or(&none);
        match self.owner {
            Some(_) => Some(0o755),
            None if is_own_storage(self.driver_or_default(), options) => Some(0o777),
            None => None,
        }
    }

    fn asks_for_memory(&self) -> bool {
        let options = self.driver_opts.as_ref();
        options.is_some_and(|options| is_in_memory(self.driver_or_default(), options))
    }
}

impl Content {
    /// The field of the request that has the content. `None`: there is none.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Archive { .. } => Some("content"),
            Self::Files(_) => Some("files"),
        }
    }
}

/// Whether a volume with these options loses its content when the last container that uses it stops.
pub(crate) fn is_in_memory(driver: &str, options: &BTreeMap<String, String>) -> bool {
    let kind = options.get("type").map(String::as_str);
    driver == LOCAL && matches!(kind, Some("tmpfs" | "ramfs")) && !is_bind(options)
}

/// Whether the engine keeps a volume with these options in a directory of its own, which is new and which only containers reach.
pub(crate) fn is_own_storage(driver: &str, options: &BTreeMap<String, String>) -> bool {
    let names_storage = options.contains_key("device") || options.contains_key("type");
    driver == LOCAL && !names_storage && !is_bind(options)
}

/// Whether mount(2) with these options mounts what is there already, whatever the type.
fn is_bind(options: &BTreeMap<String, String>) -> bool {
    let words = options.get("o").map(String::as_str).unwrap_or_default();
    words
        .split(',')
        .any(|word| ["bind", "rbind", "move", "remount"].contains(&word.trim()))
}

impl Check<'_> {
    fn volume(&mut self, request: VolumeRequest, profile: ApiProfile) -> VolumeSpec {
        let spec = VolumeSpec {
            name: self.volume_name(request.name),
            content: self.volume_content(request.content, request.files, request.strip_components),
            // The engine treats an empty name as `local`, so the rules for `local` apply to it.
            driver: request.driver.map(|driver| match driver.is_empty() {
                true => LOCAL.to_owned(),
                false => driver,
            }),
            driver_opts: request.driver_opts,
            labels: request.labels.map(|labels| self.labels(labels)),
            owner: request.owner,
            max_unpacked_bytes: self.policy.max_unpacked_bytes,
            loc_root: profile.root,
        };
        self.driver(&spec);
        if spec.asks_for_memory() {
            if let Some(field) = spec.content.field() {
                self.reader.fault_at(field, KEEPS_NOTHING);
            }
            if spec.owner.is_some() {
                self.reader.fault_at("owner", OWNER_IN_MEMORY);
            }
        }
        spec
    }

    fn volume_name(&mut self, name: Option<String>) -> String {
        match name {
            Some(name) if is_volume_name(&name) => {
                if !self.policy.allows_volume(&name) {
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
                .fault_at("strip_components", "is only allowed together with content");
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
            (Some(base64), None) => match archive::check_targz_start(&base64) {
                Ok(()) => {
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

    /// Forbids driver options that give access to the engine's host or to its network. `local` passes its options to mount(2):
    /// file systems in memory are allowed, those on the network if the operator says so, and a bind mount needs an allowed
    /// host path. For any other driver, every value with a slash must be an allowed host path itself, not one below it.
    fn driver(&mut self, spec: &VolumeSpec) {
        let none = BTreeMap::new();
        let driver = spec.driver_or_default();
        let options = spec.driver_opts.as_ref().unwrap_or(&none);
        self.driver_lengths(driver, options);
        if driver == LOCAL {
            self.local_options(options);
        } else if options
            .values()
            .any(|value| value.contains('/') && !self.is_allowed_base(value))
        {
            self.forbid_host_options();
        }
    }

    fn driver_lengths(&mut self, driver: &str, options: &BTreeMap<String, String>) {
        if driver.len() > MOST_NAME_BYTES {
            self.reader
                .fault_at("driver", "must have at most 255 bytes");
        }
        for (name, value) in options {
            if name.len() > MOST_NAME_BYTES || value.len() > MOST_MOUNT_OPTION_BYTES {
                let msg = "an option's name has at most 255 bytes, and its value 4095";
                self.reader.fault_at("driver_opts", msg);
            }
        }
    }

    fn local_options(&mut self, options: &BTreeMap<String, String>) {
        let value = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let (kind, device) = (value("type"), value("device"));
        let is_network = NETWORK_TYPES.contains(&kind);
        let host_type = !kind.is_empty() && kind != "tmpfs" && !is_network;
        let host_device = device.starts_with('/') && !device.starts_with("//");
        if (is_bind(options) || host_type || host_device)
            && !(["", "none", "bind"].contains(&kind) && self.is_allowed_path(device))
        {
            self.forbid_host_options();
        } else if is_network && !self.policy.allowed_volume_types.iter().any(|t| t == kind) {
            self.forbid(
                "volume_type_not_allowed",
                "the engine's host does not mount this type of file system for callers".into(),
            );
        }
    }

    fn is_allowed_path(&self, path: &str) -> bool {
        path.starts_with('/')
            && !path.split('/').any(|part| part == "..")
            && self.policy.allows_host_path(path)
    }

    /// Whether nothing above the path can be changed by a run: what a driver finds there cannot be checked.
    fn is_allowed_base(&self, path: &str) -> bool {
        self.is_allowed_path(path)
            && below_outermost(&self.policy.allowed_host_paths, path)
                .is_some_and(|below| below.components.is_empty())
    }

    fn forbid_host_options(&mut self) {
        let detail =
            "these driver_opts reach the engine's host outside what the server allows".into();
        self.forbid("host_path_not_allowed", detail);
    }
}
