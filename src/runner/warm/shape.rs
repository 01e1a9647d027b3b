//! The shape of a container: everything that cannot change once it has started. A run can have a waiting container of exactly its
//! own shape. Command, variables, working directory, stdin, time limit and output limits come at the last moment. Pure.

use crate::docker::{ContainerCreate, ImageInspect, Labels};
use crate::runner::init::variables::{for_pid_1, kept_from_pid_1};
use crate::runner::request::spec::RunSpec;

/// What a waiting container is made of.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Equal for equal shapes.
    key: String,
    /// The body of the create call, without labels and without what comes at the last moment.
    pub(crate) body: ContainerCreate,
    pub(crate) platform: Option<String>,
    /// The labels of its image.
    pub(crate) image_labels: Labels,
    /// The volume with the program of its PID 1.
    pub(crate) init_volume: String,
}

impl Shape {
    /// The shape of a run's container. `body` is that of its create call, without the service's own PID 1.
    pub(crate) fn new(
        body: ContainerCreate,
        spec: &RunSpec,
        image: &ImageInspect,
        init_volume: &str,
    ) -> Self {
        let mut body = ContainerCreate {
            image: image.id.clone(),
            cmd: None,
            entrypoint: None,
            env: match kept_from_pid_1(&[], &image.config.env) {
                Some(_) => for_pid_1(Vec::new()),
                None => Vec::new(),
            },
            working_dir: None,
            labels: Labels::new(),
            attach_stdin: false,
            open_stdin: false,
            stdin_once: false,
            ..body
        };
        // PID 1 is this service's.
        body.host_config.init = None;
        body.host_config.cap_drop.sort();
        body.host_config.cap_drop.dedup();
        let platform = spec.platform.as_ref().map(ToString::to_string);
        let all = (&body, &platform, init_volume);
        Self {
            key: serde_json::to_string(&all).unwrap_or_default(),
            body,
            platform,
            image_labels: image.config.labels.clone(),
            init_volume: init_volume.to_owned(),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Why a run cannot have a waiting container whatever its image is, in one word. `None`: it can.
pub(crate) fn misfit(spec: &RunSpec) -> Option<&'static str> {
    let reasons = [
        // What is kept for the next server names its container.
        (spec.is_detached, "asynchronous"),
        (!spec.mounts.is_empty(), "volumes"),
        (!spec.labels.is_empty(), "labels"),
        (spec.hostname.is_some(), "hostname"),
        (spec.init == Some(false), "init"),
    ];
    let found = reasons.into_iter().find(|(applies, _)| *applies);
    found.map(|(_, word)| word)
}

/// The changes that make the variables of a waiting container those that the engine would have given this run. `None`: they cannot,
/// because the runtime sets an empty or absent `HOME` when the container starts, and by then the image's is set.
pub(crate) fn env_changes(spec: &RunSpec, image: &ImageInspect) -> Option<Vec<String>> {
    let is_unset = |line: &&String| matches!(line.as_str(), "HOME" | "HOME=");
    let image_has_home = image.config.env.iter().any(|line| {
        line.strip_prefix("HOME=")
            .is_some_and(|home| !home.is_empty())
    });
    match spec.env.iter().any(|line| is_unset(&line)) {
        true if image_has_home => None,
        // The runtime has set it.
        true => {
            let kept = spec.env.iter().filter(|line| !is_unset(line));
            Some(kept.cloned().collect())
        }
        false => Some(spec.env.clone()),
    }
}
