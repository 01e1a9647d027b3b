//! What the engine at hand cannot do of a request: refused, or said in a warning, before anything is created for the run.

use crate::docker::{Client, ImageInspect, Runtime};
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
    // An engine that does not name its runtimes is taken for one with an ordinary one.
    let runtime = client.runtime(spec.runtime.as_deref(), INFO_TIMEOUT);
    let gvisor = runtime.ok().flatten().filter(is_gvisor);
    if gvisor.as_ref().is_some_and(keeps_files_to_itself) {
        faults.extend(unreachable_files(spec));
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    let is_unlimited = gvisor.is_some_and(|runtime| has_flag(&runtime, "ignore-cgroups"));
    Ok(is_unlimited.then(unlimited).into_iter().collect())
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

/// Whether the engine starts the runtime with a flag, which may have one or two dashes and `=true`.
fn has_flag(runtime: &Runtime, flag: &str) -> bool {
    let name = |argument: &String| argument.trim_start_matches('-').to_owned();
    let mut given = runtime.runtime_args.iter().map(name);
    given.any(|given| given == flag || given == format!("{flag}=true"))
}

fn unlimited() -> String {
    "the engine starts the runtime (gVisor) with --ignore-cgroups: memory, cpus and pids_limit are not enforced".into()
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
}
