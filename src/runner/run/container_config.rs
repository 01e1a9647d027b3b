//! The container that the engine is asked to create for a run, and what follows from its image: owner of staged content,
//! digest. Pure: makes no engine call.

use crate::archive::UidGid;
use crate::docker::{ContainerCreate, HostConfig, ImageInspect, Labels, LogConfig, Mount};
use crate::runner::cleanup::labels::{Identity, OBJECT_SLACK, Role};
use crate::runner::request::mounts::{Access, MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;

/// The body of `POST /containers/create`: the request's settings plus the service's hardening. Leaves `image` empty; the
/// caller sets it. `stage` is the staging volume's path on the engine's host.
pub(crate) fn container(
    spec: &RunSpec,
    stage: Option<&str>,
    service_labels: Labels,
) -> ContainerCreate {
    let mut labels = spec.labels.clone();
    labels.extend(service_labels);
    let feeds_stdin = spec.stdin.is_some();
    ContainerCreate {
        cmd: spec.command.clone().filter(|words| !words.is_empty()),
        entrypoint: spec.entrypoint.clone(),
        env: spec.env.clone(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        hostname: spec.hostname.clone(),
        labels,
        attach_stdin: feeds_stdin,
        attach_stdout: true,
        attach_stderr: true,
        open_stdin: feeds_stdin,
        stdin_once: feeds_stdin,
        // With network `none`, this halves the start time.
        network_disabled: spec.network == "none",
        host_config: host_config(spec, stage),
        ..ContainerCreate::default()
    }
}

fn host_config(spec: &RunSpec, stage: Option<&str>) -> HostConfig {
    let memory = i64::try_from(spec.memory_bytes).unwrap_or(i64::MAX);
    HostConfig {
        network_mode: Some(spec.network.clone()),
        memory,
        memory_swap: memory,
        nano_cpus: i64::try_from(spec.nano_cpus).unwrap_or(i64::MAX),
        pids_limit: i64::try_from(spec.pids_limit).ok(),
        init: spec.init.then_some(true),
        readonly_rootfs: spec.read_only,
        tmpfs: spec.tmpfs.clone(),
        shm_size: spec
            .shm_size_bytes
            .and_then(|bytes| i64::try_from(bytes).ok()),
        cap_drop: spec.cap_drop.clone(),
        extra_hosts: spec.extra_hosts.clone(),
        runtime: spec.runtime.clone(),
        security_opt: vec!["no-new-privileges".into()],
        log_config: log_config(spec),
        mounts: mounts(spec, stage),
    }
}

/// No log on the engine's disk for an attached run, whose output is read while it runs. A detached run has one, from which
/// a later process can resume it: `local`, because `json-file` does not preserve bytes that are not UTF-8.
fn log_config(spec: &RunSpec) -> LogConfig {
    const FILE_BYTES: u64 = 20 << 20;
    if !spec.is_detached {
        return LogConfig {
            kind: "none".into(),
            ..LogConfig::default()
        };
    }
    let files = (2 * spec.output_bytes).div_ceil(FILE_BYTES).max(1) + 1;
    let option = |name: &str, value: String| (name.to_owned(), value);
    LogConfig {
        kind: "local".into(),
        config: [
            option("max-size", FILE_BYTES.to_string()),
            option("max-file", files.to_string()),
        ]
        .into(),
    }
}

fn mounts(spec: &RunSpec, stage: Option<&str>) -> Vec<Mount> {
    let mount = |(index, mount): (usize, &MountSpec)| {
        let plain = |kind: &str, source: &str| Mount {
            kind: kind.into(),
            source: source.into(),
            target: mount.target.clone(),
            read_only: mount.access == Access::ReadOnly,
            volume_options: None,
        };
        match &mount.source {
            MountSource::CollectedFile => None,
            MountSource::Named(name) => Some(plain("volume", name)),
            MountSource::Host(path) => Some(plain("bind", path)),
            MountSource::File { .. } | MountSource::Archive(_) | MountSource::Files(_) => {
                stage.map(|stage| staged_mount(stage, index, mount))
            }
        }
    };
    spec.mounts.iter().enumerate().filter_map(mount).collect()
}

/// The bind of the staged item with this index.
fn staged_mount(mountpoint: &str, index: usize, spec: &MountSpec) -> Mount {
    Mount {
        kind: "bind".into(),
        source: format!("{mountpoint}/{index}"),
        target: spec.target.clone(),
        read_only: spec.access == Access::ReadOnly,
        volume_options: None,
    }
}

/// The service's labels for an engine object of this run.
pub(crate) fn object_labels(spec: &RunSpec, identity: &Identity, role: Role) -> Labels {
    match spec.is_detached {
        true => identity.async_labels(&spec.id, role),
        false => identity.labels(&spec.id, spec.timeout + OBJECT_SLACK),
    }
}

/// The user of the run: the request's, else the image's. May be empty, which means root.
pub(crate) fn user<'a>(spec: &'a RunSpec, image: &'a ImageInspect) -> &'a str {
    spec.user.as_deref().unwrap_or(&image.config.user)
}

/// Parses a user of the form `uid`, `uid:gid` or empty (root). `None`: it contains names.
pub(crate) fn numeric_owner(user: &str) -> Option<UidGid> {
    if user.is_empty() {
        return Some(UidGid::default());
    }
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    Some(UidGid {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
    })
}

/// Resolves a user of the form `name`, `name:group`, `uid:group` or `name:gid` with the contents of the image's
/// `/etc/passwd` and `/etc/group`. `None`: they do not have the name or the group.
pub(crate) fn named_owner(user: &str, passwd: &str, group: &str) -> Option<UidGid> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let account = line_of(passwd, name);
    let field = |index: usize| account.as_ref()?.get(index)?.parse::<u64>().ok();
    let uid = name.parse().ok().or_else(|| field(2))?;
    let gid = match wanted_group {
        None => field(3).unwrap_or(0),
        Some(wanted) => match wanted.parse() {
            Ok(gid) => gid,
            Err(_) => line_of(group, wanted)?.get(2)?.parse().ok()?,
        },
    };
    Some(UidGid { uid, gid })
}

/// The fields of the first line whose first field is `name`.
fn line_of<'t>(text: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let fields = |line: &'t str| line.split(':').map(str::trim).collect::<Vec<_>>();
    text.lines().map(fields).find(|fields| fields[0] == name)
}

/// The digest that the result names: the registry's digest for this reference, else the image's id.
pub(crate) fn image_digest(reference: &str, image: &ImageInspect) -> String {
    let name = reference.split('@').next().unwrap_or(reference);
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    let digest_of = |entry: &String| {
        let (entry_repository, digest) = entry.split_once('@')?;
        let same = entry_repository == repository
            || entry_repository == format!("docker.io/library/{repository}")
            || entry_repository.strip_prefix("docker.io/") == Some(repository);
        same.then(|| digest.to_owned())
    };
    image
        .repo_digests
        .iter()
        .find_map(digest_of)
        .unwrap_or_else(|| image.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_content_belongs_to_the_user_of_the_run() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken:x:one:1\n";
        let group = "root:x:0:\nstaff:x:50:\n";
        for (user, uid, gid) in [
            ("app", 1000, 1001),
            ("app:staff", 1000, 50),
            ("7:staff", 7, 50),
        ] {
            assert_eq!(numeric_owner(user), None, "{user}");
            let owner = named_owner(user, passwd, group);
            assert_eq!(owner, Some(UidGid { uid, gid }), "{user}");
        }
        for unknown in ["ghost", "app:ghosts", "broken", ""] {
            assert_eq!(named_owner(unknown, passwd, group), None, "{unknown}");
        }
        assert_eq!(numeric_owner(""), Some(UidGid::default()));
        assert_eq!(numeric_owner("5"), Some(UidGid { uid: 5, gid: 0 }));
        assert_eq!(numeric_owner("5:6"), Some(UidGid { uid: 5, gid: 6 }));
    }

    #[test]
    fn the_digest_is_that_of_the_requested_reference() {
        let image = ImageInspect {
            id: "sha256:own".into(),
            repo_digests: vec!["127.0.0.1:5000/x@sha256:a".into(), "alpine@sha256:b".into()],
            ..ImageInspect::default()
        };
        for (reference, digest) in [
            ("127.0.0.1:5000/x:1", "sha256:a"),
            ("127.0.0.1:5000/x@sha256:a", "sha256:a"),
            ("alpine", "sha256:b"),
            ("other", "sha256:own"),
        ] {
            assert_eq!(image_digest(reference, &image), digest, "{reference}");
        }
    }
}
