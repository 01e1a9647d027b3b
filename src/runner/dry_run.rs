//! The plan of a dry run: what a run would do. Makes no engine call and shows no secret.

use crate::runner::cleanup::labels::{Identity, Role};
use crate::runner::request::mounts::{Access, MountSource, MountSpec};
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::{Encoding, PullPolicy, RunKind, VolumeKind};
use crate::runner::run::container_config;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Replaces the values of environment variables.
const REDACTED: &str = "<redacted>";
/// Replaces the staging volume's name, and its path on the engine's host.
const STAGE: &str = "<stage>";
/// Replaces the run's id.
const RUN: &str = "<run id>";

/// What a checked request would do: defaults filled in, secrets left out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunPlan {
    /// Always true: nothing was done.
    pub dry_run: bool,
    /// The image.
    pub image: String,
    /// When it would be pulled.
    pub pull_policy: PullPolicy,
    /// Whether credentials for its registry were given.
    pub has_credentials: bool,
    /// The platform that was asked for.
    pub platform: Option<String>,
    /// When the container would be killed, in seconds.
    pub timeout_secs: f64,
    /// Whether it could have a container that waits for runs, as far as the request says. Whether one waits is not known before.
    pub warm: bool,
    /// How much would be fed to its standard input; null: it would have none.
    pub stdin_bytes: Option<usize>,
    /// How much of each output stream would be kept.
    pub max_output_bytes: u64,
    /// How the output would be returned.
    pub output_encoding: Encoding,
    /// What would be mounted or collected.
    pub volumes: Vec<PlannedVolume>,
    /// The body of the engine's `POST /containers/create`, without this service's PID 1: with that, the engine is asked for it and
    /// for what it needs beside the limits, and it gets the command; values of variables are left out. A run names its image by the
    /// digest that it then has. What `depends_on_engine` lists may differ.
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    pub container: Value,
    /// What in `container` depends on the engine, which a dry run does not ask.
    pub depends_on_engine: Vec<String>,
}

/// How staged content is mounted, in the words of a plan. The body shows the way that any engine knows.
const STAGE_DEPENDS: &str = "HostConfig.Mounts: from API version 1.45 on, each item of <stage> is mounted by VolumeOptions.Subpath of \
    that volume, and neither as a bind of <stage>/… nor with a mount of the whole volume";
/// How output is kept, in the words of a plan.
const LOG_DEPENDS: &str = "HostConfig.LogConfig: k8s-file on Podman, which has no driver `local`";

/// One volume of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedVolume {
    /// Path in the container.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: VolumeKind,
    /// Whether the container may not write to it.
    pub read_only: bool,
    /// Size of the content as it was sent; null: none was.
    pub content_bytes: Option<usize>,
    /// Whether it would be returned.
    pub response: bool,
}

/// The plan of a checked run. Does not know of containers that wait: the caller sets `warm`.
pub(crate) fn plan(mut spec: RunSpec, kind: RunKind, identity: &Identity) -> RunPlan {
    spec.id = RUN.into();
    spec.is_detached = kind == RunKind::Asynchronous;
    let labels = container_config::object_labels(&spec, identity, Role::Run);
    let stage = container_config::StageVolume {
        name: STAGE.into(),
        mountpoint: STAGE.into(),
        masked_paths: Vec::new(),
        mounts_parts: false,
    };
    let stage = spec
        .mounts
        .iter()
        .any(MountSpec::is_staged)
        .then_some(&stage);
    let depends_on_engine = depends_on_engine(&spec);
    let mut container = container_config::container(&spec, stage, labels);
    container.image.clone_from(&spec.image);
    container.env.iter_mut().for_each(redact);
    RunPlan {
        dry_run: true,
        image: spec.image.clone(),
        pull_policy: spec.pull_policy,
        has_credentials: spec.auth.is_some(),
        platform: spec.platform.as_ref().map(ToString::to_string),
        timeout_secs: spec.timeout.as_secs_f64(),
        warm: false,
        stdin_bytes: spec.stdin.as_ref().map(Vec::len),
        max_output_bytes: spec.output_bytes,
        output_encoding: spec.output_encoding,
        volumes: spec.mounts.iter().map(volume).collect(),
        container: serde_json::to_value(container).unwrap_or_default(),
        depends_on_engine,
    }
}

fn depends_on_engine(spec: &RunSpec) -> Vec<String> {
    let mut depends = Vec::new();
    if spec.mounts.iter().any(MountSpec::is_staged) {
        depends.push(STAGE_DEPENDS.to_owned());
    }
    if spec.is_detached {
        depends.push(LOG_DEPENDS.to_owned());
    }
    depends
}

/// Hides the value. A variable that the request removes has no value and stays as it is.
fn redact(variable: &mut String) {
    if let Some((name, _)) = variable.split_once('=') {
        *variable = format!("{name}={REDACTED}");
    }
}

fn volume(mount: &MountSpec) -> PlannedVolume {
    let (kind, content_bytes) = match &mount.source {
        MountSource::File { content, .. } => (VolumeKind::File, Some(content.len())),
        MountSource::CollectedFile => (VolumeKind::File, None),
        MountSource::Archive(content) => (VolumeKind::Directory, Some(content.len())),
        MountSource::Files(files) => {
            let sent = files.values().map(String::len).sum();
            (VolumeKind::Directory, Some(sent))
        }
        MountSource::Named(_) => (VolumeKind::Volume, None),
        MountSource::Host(_) => (VolumeKind::Host, None),
    };
    PlannedVolume {
        path: mount.target.clone(),
        kind,
        read_only: mount.access == Access::ReadOnly,
        content_bytes,
        response: mount.response,
    }
}
