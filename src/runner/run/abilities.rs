//! What the engine at hand cannot do of a request: refused, or said in a warning, before anything is created for the run.

use crate::docker::{Client, ImageInspect, Runtime, SystemInfo};
use crate::problem::Fault;
use crate::runner::error::Error;
use crate::runner::request::mounts::MountSource;
use crate::runner::request::spec::RunSpec;
use std::path::Path;
use std::time::Duration;

const INFO_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns warnings. Errors: [`Error::Invalid`], naming the field that the engine cannot do.
pub(crate) fn check_abilities(
    client: &Client,
    spec: &RunSpec,
    image: &ImageInspect,
) -> Result<Vec<String>, Error> {
    let mut faults = Vec::new();
    if client.is_podman()? {
        faults.extend(kept_variables(spec, &image.config.env));
    }
    // An engine that says nothing of itself is taken for an ordinary one.
    let info = client.recent_info(INFO_TIMEOUT).unwrap_or_default();
    faults.extend(too_many_cpus(spec, &info));
    let runtime = info.runtime(spec.runtime.as_deref());
    let gvisor = runtime.filter(|runtime| is_gvisor(runtime));
    if gvisor.is_some_and(keeps_files_to_itself) {
        faults.extend(unreachable_files(spec));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let pipes = gvisor.and_then(|_| hidden_pipes(spec));
    let limits = without_limits(gvisor, &info);
    Ok(pipes.into_iter().chain(limits).collect())
}

/// Docker refuses to start such a container, Podman gives it all CPUs.
fn too_many_cpus(spec: &RunSpec, info: &SystemInfo) -> Option<Fault> {
    let is_refused = info.cpus > 0 && spec.nano_cpus > u64::from(info.cpus) * 1_000_000_000;
    is_refused.then(|| Fault {
        loc: vec![spec.loc_root.into(), "cpus".into()],
        msg: format!("more than the engine's CPUs: it has {}", info.cpus),
    })
}

/// Variables that are to be removed: Podman leaves those of the image.
fn kept_variables(spec: &RunSpec, image: &[String]) -> Vec<Fault> {
    let is_in_image = |name: &&String| {
        let value = |line: &String| line.strip_prefix(name.as_str()).map(str::to_owned);
        image
            .iter()
            .filter_map(value)
            .any(|rest| rest.starts_with('='))
    };
    let removed = spec.env.iter().filter(|line| !line.contains('='));
    let fault = |name: &String| Fault {
        loc: vec![spec.loc_root.into(), "env_vars".into(), name.clone()],
        msg:
            "this engine (Podman) cannot remove a variable of the image; an empty value is possible"
                .into(),
    };
    removed.filter(is_in_image).map(fault).collect()
}

fn is_gvisor(runtime: &Runtime) -> bool {
    let program = Path::new(&runtime.path).file_name();
    program.is_some_and(|name| name.to_string_lossy().starts_with("runsc"))
}

/// Since 2023, gVisor writes changes of the root file system to a file of its own, which the engine cannot read, unless it is
/// configured otherwise.
fn keeps_files_to_itself(runtime: &Runtime) -> bool {
    !has_flag(runtime, "overlay2=none")
}

/// Files that would be collected from the container's own file system.
fn unreachable_files(spec: &RunSpec) -> Vec<Fault> {
    let is_collected = |source: &MountSource| matches!(source, MountSource::CollectedFile);
    let fault = |key: &String| {
        Fault {
        loc: vec![spec.loc_root.into(), "volumes".into(), key.clone()],
        msg: "the runtime (gVisor) keeps the container's own files to itself: collect a directory instead, or configure the \
              engine's runtime with --overlay2=none"
            .into(),
    }
    };
    spec.mounts
        .iter()
        .filter(|mount| is_collected(&mount.source))
        .map(|mount| fault(&mount.sent_key))
        .collect()
}

/// Named pipes and sockets in a mount exist within gVisor only, so that nobody can see whether there were any.
fn hidden_pipes(spec: &RunSpec) -> Option<String> {
    let mut mounts = spec.mounts.iter();
    let mount = mounts.find(|mount| mount.response && is_directory(&mount.source))?;
    Some(format!(
        "{}: the runtime (gVisor) hides the named pipes and sockets that a run makes: they are left out, and not listed here",
        mount.key
    ))
}

fn is_directory(source: &MountSource) -> bool {
    match source {
        MountSource::Archive(_) | MountSource::Files(_) | MountSource::Named(_) => true,
        MountSource::File { .. } | MountSource::CollectedFile | MountSource::Host(_) => false,
    }
}

/// Why limits are not enforced, where the engine takes them without saying so.
fn without_limits(gvisor: Option<&Runtime>, info: &SystemInfo) -> Option<String> {
    let reason = if gvisor.is_some_and(|runtime| has_flag(runtime, "ignore-cgroups")) {
        "the engine starts the runtime (gVisor) with --ignore-cgroups"
    } else if is_without_control_groups(info) {
        "the engine is rootless and has no control groups"
    } else {
        return None;
    };
    Some(format!(
        "{reason}: memory, cpus and pids_limit are not enforced"
    ))
}

/// Control groups of version 1 cannot be delegated to a user.
fn is_without_control_groups(info: &SystemInfo) -> bool {
    let mut options = info.security_options.iter();
    let is_rootless = options.any(|option| option.split(',').any(|part| part == "name=rootless"));
    is_rootless && (info.cgroup_driver == "none" || info.cgroup_version == "1")
}

/// Whether the engine starts the runtime with a flag, which may have one or two dashes and `=true`.
fn has_flag(runtime: &Runtime, flag: &str) -> bool {
    let name = |argument: &String| argument.trim_start_matches('-').to_owned();
    let mut given = runtime.runtime_args.iter().map(name);
    given.any(|given| given == flag || given == format!("{flag}=true"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn runtime(path: &str, args: &[&str]) -> Runtime {
        Runtime {
            path: path.into(),
            runtime_args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }

    #[test]
    fn gvisor_is_known_by_its_program_and_its_flags_by_their_names() {
        assert!(!is_gvisor(&runtime("runc", &[])));
        assert!(is_gvisor(&runtime("/usr/local/bin/runsc-kvm", &[])));
        for (args, keeps, is_unlimited) in [
            (&[][..], true, false),
            (&["--overlay2=none"], false, false),
            (&["-overlay2=none", "--ignore-cgroups"], false, true),
            (
                &["--overlay2=all:memory", "-ignore-cgroups=true"],
                true,
                true,
            ),
            (&["--ignore-cgroups=false"], true, false),
        ] {
            let runtime = runtime("/usr/bin/runsc", args);
            assert_eq!(keeps_files_to_itself(&runtime), keeps, "{args:?}");
            assert_eq!(
                has_flag(&runtime, "ignore-cgroups"),
                is_unlimited,
                "{args:?}"
            );
        }
    }

    #[test]
    fn a_rootless_engine_enforces_limits_with_control_groups_of_version_2_only() {
        for (driver, version, option, warns) in [
            ("none", "1", "name=rootless", true),
            ("none", "2", "name=rootless", true),
            ("cgroupfs", "1", "name=seccomp,name=rootless", true),
            ("systemd", "2", "name=rootless", false),
            ("cgroupfs", "1", "name=seccomp,profile=default", false),
            ("", "", "", false),
        ] {
            let info = SystemInfo {
                cgroup_driver: driver.into(),
                cgroup_version: version.into(),
                security_options: vec![option.into()],
                ..SystemInfo::default()
            };
            let warning = without_limits(None, &info);
            assert_eq!(warning.is_some(), warns, "{driver} {version} {option}");
        }
    }
}
