//! The container that the engine is asked to create for a run, and what follows from its image: owner of staged content,
//! digest. Pure: makes no engine call.

use crate::archive::UidGid;
use crate::docker::reference::full_name;
use crate::docker::{
    ContainerCreate, HealthConfig, HostConfig, ImageInspect, Labels, LogConfig, Mount,
    VolumeOptions,
};
use crate::init::protocol::{INIT_ARGUMENT, INIT_MEMORY_BYTES, INIT_PROCESSES, INIT_PROGRAM};
use crate::runner::cleanup::labels::{Identity, OBJECT_SLACK, PID_1_NONCE, Role};
use crate::runner::init::delivery::init_mount;
use crate::runner::init::variables::for_pid_1;
use crate::runner::request::mounts::{Access, MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::staging::existing_volume::must_exist;

/// Name of a run's container.
pub(crate) fn container_name(spec: &RunSpec) -> String {
    format!("oneoff-{}", spec.id)
}

/// Where the run's container mounts its whole staging volume if the single items are binds. These do not count as uses of the
/// volume, which another client could then remove from under a running container. In `/dev`, where callers cannot mount anything
/// and `ls /` does not show it.
pub(crate) const STAGE_REFERENCE: &str = "/dev/.oneoff";

/// The staging volume as a run's container mounts it.
pub(crate) struct StageVolume {
    pub(crate) name: String,
    /// Its path on the engine's host.
    pub(crate) mountpoint: String,
    /// Whether single items are mounted as parts of the volume. Else they are binds of paths of the engine's host, which the engine
    /// of a desktop machine may refuse.
    pub(crate) mounts_parts: bool,
    /// The paths that the engine hides in a container unless other ones are given. Empty: unknown.
    pub(crate) masked_paths: Vec<String>,
}

/// The service's own PID 1 in the container of one run.
#[derive(Clone, Debug)]
pub(crate) struct Pid1 {
    /// The volume with its program.
    pub(crate) volume: String,
    /// The nonce of its marks.
    pub(crate) nonce: String,
    /// The command that it starts.
    pub(crate) argv: Vec<String>,
    /// Variables that only the command has.
    pub(crate) env: Vec<String>,
}

/// The body of `POST /containers/create`: the request's settings plus the service's hardening. Leaves `image` empty; the
/// caller sets it. `stage` is for the mounts that are staged, if there are any. With the service's own PID 1, see
/// [`with_pid_1`].
pub(crate) fn container(
    spec: &RunSpec,
    stage: Option<&StageVolume>,
    service_labels: Labels,
) -> ContainerCreate {
    let mut labels = spec.labels.clone();
    labels.extend(service_labels.clone());
    let feeds_stdin = spec.stdin.is_some();
    ContainerCreate {
        cmd: spec.command.clone().filter(|words| !words.is_empty()),
        entrypoint: spec.entrypoint.clone(),
        env: spec.env.clone(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        hostname: spec.hostname.clone(),
        // Nobody asks a run's health, and the image's check would run beside the command.
        healthcheck: Some(HealthConfig {
            test: vec!["NONE".into()],
        }),
        labels,
        attach_stdin: feeds_stdin,
        attach_stdout: true,
        attach_stderr: true,
        open_stdin: feeds_stdin,
        stdin_once: feeds_stdin,
        // With network `none`, this halves the start time.
        network_disabled: spec.network == "none",
        host_config: HostConfig {
            mounts: mounts(spec, stage, &service_labels),
            masked_paths: stage
                .filter(|stage| !stage.mounts_parts)
                .map(masked_paths)
                .unwrap_or_default(),
            ..host_config(spec)
        },
        ..ContainerCreate::default()
    }
}

/// The same container with the service's own PID 1, which reads the command from its standard input. The limits grow by what PID 1
/// needs itself. The nonce in its labels lets a later server read the marks in the container's log.
pub(crate) fn with_pid_1(
    container: ContainerCreate,
    pid_1: &Pid1,
    name: &str,
    service_labels: &Labels,
) -> ContainerCreate {
    let mut labels = container.labels;
    labels.insert(PID_1_NONCE.into(), pid_1.nonce.clone());
    let host = container.host_config;
    let own_memory = i64::try_from(INIT_MEMORY_BYTES).unwrap_or_default();
    let own_pids = i64::try_from(INIT_PROCESSES).unwrap_or_default();
    let memory = host.memory.saturating_add(own_memory);
    let mut mounts = host.mounts;
    mounts.push(init_mount(&pid_1.volume, name, service_labels));
    ContainerCreate {
        env: match pid_1.env.is_empty() {
            true => container.env,
            false => for_pid_1(container.env),
        },
        cmd: None,
        entrypoint: Some(vec![INIT_PROGRAM.into(), INIT_ARGUMENT.into()]),
        labels,
        attach_stdin: true,
        open_stdin: true,
        stdin_once: true,
        host_config: HostConfig {
            memory,
            memory_swap: memory,
            pids_limit: host.pids_limit.map(|limit| limit.saturating_add(own_pids)),
            init: None,
            mounts,
            ..host
        },
        ..container
    }
}

/// The nonce of the service's own PID 1 in a container with these labels. `None`: it has none.
pub(crate) fn pid_1_nonce(labels: &Labels) -> Option<String> {
    let nonce = labels.get(PID_1_NONCE)?;
    (!nonce.is_empty()).then(|| nonce.clone())
}

fn host_config(spec: &RunSpec) -> HostConfig {
    let memory = i64::try_from(spec.memory_bytes).unwrap_or(i64::MAX);
    HostConfig {
        network_mode: Some(spec.network.clone()),
        memory,
        memory_swap: memory,
        nano_cpus: i64::try_from(spec.nano_cpus).unwrap_or(i64::MAX),
        pids_limit: i64::try_from(spec.pids_limit).ok(),
        init: (spec.init == Some(true)).then_some(true),
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
        ..HostConfig::default()
    }
}

/// No log on the engine's disk for an attached run, whose output is read while it runs. A detached run has one, from which
/// a later process can resume it: `local`, because `json-file` does not preserve bytes that are not UTF-8.
fn log_config(spec: &RunSpec) -> LogConfig {
    if !spec.is_detached {
        return LogConfig {
            kind: "none".into(),
            ..LogConfig::default()
        };
    }
    let option = |name: &str, value: String| (name.to_owned(), value);
    LogConfig {
        kind: "local".into(),
        config: [
            option("max-size", LOG_FILE_BYTES.to_string()),
            option("max-file", (full_log_files(spec) + 1).to_string()),
        ]
        .into(),
    }
}

/// The log of a detached run on Podman, which has no driver `local`. Unlimited: a limit would drop the whole of what was written.
pub(crate) fn podman_log() -> LogConfig {
    LogConfig {
        kind: "k8s-file".into(),
        ..LogConfig::default()
    }
}

/// Size at which the engine begins a new file of a container's log.
const LOG_FILE_BYTES: u64 = 20 << 20;

/// How many full files the engine keeps of a container's log, beside the one that it writes.
fn full_log_files(spec: &RunSpec) -> u64 {
    (2 * spec.output_bytes).div_ceil(LOG_FILE_BYTES).max(1)
}

/// A log from which the engine has removed the beginning still has at least this size.
pub(crate) fn least_cut_log_bytes(spec: &RunSpec) -> u64 {
    const LONGEST_MESSAGE_BYTES: u64 = 32 * 1024;
    full_log_files(spec) * (LOG_FILE_BYTES - LONGEST_MESSAGE_BYTES)
}

/// The engine's own list and our path, whose content the run then does not see.
fn masked_paths(stage: &StageVolume) -> Vec<String> {
    let mut paths = stage.masked_paths.clone();
    if !paths.is_empty() {
        paths.push(STAGE_REFERENCE.into());
    }
    paths
}

/// The mount of the staging volume is the first: if the volume is gone, the engine creates an empty one for it, and then refuses
/// the binds of its items.
fn mounts(spec: &RunSpec, stage: Option<&StageVolume>, labels: &Labels) -> Vec<Mount> {
    let reference = stage.filter(|stage| !stage.mounts_parts);
    let reference = reference.map(|stage| stage_mount(stage, labels));
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
            MountSource::Named(name) => Some(Mount {
                volume_options: Some(must_exist(&container_name(spec), labels.clone())),
                ..plain("volume", name)
            }),
            MountSource::Host(path) => Some(plain("bind", path)),
            MountSource::File { .. } | MountSource::Archive(_) | MountSource::Files(_) => stage
                .map(|stage| match stage.mounts_parts {
                    true => Mount {
                        volume_options: Some(part_of_stage(index, labels)),
                        ..plain("volume", &stage.name)
                    },
                    false => plain("bind", &format!("{}/{index}", stage.mountpoint)),
                }),
        }
    };
    let mounts = spec.mounts.iter().enumerate().filter_map(mount);
    reference.into_iter().chain(mounts).collect()
}

fn stage_mount(stage: &StageVolume, labels: &Labels) -> Mount {
    Mount {
        kind: "volume".into(),
        source: stage.name.clone(),
        target: STAGE_REFERENCE.into(),
        read_only: true,
        volume_options: Some(VolumeOptions {
            no_copy: true,
            labels: labels.clone(),
            ..VolumeOptions::default()
        }),
    }
}

fn part_of_stage(index: usize, labels: &Labels) -> VolumeOptions {
    VolumeOptions {
        no_copy: true,
        labels: labels.clone(),
        subpath: Some(index.to_string()),
        ..VolumeOptions::default()
    }
}

/// The service's labels for an engine object of this run.
pub(crate) fn object_labels(spec: &RunSpec, identity: &Identity, role: Role) -> Labels {
    match spec.is_detached {
        true if role == Role::Run => identity.async_run_labels(&spec.id, spec.timeout),
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
    let wanted = full_name(reference);
    let digest_of = |entry: &String| {
        let (_, digest) = entry.split_once('@')?;
        (full_name(entry) == wanted).then(|| digest.to_owned())
    };
    image
        .repo_digests
        .iter()
        .find_map(digest_of)
        .unwrap_or_else(|| image.id.clone())
}

/// The volumes that the image declares. The engine mounts each of them, unless the run mounts something else there.
pub(crate) fn image_volumes(image: &ImageInspect) -> Vec<String> {
    image.config.volumes.keys().cloned().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runner::policy::Policy;
    use crate::runner::request::check::ApiProfile;
    use crate::runner::request::lenient::Spelling;
    use crate::runner::request::types::PullPolicy;

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

    fn stage(mounts_parts: bool) -> StageVolume {
        StageVolume {
            name: "stage".into(),
            mountpoint: "/host/stage/_data".into(),
            mounts_parts,
            masked_paths: vec!["/proc/kcore".into()],
        }
    }

    #[test]
    fn a_stage_that_can_be_mounted_in_parts_needs_no_path_of_the_engines_host() {
        let request = serde_json::json!({"image": "x", "volumes": {
            "/d": {"type": "directory"},
            "/f:ro": {"type": "file", "text": "t"},
        }});
        let profile = ApiProfile {
            root: "body",
            pull_policy: PullPolicy::Missing,
            spelling: Spelling::Exact,
        };
        let spec = RunSpec::from_json(request, profile, &Policy::default()).unwrap();
        let parts = container(&spec, Some(&stage(true)), Labels::new()).host_config;
        let seen: Vec<_> = parts
            .mounts
            .iter()
            .map(|mount| {
                let subpath = mount
                    .volume_options
                    .as_ref()
                    .and_then(|o| o.subpath.as_deref());
                (
                    mount.kind.as_str(),
                    mount.source.as_str(),
                    subpath,
                    mount.read_only,
                )
            })
            .collect();
        let expected = [
            ("volume", "stage", Some("0"), false),
            ("volume", "stage", Some("1"), true),
        ];
        assert_eq!(seen, expected);
        assert!(parts.masked_paths.is_empty(), "the engine's own");
        let binds = container(&spec, Some(&stage(false)), Labels::new()).host_config;
        let sources: Vec<_> = binds
            .mounts
            .iter()
            .map(|mount| mount.source.as_str())
            .collect();
        assert_eq!(
            sources,
            ["stage", "/host/stage/_data/0", "/host/stage/_data/1"]
        );
        assert_eq!(binds.masked_paths, ["/proc/kcore", STAGE_REFERENCE]);
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
            ("docker.io/library/alpine:latest", "sha256:b"),
            ("other", "sha256:own"),
        ] {
            assert_eq!(image_digest(reference, &image), digest, "{reference}");
        }
    }
}
