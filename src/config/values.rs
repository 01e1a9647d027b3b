//! Values of settings, read by name and checked. A value that cannot be used, or that would protect less than it says, is an
//! error with the variable's name and the reason; no error repeats a value.

use crate::docker;
use crate::docker::reference::ImageReference;
use crate::runner::{
    ByteSize, Globs, ImagePatterns, InitMode, NETWORK_TYPES, Policy, WarmImage, WarmSettings,
};
use std::collections::HashMap;
use std::time::Duration;

/// One setting, as `--help` and the README list it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Environment variable.
    pub name: &'static str,
    /// The value if the variable is absent or empty, as it would be written.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Parses `image=count`, or `image` for one.
fn warm_image(item: &str) -> Result<WarmImage, &'static str> {
    let (image, count) = item.rsplit_once('=').unwrap_or((item, "1"));
    if ImageReference::parse(image.trim()).is_err() {
        return Err("expected image references, each with =<number>");
    }
    match count.trim().parse() {
        Ok(count @ 1..) => Ok(WarmImage {
            image: image.trim().to_owned(),
            count,
        }),
        _ => Err("expected a number from 1 on after each ="),
    }
}

/// Where values come from: the value of a variable, or why it cannot be used.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// The values of all settings, with their defaults.
pub(super) struct Values<'a> {
    settings: &'static [Setting],
    /// Trimmed, and without empty ones.
    found: HashMap<&'static str, String>,
    lookup: Lookup<'a>,
}

/// Smallest memory limit that engines accept, in bytes.
const LEAST_MEMORY_BYTES: u64 = 6 << 20;
/// Most bytes of a token, so that it fits into the head of a request.
const MOST_TOKEN_BYTES: usize = 8192;

impl<'a> Values<'a> {
    /// Looks up every setting. Errors: a value that is not UTF-8, or white space alone.
    pub(super) fn read(settings: &'static [Setting], lookup: Lookup<'a>) -> Result<Self, String> {
        let mut found = HashMap::new();
        for Setting { name, .. } in settings {
            let value = lookup(name).map_err(|reason| format!("{name}: {reason}"))?;
            match value.as_deref().map(|value| (value, value.trim())) {
                None | Some(("", _)) => {}
                Some((_, "")) => return Err(format!("{name}: is white space alone")),
                Some((_, text)) => {
                    found.insert(*name, text.to_owned());
                }
            }
        }
        Ok(Self {
            settings,
            found,
            lookup,
        })
    }

    pub(super) fn optional(&self, name: &str) -> Option<String> {
        self.found.get(name).cloned()
    }

    pub(super) fn text(&self, name: &str) -> String {
        let default = || {
            let mut settings = self.settings.iter();
            settings
                .find(|setting| setting.name == name)
                .map_or("", |s| s.default)
        };
        self.optional(name).unwrap_or_else(|| default().to_owned())
    }

    /// A bearer token: what a header field can carry.
    pub(super) fn token(&self, name: &str) -> Result<Option<String>, String> {
        let token = self.optional(name);
        let is_sendable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        match &token {
            Some(token) if !token.bytes().all(is_sendable) => Err(format!(
                "{name}: no client can send it: expected visible ASCII characters"
            )),
            Some(token) if token.len() > MOST_TOKEN_BYTES => Err(format!(
                "{name}: no client can send it: expected at most {MOST_TOKEN_BYTES} bytes"
            )),
            _ => Ok(token),
        }
    }

    pub(super) fn api_version(&self, name: &str) -> Result<Option<String>, String> {
        let version = self.optional(name);
        if let Some(version) = &version {
            docker::check_api_version(version).map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok(version)
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        self.text(name)
            .parse()
            .map_err(|_| format!("{name}: expected a whole number in range"))
    }

    pub(super) fn positive(&self, name: &str) -> Result<usize, String> {
        match self.number(name)? {
            0 => Err(format!("{name}: must be at least 1")),
            number => Ok(number),
        }
    }

    /// At most ten years, so that adding it to a time cannot overflow.
    pub(super) fn seconds(&self, name: &str) -> Result<Duration, String> {
        const MOST_SECS: u64 = 10 * 365 * 24 * 3600;
        match self.number(name)? {
            secs if secs > MOST_SECS => Err(format!("{name}: must be at most {MOST_SECS}")),
            secs => Ok(Duration::from_secs(secs)),
        }
    }

    /// As [`Values::seconds`], for a limit that 0 would make useless.
    pub(super) fn limit_seconds(&self, name: &str) -> Result<Duration, String> {
        match self.seconds(name)? {
            Duration::ZERO => Err(format!("{name}: must be at least 1")),
            limit => Ok(limit),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<u64, String> {
        let size = ByteSize::parse(&self.text(name));
        size.map(|size| size.0)
            .ok_or_else(|| format!("{name}: expected a size such as 512m"))
    }

    /// As [`Values::bytes`], for a limit that 0 would make useless.
    pub(super) fn limit_bytes(&self, name: &str) -> Result<u64, String> {
        match self.bytes(name)? {
            0 => Err(format!("{name}: must be at least 1")),
            bytes => Ok(bytes),
        }
    }

    /// A memory limit. Engines take 0 for no limit, and refuse less than 6 MiB.
    fn memory(&self, name: &str) -> Result<u64, String> {
        match self.bytes(name)? {
            bytes if bytes < LEAST_MEMORY_BYTES => Err(format!("{name}: must be at least 6m")),
            bytes => Ok(bytes),
        }
    }

    /// A limit on processes. Engines take 0 and numbers beyond `i64` for no limit.
    fn pids(&self, name: &str) -> Result<u64, String> {
        match self.number(name)? {
            0 => Err(format!("{name}: must be at least 1")),
            pids if pids > i64::MAX as u64 => Err(format!("{name}: must be at most {}", i64::MAX)),
            pids => Ok(pids),
        }
    }

    /// The value if the variable is there.
    fn if_set<T>(
        &self,
        name: &str,
        read: impl Fn(&Self, &str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.optional(name).map(|_| read(self, name)).transpose()
    }

    pub(super) fn switch(&self, name: &str) -> Result<bool, String> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{name}: expected true or false")),
        }
    }

    pub(super) fn init_mode(&self, name: &str) -> Result<InitMode, String> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "auto" => Ok(InitMode::Auto),
            "on" | "true" | "1" | "yes" => Ok(InitMode::On),
            "off" | "false" | "0" | "no" => Ok(InitMode::Off),
            _ => Err(format!("{name}: expected auto, on or off")),
        }
    }

    pub(super) fn warm(&self) -> Result<WarmSettings, String> {
        const IMAGES: &str = "RUNNER_WARM_IMAGES";
        let most = self.number("RUNNER_WARM_CONTAINERS")?;
        let images: Vec<WarmImage> = self
            .list(IMAGES)
            .iter()
            .map(|item| warm_image(item).map_err(|reason| format!("{IMAGES}: {reason}")))
            .collect::<Result<_, _>>()?;
        let kept = images
            .iter()
            .try_fold(0_usize, |sum, image| sum.checked_add(image.count));
        if kept.is_none_or(|kept| kept > most) {
            return Err(format!(
                "{IMAGES}: more containers than RUNNER_WARM_CONTAINERS allows"
            ));
        }
        Ok(WarmSettings {
            most,
            idle: self.limit_seconds("RUNNER_WARM_IDLE_SECS")?,
            images,
        })
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.text(name)
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn cpus(&self, name: &str) -> Result<f64, String> {
        match self.text(name).parse::<f64>() {
            Ok(cpus) if (0.01..=100_000.0).contains(&cpus) => Ok(cpus),
            _ => Err(format!(
                "{name}: expected a number of CPUs, at least 0.01 and at most 100000"
            )),
        }
    }

    fn host_paths(&self, name: &str) -> Result<Vec<String>, String> {
        let paths = self.list(name);
        match paths
            .iter()
            .find(|path| !path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            Some(_) => Err(format!("{name}: expected absolute paths without \"..\"")),
            None => Ok(paths),
        }
    }

    /// The directory of the TLS files; the default is that of the Docker client.
    pub(super) fn cert_path(&self) -> Result<Option<String>, String> {
        if let Some(path) = self.optional("DOCKER_CERT_PATH") {
            return Ok(Some(path));
        }
        if self.optional("DOCKER_TLS_VERIFY").is_none() {
            return Ok(None);
        }
        let home = (self.lookup)("HOME").map_err(|reason| format!("HOME: {reason}"))?;
        Ok(home.map(|home| format!("{home}/.docker")))
    }

    fn volume_types(&self, name: &str) -> Result<Vec<String>, String> {
        let types = self.list(name);
        match types
            .iter()
            .all(|kind| NETWORK_TYPES.contains(&kind.as_str()))
        {
            true => Ok(types),
            false => Err(format!("{name}: expected {}", NETWORK_TYPES.join(", "))),
        }
    }

    fn images(&self, name: &str) -> Result<ImagePatterns, String> {
        ImagePatterns::parse(&self.text(name)).map_err(|reason| format!("{name}: {reason}"))
    }

    pub(super) fn policy(&self) -> Result<Policy, String> {
        Ok(Policy {
            default_timeout: self.limit_seconds("RUNNER_DEFAULT_TIMEOUT_SECS")?,
            max_timeout: self.limit_seconds("RUNNER_MAX_TIMEOUT_SECS")?,
            default_memory_bytes: self.memory("RUNNER_DEFAULT_MEMORY")?,
            max_memory_bytes: self.if_set("RUNNER_MAX_MEMORY", Self::memory)?,
            max_cpus: self.if_set("RUNNER_MAX_CPUS", Self::cpus)?,
            default_pids_limit: self.pids("RUNNER_DEFAULT_PIDS_LIMIT")?,
            max_pids_limit: self.if_set("RUNNER_MAX_PIDS_LIMIT", Self::pids)?,
            default_output_bytes: self.bytes("RUNNER_DEFAULT_OUTPUT_BYTES")?,
            max_output_bytes: self.bytes("RUNNER_MAX_OUTPUT_BYTES")?,
            max_unpacked_bytes: self.bytes("RUNNER_MAX_UNPACKED_BYTES")?,
            max_collect_bytes: self.bytes("RUNNER_MAX_COLLECT_BYTES")?,
            allowed_images: self.images("RUNNER_ALLOWED_IMAGES")?,
            allowed_volumes: Globs::parse(&self.text("RUNNER_ALLOWED_VOLUMES")),
            allowed_volume_types: self.volume_types("RUNNER_ALLOWED_VOLUME_TYPES")?,
            allowed_host_paths: self.host_paths("RUNNER_ALLOWED_HOST_PATHS")?,
            allowed_networks: Globs::parse(&self.text("RUNNER_ALLOWED_NETWORKS")),
            allowed_runtimes: Globs::parse(&self.text("RUNNER_ALLOWED_RUNTIMES")),
        })
    }
}
