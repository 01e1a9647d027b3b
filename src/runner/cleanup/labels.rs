//! The labels that every engine object of ours carries from its create call on, and what they say about its owner.

use crate::docker::{ContainerSummary, Labels};
use crate::process_identity::ProcessIdentity;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the keys of our labels begin with.
const PREFIX: &str = "oneoff.";
/// Name of the server instance.
pub(crate) const INSTANCE: &str = "oneoff.instance";
/// The server process that created the object.
pub(crate) const OWNER: &str = "oneoff.owner";
/// Id of the run or volume operation that the object belongs to.
pub(crate) const RUN: &str = "oneoff.run";
/// Unix time in seconds after which the object is a leftover, whatever created it.
pub(crate) const DEADLINE: &str = "oneoff.deadline";
/// On objects of an asynchronous run: their [`Role`]. Such a run outlives its server, and is adopted by the next one.
pub(crate) const ASYNC: &str = "oneoff.async";
/// On the helper and the marker of a fill: name of the volume. The volume is incomplete while one of them exists.
pub(crate) const FILLS: &str = "oneoff.fills";
/// On a question: the process that is asked whether it lives.
pub(crate) const ASKS: &str = "oneoff.asks";
/// On the container that says which server of an instance name adopts runs.
pub(crate) const LEADS: &str = "oneoff.leads";
/// On a named volume: id of the `POST /volume` that created it. The reaper never removes such a volume. On a container this label
/// means nothing, since it may come from the image.
pub(crate) const KEPT: &str = "oneoff.volume";

/// On a named volume: the owner that `POST /volume` asked for, as `uid:gid`.
pub(crate) const VOLUME_OWNER: &str = "oneoff.volume-owner";

/// On every run's container, and on helpers of volumes: the host paths that it mounts, one a line. Always set, so that an image's
/// label of this name does not count.
pub(crate) const HOST_PATHS: &str = "oneoff.host-paths";

/// On the container of a run with this service's own PID 1: the nonce of its marks.
pub(crate) const PID_1_NONCE: &str = "oneoff.pid-1";

/// On a container that waits for its command, or has waited for it. Its name and its other labels say nothing of the run.
pub(crate) const WARM: &str = "oneoff.warm";

/// How much longer than its run's time limit an object may exist before it is past its deadline. It is enough for an idle engine
/// only: an object that is needed for longer is kept because its owner lives.
pub(crate) const OBJECT_SLACK: Duration = Duration::from_secs(120);
/// How long objects of an asynchronous run may exist while no server answers for them.
pub(crate) const ASYNC_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an object is to its asynchronous run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// An empty volume whose name says that there is such a run, and how far it came.
    Mark,
    /// The run's container.
    Run,
    /// The helper with its staged files.
    Stage,
    /// The volume with the requests and outcomes of all runs of one server, and the helper that writes into it.
    Records,
}

impl Role {
    const ALL: [(Self, &str); 4] = [
        (Self::Mark, "mark"),
        (Self::Run, "run"),
        (Self::Stage, "stage"),
        (Self::Records, "records"),
    ];

    /// The role in these labels. `None`: the object does not belong to an asynchronous run.
    pub(crate) fn of(labels: &Labels) -> Option<Self> {
        labels.get(ASYNC).and_then(|word| Self::parse(word))
    }

    fn parse(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == word);
        found.map(|(role, _)| *role)
    }

    fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(role, _)| *role == self);
        found.map_or("", |(_, word)| word)
    }
}

/// What this process writes into labels.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) instance: String,
    pub(crate) owner: ProcessIdentity,
}

impl Identity {
    /// Labels of an object of one run or volume operation, which exists for at most `life`.
    pub(crate) fn labels(&self, run: &str, life: Duration) -> Labels {
        let deadline = unix_now() + life.as_secs();
        [
            (INSTANCE, self.instance.clone()),
            (OWNER, self.owner.to_string()),
            (RUN, run.to_owned()),
            (DEADLINE, deadline.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Labels of an object of an asynchronous run, which is kept for the next server if this one dies.
    pub(crate) fn async_labels(&self, run: &str, role: Role) -> Labels {
        self.async_labels_for(run, role, ASYNC_LIFE)
    }

    /// Labels of the container of an asynchronous run, which is killed at its deadline if no server watches it, and is kept.
    pub(crate) fn async_run_labels(&self, run: &str, timeout: Duration) -> Labels {
        self.async_labels_for(run, Role::Run, timeout + OBJECT_SLACK)
    }

    fn async_labels_for(&self, run: &str, role: Role, life: Duration) -> Labels {
        let mut labels = self.labels(run, life);
        labels.insert(ASYNC.into(), role.word().into());
        labels
    }
}

/// Empty values for those of an image's labels that look like ours: a container inherits its image's labels, and these must not
/// count. To be extended with our own.
pub(crate) fn without_effect(image: &Labels) -> Labels {
    let ours = image.keys().filter(|key| key.starts_with(PREFIX));
    ours.map(|key| (key.clone(), String::new())).collect()
}

/// Process that created the object. `None`: the label is missing or is none of ours.
pub(crate) fn owner(labels: &Labels) -> Option<ProcessIdentity> {
    ProcessIdentity::parse(labels.get(OWNER)?)
}

/// Whether the container is the `part` of the run in its labels, as its name says. The name of a container that is not ours may
/// be anything, but no image and no caller of this service can choose it. `part` is empty for the run's own container.
pub(crate) fn is_named(container: &ContainerSummary, part: &str) -> bool {
    let Some(run) = container.labels.get(RUN) else {
        return false;
    };
    let expected = match part {
        "" => format!("oneoff-{run}"),
        part => format!("oneoff-{run}-{part}"),
    };
    let mut names = container.names.iter();
    names.any(|name| name.trim_start_matches('/') == expected)
}

/// Whether the container's name is of the form that this service gives.
pub(crate) fn has_our_name(container: &ContainerSummary) -> bool {
    let Some(run) = container.labels.get(RUN) else {
        return false;
    };
    let (own, part) = (format!("oneoff-{run}"), format!("oneoff-{run}-"));
    container.names.iter().any(|name| {
        let name = name.trim_start_matches('/');
        name == own || name.starts_with(&part)
    })
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
