//! From a typed request to a checked run: every rule of the contract and of the policy, before any engine call.

use crate::archive;
use crate::docker::reference::{ImageReference, with_explicit_tag};
use crate::docker::{AuthConfig, Labels};
use crate::memory::Reservation;
use crate::random_id;
use crate::runner::error::Error;
use crate::runner::policy::{Policy, VolumeOwners};
use crate::runner::request::check::ApiProfile;
use crate::runner::request::check::{Check, archive_limits};
use crate::runner::request::kernel_limits::{MOST_MOUNT_OPTION_BYTES, MOST_NAME_BYTES, path_fault};
use crate::runner::request::mounts::{self, MountSpec};
use crate::runner::request::platform::Platform;
use crate::runner::request::types::{AuthRequest, Encoding, PullPolicy, RunRequest};
use crate::runner::request::values::{EnvValue, StringOrList};
use crate::runner::request::wire::Wire;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most bytes of each of the credentials: they travel in a header field, and engines limit heads to 1 MiB.
const MOST_AUTH_BYTES: usize = 64 << 10;

/// Longest host name that the kernel takes.
const MOST_HOSTNAME_BYTES: usize = 64;

/// Prefix of the service's own labels. Callers may not set labels with it.
pub const LABEL_PREFIX: &str = "oneoff.";

/// A run request that passed every check.
pub struct RunSpec {
    pub(crate) id: String,
    /// First element of the `loc` of faults that show only after the check, beside the image or in an archive; see [`ApiProfile::root`].
    pub(crate) loc_root: &'static str,
    /// Whether the run is asynchronous: it outlives this process, and the next one adopts it.
    pub(crate) is_detached: bool,
    pub(crate) image: String,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` to remove the image's variable.
    pub(crate) env: Vec<String>,
    pub(crate) pull_policy: PullPolicy,
    pub(crate) auth: Option<AuthConfig>,
    pub(crate) mounts: Vec<MountSpec>,
    /// Whose named volumes it may mount.
    pub(crate) volume_owners: VolumeOwners,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
    pub(crate) working_dir: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) platform: Option<Platform>,
    pub(crate) labels: Labels,
    pub(crate) init: Option<bool>,
    pub(crate) read_only: bool,
    /// Path to mount options.
    pub(crate) tmpfs: BTreeMap<String, String>,
    pub(crate) shm_size_bytes: Option<u64>,
    pub(crate) cap_drop: Vec<String>,
    /// `host:address`.
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) runtime: Option<String>,
    pub(crate) network: String,
    pub(crate) memory_bytes: u64,
    /// In units of 10⁻⁹ CPUs; 0: no limit.
    pub(crate) nano_cpus: u64,
    pub(crate) pids_limit: u64,
    /// Bytes kept of each of stdout and stderr.
    pub(crate) output_bytes: u64,
    pub(crate) output_encoding: Encoding,
    /// Most bytes read back from all mounts together.
    pub(crate) max_collect_bytes: u64,
    /// Most bytes that all archives together may unpack to.
    pub(crate) max_unpacked_bytes: u64,
    /// The host paths that the server allows, for the check of every component below them.
    pub(crate) allowed_host_paths: Vec<String>,
    /// Memory of the content of mounts and stdin, and dropped with it; see [`RunSpec::charge_to`].
    pub(crate) content_memory: Option<Reservation>,
}

impl RunSpec {
    /// Reads and checks a request, all but the content of its archives: unpacking them takes seconds of CPU, so that it waits
    /// for a slot (see `RunSpec::check_archives`). Errors: [`Error::Invalid`] with every fault, else [`Error::Forbidden`].
    pub fn from_json(request: Value, profile: ApiProfile, policy: &Policy) -> Result<Self, Error> {
        let mut check = Check::new(profile, policy);
        let spec =
            RunRequest::take(request, &mut check.reader).map(|request| check.run(request, profile));
        if let Some(spec) = &spec {
            check.execution(spec);
            check.nesting(spec);
        }
        check.finish(spec)
    }

    /// The id of the run.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The memory of the request, held as long as this holds the content of files, directories and stdin. What the run's
    /// answer takes counts as the same request's.
    pub fn charge_to(&mut self, memory: Reservation) {
        self.content_memory = Some(memory);
    }

    /// Drops the mounts' content, once the engine has it. Gives their memory back too, unless stdin is still to be sent.
    pub(crate) fn forget_content(&mut self) {
        self.mounts
            .iter_mut()
            .for_each(|mount| mount.source.drop_content());
        if self.stdin.is_none() {
            self.content_memory = None;
        }
    }

    /// The encoding of stdout and stderr in the answer.
    pub fn output_encoding(&self) -> Encoding {
        self.output_encoding
    }

    /// The limits of all archives in this request together.
    pub(crate) fn archive_limits(&self) -> archive::Limits {
        archive_limits(self.max_unpacked_bytes)
    }
}

impl Check<'_> {
    fn run(&mut self, request: RunRequest, profile: ApiProfile) -> RunSpec {
        let mounts = mounts::check(self, request.volumes.unwrap_or_default());
        let is_mounted = |path: &str| mounts.iter().any(|mount| mount.is_mounted_at(path));
        RunSpec {
            id: random_id::unique(),
            loc_root: profile.root,
            is_detached: false,
            image: self.image(request.image),
            command: self.arguments("command", request.command),
            entrypoint: self.entrypoint(request.entrypoint),
            env: self.env(request.env_vars.unwrap_or_default()),
            pull_policy: request.pull_policy.unwrap_or(profile.pull_policy),
            auth: request.auth_config.map(|auth| self.auth(auth)),
            stdin: self.stdin(request.stdin, request.stdin_encoding),
            timeout: self.timeout(request.timeout_secs),
            working_dir: self.working_dir(request.working_dir),
            user: self.plain_text("user", request.user),
            hostname: self.hostname(request.hostname),
            platform: self.platform(request.platform),
            labels: self.labels(request.labels.unwrap_or_default()),
            init: request.init,
            read_only: request.read_only.unwrap_or(false),
            tmpfs: self.tmpfs(request.tmpfs.unwrap_or_default().0, is_mounted),
            mounts,
            volume_owners: self.policy.volume_owners(),
            shm_size_bytes: self.shm_size_bytes(request.shm_size),
            cap_drop: self.cap_drop(request.cap_drop.unwrap_or_default()),
            extra_hosts: self.extra_hosts(request.extra_hosts.unwrap_or_default().0),
            runtime: self.runtime(request.runtime),
            network: self.network(request.network),
            memory_bytes: self.memory(request.memory),
            nano_cpus: self.nano_cpus(request.cpus),
            pids_limit: self.pids_limit(request.pids_limit),
            output_bytes: self.output_bytes(request.max_output_bytes),
            output_encoding: request.output_encoding.unwrap_or(Encoding::Utf8),
            max_collect_bytes: self.policy.max_collect_bytes,
            max_unpacked_bytes: self.policy.max_unpacked_bytes,
            allowed_host_paths: self.policy.allowed_host_paths.clone(),
            content_memory: None,
        }
    }

    fn image(&mut self, image: Option<String>) -> String {
        let Some(image) = image else {
            if self.reader.is_clean_at("image") {
                self.reader.fault_at(
                    "image",
                    "required: an image reference such as \"alpine:latest\"",
                );
            }
            return String::new();
        };
        match ImageReference::parse(&image) {
            Err(reason) => self.reader.fault_at(
                "image",
                format!("expected an image reference such as \"alpine:latest\": {reason}"),
            ),
            Ok(reference) if !self.policy.allowed_images.allow(&reference) => {
                let list = self.policy.allowed_images.describe();
                self.forbid(
                    "image_not_allowed",
                    format!("this image is not allowed here; allowed: {list}"),
                );
            }
            Ok(_) => {}
        }
        match self.policy.allowed_images.allow_everything() {
            true => image,
            // The engine must not take a name that is allowed for the start of another image's id.
            false => with_explicit_tag(&image),
        }
    }

    /// The arguments of a command; a string is split as a POSIX shell would. Records a fault at `field`.
    fn arguments(&mut self, field: &str, command: Option<StringOrList>) -> Option<Vec<String>> {
        let words = match command? {
            StringOrList::Words(words) => words,
            StringOrList::Line(line) => match shlex::split(&line) {
                Some(words) => words,
                None => {
                    self.reader
                        .fault_at(field, "quotes or escapes are not closed");
                    return None;
                }
            },
        };
        if words.iter().any(|word| word.contains('\0')) {
            self.reader
                .fault_at(field, "must not contain a NUL character");
        }
        Some(words)
    }

    /// An empty entry point becomes one empty word, the form in which the engine takes it (Engine API, `Entrypoint`).
    fn entrypoint(&mut self, entrypoint: Option<StringOrList>) -> Option<Vec<String>> {
        let words = self.arguments("entrypoint", entrypoint)?;
        Some(if words.is_empty() {
            vec![String::new()]
        } else {
            words
        })
    }

    fn env(&mut self, vars: BTreeMap<String, EnvValue>) -> Vec<String> {
        self.reader.within("env_vars", |reader| {
            for (name, value) in &vars {
                if name.is_empty() || name.contains(['=', '\0']) {
                    reader.fault_at(
                        name,
                        "a variable's name must not be empty or contain '=' or NUL",
                    );
                }
                if value.0.as_ref().is_some_and(|value| value.contains('\0')) {
                    reader.fault_at(name, "a variable's value must not contain NUL");
                }
            }
        });
        // A name without "=" removes the image's variable (Engine API, `Env`).
        let line = |(name, value): (String, EnvValue)| match value.0 {
            Some(value) => format!("{name}={value}"),
            None => name,
        };
        vars.into_iter().map(line).collect()
    }

    fn auth(&mut self, auth: AuthRequest) -> AuthConfig {
        let has_token = auth.identitytoken.is_some() || auth.registrytoken.is_some();
        self.reader.within("auth_config", |reader| {
            for (field, value) in [("username", &auth.username), ("password", &auth.password)] {
                if value.is_none() && !has_token && reader.is_clean_at(field) {
                    reader.fault_at(
                        field,
                        "required, unless identitytoken or registrytoken is given",
                    );
                }
            }
            let texts = [
                ("username", &auth.username),
                ("password", &auth.password),
                ("email", &auth.email),
                ("serveraddress", &auth.serveraddress),
                ("identitytoken", &auth.identitytoken),
                ("registrytoken", &auth.registrytoken),
            ];
            for (field, text) in texts {
                if text
                    .as_ref()
                    .is_some_and(|text| text.len() > MOST_AUTH_BYTES)
                {
                    reader.fault_at(field, "must have at most 65536 bytes");
                }
            }
        });
        let docker_hub = || "https://index.docker.io/v1/".to_owned();
        AuthConfig {
            username: auth.username.unwrap_or_default(),
            password: auth.password.unwrap_or_default(),
            email: auth.email.unwrap_or_default(),
            serveraddress: auth.serveraddress.unwrap_or_else(docker_hub),
            identitytoken: auth.identitytoken.unwrap_or_default(),
            registrytoken: auth.registrytoken.unwrap_or_default(),
        }
    }

    fn stdin(&mut self, stdin: Option<String>, encoding: Option<Encoding>) -> Option<Vec<u8>> {
        let text = stdin?;
        if encoding != Some(Encoding::Base64) {
            return Some(text.into_bytes());
        }
        match archive::decode_base64(&text) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.reader.fault_at("stdin", error.to_string());
                None
            }
        }
    }

    fn working_dir(&mut self, dir: Option<String>) -> Option<String> {
        let dir = dir?;
        // Compared by component, because "//proc" and "/./proc" are /proc too.
        let mut parts = dir
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".");
        let has_parent = parts.clone().any(|part| part == "..");
        if !dir.starts_with('/') || dir.contains('\0') || has_parent || parts.next() == Some("proc")
        {
            self.reader.fault_at(
                "working_dir",
                "expected an absolute path without \"..\", outside /proc",
            );
        } else if let Some(fault) = path_fault(&dir) {
            self.reader.fault_at("working_dir", fault);
        }
        Some(dir)
    }

    /// A name that must not be empty, contain control characters or be longer than the kernel's names.
    pub(crate) fn plain_text(&mut self, field: &str, text: Option<String>) -> Option<String> {
        let text = text?;
        if text.is_empty() || text.chars().any(char::is_control) {
            self.reader
                .fault_at(field, "must not be empty or contain control characters");
        } else if text.len() > MOST_NAME_BYTES {
            self.reader.fault_at(field, "must have at most 255 bytes");
        }
        Some(text)
    }

    fn hostname(&mut self, name: Option<String>) -> Option<String> {
        let name = name?;
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if !(1..=MOST_HOSTNAME_BYTES).contains(&name.len()) || !name.chars().all(is_valid) {
            self.reader.fault_at(
                "hostname",
                "expected at most 64 letters, digits, '-', '_' and '.'",
            );
        }
        Some(name)
    }

    fn platform(&mut self, platform: Option<String>) -> Option<Platform> {
        let parsed = Platform::parse(&platform?);
        if parsed.is_none() {
            self.reader.fault_at(
                "platform",
                "expected os/arch or os/arch/variant, such as linux/amd64, or one of os and arch",
            );
        }
        parsed
    }

    /// Labels that a caller may set: all but the service's own.
    pub(crate) fn labels(&mut self, labels: Labels) -> Labels {
        for key in labels.keys() {
            if key.is_empty() || key.starts_with(LABEL_PREFIX) {
                let msg = format!("a label must not be empty or start with {LABEL_PREFIX}");
                self.reader
                    .within("labels", |reader| reader.fault_at(key, msg));
            }
        }
        labels
    }

    /// `is_mounted`: whether a volume is mounted at the path. The engine would silently ignore one of the two.
    fn tmpfs(
        &mut self,
        entries: Vec<(String, String)>,
        is_mounted: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, String> {
        let mut checked = BTreeMap::new();
        for (path, options) in entries {
            let fault = match mounts::target(&path) {
                Err(msg) => msg,
                Ok(target) if is_mounted(&target) || checked.contains_key(&target) => {
                    "something else is mounted at the same path"
                }
                Ok(_) if options.len() > MOST_MOUNT_OPTION_BYTES => {
                    "the options have at most 4095 bytes"
                }
                Ok(target) => {
                    checked.insert(target, options);
                    continue;
                }
            };
            self.reader
                .within("tmpfs", |reader| reader.fault_at(&path, fault));
        }
        checked
    }

    fn cap_drop(&mut self, capabilities: Vec<String>) -> Vec<String> {
        for (index, capability) in capabilities.iter().enumerate() {
            let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !(1..=MOST_NAME_BYTES).contains(&capability.len())
                || !capability.chars().all(is_valid)
            {
                let msg = "expected a capability such as \"NET_RAW\", or \"ALL\"";
                self.reader.within("cap_drop", |reader| {
                    reader.fault_at(&index.to_string(), msg)
                });
            }
        }
        capabilities
    }
}
