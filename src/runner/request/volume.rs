//! From a typed request to a checked volume: every rule of the contract and of the policy, before any engine call.

use crate::archive;
use crate::cancel::Cancel;
use crate::docker::Labels;
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::{ApiProfile, Check, archive_limits};
use crate::runner::request::host_paths::below_outermost;
use crate::runner::request::mounts::{VOLUME_NAME_RULE, file_names, is_volume_name};
use crate::runner::request::types::VolumeRequest;
use crate::runner::request::wire::Wire;
use serde_json::Value;
use std::collections::BTreeMap;

/// A volume request that passed every check.
pub(crate) struct VolumeSpec {
    pub(crate) name: String,
    pub(crate) content: Content,
    pub(crate) driver: String,
    pub(crate) driver_opts: BTreeMap<String, String>,
    pub(crate) labels: Labels,
    /// Most bytes that the archive may unpack to.
    max_unpacked_bytes: u64,
    /// First element of every fault's `loc`.
    loc_root: &'static str,
}

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
            .map(|request| check.volume(request, profile.root));
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
        let checked = archive::TargzCheck::new(limits, &is_stopped).check(base64, strip as usize);
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

impl Check<'_> {
    fn volume(&mut self, request: VolumeRequest, loc_root: &'static str) -> VolumeSpec {
        let name = self.volume_name(request.name);
        // The engine treats an empty name as `local`, so the rules for `local` apply to it.
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
            max_unpacked_bytes: self.policy.max_unpacked_bytes,
            loc_root,
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

    /// Forbids driver options that give access to the engine's host. `local` passes its options to mount(2): file systems
    /// in memory or on the network are allowed, a bind mount needs an allowed host path. For any other driver, every value
    /// with a slash must be an allowed host path itself, not one below it.
    fn driver(&mut self, driver: &str, options: &BTreeMap<String, String>) {
        const ALLOWED_TYPES: [&str; 5] = ["tmpfs", "nfs", "nfs4", "cifs", "smb3"];
        let value = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let mount_options: Vec<&str> = value("o").split(',').map(str::trim).collect();
        let binds = mount_options
            .iter()
            .any(|option| ["bind", "rbind", "move", "remount"].contains(option));
        if driver == "local" {
            let kind = value("type");
            let host_type = !kind.is_empty() && !ALLOWED_TYPES.contains(&kind);
            let device = value("device");
            let host_device = device.starts_with('/') && !device.starts_with("//");
            if (binds || host_type || host_device)
                && !(["", "none", "bind"].contains(&kind) && self.is_allowed_path(device))
            {
                self.forbid_host_options();
            }
            return;
        }
        if options
            .values()
            .any(|value| value.contains('/') && !self.is_allowed_base(value))
        {
            self.forbid_host_options();
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
