//! Checks the `volumes` of a run request: paths, types, contents and the policy.

use crate::archive;
use crate::runner::request::check::Check;
use crate::runner::request::kernel_limits::path_fault;
use crate::runner::request::types::{VolumeKind, VolumeMount};
use std::collections::{BTreeMap, BTreeSet};

/// One checked mount.
pub(crate) struct MountSpec {
    /// The caller's key without `:ro` or `:rw`, which is also the key in the answer.
    pub(crate) key: String,
    /// The caller's key as it was sent, for the location of a fault.
    pub(crate) sent_key: String,
    /// Absolute, normalized path in the container.
    pub(crate) target: String,
    pub(crate) access: Access,
    pub(crate) source: MountSource,
    /// Whether to return the content after the run.
    pub(crate) response: bool,
}

impl MountSpec {
    /// Whether its content travels through the staging volume.
    pub(crate) fn is_staged(&self) -> bool {
        use MountSource::{Archive, File, Files};
        matches!(self.source, File { .. } | Archive(_) | Files(_))
    }

    /// Whether it is something that other containers may use too: a named volume or a path of the host.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.source, MountSource::Named(_) | MountSource::Host(_))
    }

    /// Whether something is mounted at exactly this path. A file that is only collected is not mounted.
    pub(crate) fn is_mounted_at(&self, path: &str) -> bool {
        self.target == path && !matches!(self.source, MountSource::CollectedFile)
    }
}

/// The container's access to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// What is mounted, or collected.
pub(crate) enum MountSource {
    File {
        mode: u32,
        content: Vec<u8>,
    },
    /// Nothing is mounted; a file that the run may write is collected.
    CollectedFile,
    /// Base64 of a tar.gz. Only its beginning is checked; see [`RunSpec::check_archives`].
    ///
    /// [`RunSpec::check_archives`]: crate::runner::request::spec::RunSpec::check_archives
    Archive(String),
    /// Relative path to text; may be empty, which is an empty directory.
    Files(BTreeMap<String, String>),
    /// Name of a named volume.
    Named(String),
    /// Normalized absolute path on the engine's host.
    Host(String),
}

impl MountSource {
    /// Drops the content, once the engine has it.
    pub(crate) fn drop_content(&mut self) {
        match self {
            Self::File { content, .. } => *content = Vec::new(),
            Self::Archive(content) => *content = String::new(),
            Self::Files(files) => files.clear(),
            Self::CollectedFile | Self::Named(_) | Self::Host(_) => {}
        }
    }
}

/// Checks every mount. Records faults in `check`; the returned list is complete only if there are none.
pub(crate) fn check(
    check: &mut Check<'_>,
    volumes: BTreeMap<String, VolumeMount>,
) -> Vec<MountSpec> {
    let mut seen = BTreeSet::new();
    let mut mounts = Vec::new();
    for (key, volume) in volumes {
        let (path, access) = match split_key(&key) {
            Ok(split) => split,
            Err(msg) => {
                volume_fault(check, &key, None, msg);
                continue;
            }
        };
        match target(path) {
            Err(msg) => volume_fault(check, &key, None, msg),
            Ok(target) if !seen.insert(target.clone()) => {
                volume_fault(check, &key, None, "another volume has the same path");
            }
            Ok(target) => {
                let response = volume.response.unwrap_or(false);
                if let Some(source) = source(check, &key, volume) {
                    mounts.push(MountSpec {
                        key: path.to_owned(),
                        sent_key: key.clone(),
                        target,
                        access,
                        source,
                        response,
                    });
                }
            }
        }
    }
    mounts
}

fn split_key(key: &str) -> Result<(&str, Access), &'static str> {
    match key.split_once(':') {
        None => Ok((key, Access::ReadWrite)),
        Some((path, "rw")) => Ok((path, Access::ReadWrite)),
        Some((path, "ro")) => Ok((path, Access::ReadOnly)),
        Some(_) => Err("expected an absolute path, optionally followed by :ro or :rw"),
    }
}

/// Normalizes the path of a mount. Errors: not absolute, `..`, control characters or `:`, `/` itself, or within `/proc`,
/// `/sys`, `/dev` or `/.oneoff`.
pub(crate) fn target(path: &str) -> Result<String, &'static str> {
    let normalized = normalize(path)?;
    let top = normalized.split('/').nth(1).unwrap_or_default();
    match top {
        "" => Err("the root directory cannot be mounted over"),
        "proc" | "sys" | "dev" => Err("nothing can be mounted within /proc, /sys or /dev"),
        ".oneoff" => Err("nothing can be mounted within /.oneoff, where this service's PID 1 is"),
        _ => Ok(normalized),
    }
}

fn normalize(path: &str) -> Result<String, &'static str> {
    if !path.starts_with('/') {
        return Err("expected an absolute path");
    }
    if let Some(fault) = path_fault(path) {
        return Err(fault);
    }
    if path.chars().any(char::is_control) || path.contains(':') {
        return Err("a path must not contain control characters or ':'");
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err("a path must not contain \"..\"");
    }
    Ok(format!("/{}", parts.join("/")))
}

fn source(check: &mut Check<'_>, key: &str, volume: VolumeMount) -> Option<MountSource> {
    let Some(kind) = volume.kind else {
        let is_clean = check
            .reader
            .within("volumes", |r| r.within(key, |r| r.is_clean_at("type")));
        if is_clean {
            volume_fault(
                check,
                key,
                Some("type"),
                "required: file, directory, volume or host",
            );
        }
        return None;
    };
    refuse_foreign_fields(check, key, kind, &volume);
    match kind {
        VolumeKind::File => file(check, key, volume),
        VolumeKind::Directory => directory(check, key, volume),
        VolumeKind::Volume => named(check, key, volume),
        VolumeKind::Host => host(check, key, volume),
    }
}

fn refuse_foreign_fields(check: &mut Check<'_>, key: &str, kind: VolumeKind, volume: &VolumeMount) {
    use VolumeKind::{Directory, File, Host, Volume};
    let fields: [(&str, bool, &[VolumeKind]); 6] = [
        ("content", volume.content.is_some(), &[File, Directory]),
        ("text", volume.text.is_some(), &[File]),
        ("files", volume.files.is_some(), &[Directory]),
        ("mode", volume.mode.is_some(), &[File]),
        ("name", volume.name.is_some(), &[Volume]),
        ("host_path", volume.host_path.is_some(), &[Host]),
    ];
    for (field, is_given, kinds) in fields {
        if is_given && !kinds.contains(&kind) {
            volume_fault(
                check,
                key,
                Some(field),
                "does not go with this type of volume",
            );
        }
    }
}

fn file(check: &mut Check<'_>, key: &str, volume: VolumeMount) -> Option<MountSource> {
    let mode = volume.mode.map_or(0o644, |mode| mode.0);
    match (volume.content, volume.text) {
        (Some(_), Some(_)) => volume_fault(check, key, Some("text"), "give either content or text"),
        (Some(content), None) => match archive::decode_base64(&content) {
            Ok(content) => return Some(MountSource::File { mode, content }),
            Err(error) => volume_fault(check, key, Some("content"), &error.to_string()),
        },
        (None, Some(text)) => {
            return Some(MountSource::File {
                mode,
                content: text.into_bytes(),
            });
        }
        (None, None) if volume.response == Some(true) => return Some(MountSource::CollectedFile),
        (None, None) => {
            volume_fault(
                check,
                key,
                Some("content"),
                "required: content or text, unless response is true",
            );
        }
    }
    None
}

fn directory(check: &mut Check<'_>, key: &str, volume: VolumeMount) -> Option<MountSource> {
    match (volume.content, volume.files) {
        (Some(_), Some(_)) => {
            volume_fault(check, key, Some("files"), "give either content or files")
        }
        (Some(content), None) => match archive::check_targz_start(&content) {
            Ok(()) => return Some(MountSource::Archive(content)),
            Err(error) => volume_fault(check, key, Some("content"), &error.to_string()),
        },
        (None, files) => {
            let files = files.unwrap_or_default();
            check.reader.within("volumes", |r| {
                r.within(key, |r| r.within("files", |r| file_names(r, &files)))
            });
            return Some(MountSource::Files(files));
        }
    }
    None
}

/// Checks the names of files given as text. Records a fault for every name that is not allowed in an archive, or that is
/// also a directory of another name.
pub(crate) fn file_names(
    reader: &mut crate::runner::request::wire::Reader,
    files: &BTreeMap<String, String>,
) {
    for name in files.keys() {
        if let Some(fault) = archive::file_name_fault(name) {
            reader.fault_at(name, fault);
        }
        let below = format!("{}/", name.trim_end_matches('/'));
        // Names are sorted: if any starts with `below`, then the first name from `below` on does.
        let next = files.range(below.clone()..).next();
        if next.is_some_and(|(other, _)| other.starts_with(&below)) {
            reader.fault_at(
                name,
                "is a file here, and a directory in the path of another file",
            );
        }
    }
}

fn named(check: &mut Check<'_>, key: &str, volume: VolumeMount) -> Option<MountSource> {
    let Some(name) = volume.name else {
        volume_fault(check, key, Some("name"), "required: the name of a volume");
        return None;
    };
    if !is_volume_name(&name) {
        volume_fault(check, key, Some("name"), VOLUME_NAME_RULE);
        return None;
    }
    if !check.policy.allows_volume(&name) {
        let list = check.policy.allowed_volumes.describe();
        check.forbid(
            "volume_not_allowed",
            format!("this volume is not allowed here; allowed: {list}"),
        );
    }
    Some(MountSource::Named(name))
}

fn host(check: &mut Check<'_>, key: &str, volume: VolumeMount) -> Option<MountSource> {
    if volume.response == Some(true) {
        volume_fault(check, key, Some("response"), "host paths are not returned");
    }
    let path = match volume.host_path.as_deref().map(normalize) {
        Some(Ok(path)) => path,
        Some(Err(msg)) => {
            volume_fault(check, key, Some("host_path"), msg);
            return None;
        }
        None => {
            volume_fault(
                check,
                key,
                Some("host_path"),
                "required: an absolute path on the engine's host",
            );
            return None;
        }
    };
    if !check.policy.allows_host_path(&path) {
        check.forbid(
            "host_path_not_allowed",
            "this host path is not below any that the server allows".into(),
        );
    }
    Some(MountSource::Host(path))
}

/// The rule for the name of a volume, in the words of a fault; see [`is_volume_name`].
pub(crate) const VOLUME_NAME_RULE: &str =
    "expected 2 to 255 letters, digits, '_', '.' and '-', starting with a letter or digit";

/// Whether a name is valid for a named volume: the engine's own rule, which excludes paths, options and single letters, and at
/// most 255 bytes.
pub(crate) fn is_volume_name(name: &str) -> bool {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (2..=255).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_valid)
}

/// Records a fault at `volumes.<key>`, or at `volumes.<key>.<field>`.
fn volume_fault(check: &mut Check<'_>, key: &str, field: Option<&str>, msg: &str) {
    check.reader.within("volumes", |reader| match field {
        Some(field) => reader.within(key, |reader| reader.fault_at(field, msg)),
        None => reader.fault_at(key, msg),
    });
}
