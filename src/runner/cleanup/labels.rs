//! The labels that every engine object of ours carries from its create call on, and what they say about its owner.

use crate::docker::Labels;
use crate::process_identity::ProcessIdentity;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
/// On a named volume: id of the `POST /volume` that created it. The reaper never removes such a volume. On a container this label
/// means nothing, since it may come from the image.
pub(crate) const KEPT: &str = "oneoff.volume";

/// On every run's container, and on helpers of volumes: the host paths that it mounts, one a line. Always set, so that an image's label of this name does not count.
pub(crate) const HOST_PATHS: &str = "oneoff.host-paths";

/// How much longer than its run's time limit an object may exist before it is past its deadline.
pub(crate) const OBJECT_SLACK: Duration = Duration::from_secs(900);
/// How long objects of an asynchronous run may exist while no server answers for them.
const ASYNC_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an object is to its asynchronous run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The record of the request.
    Request,
    /// The run's container.
    Run,
    /// The helper with its staged files.
    Stage,
    /// The record of the outcome.
    Result,
}

impl Role {
    const ALL: [(Self, &str); 4] = [
        (Self::Request, "request"),
        (Self::Run, "run"),
        (Self::Stage, "stage"),
        (Self::Result, "result"),
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

    /// Labels of an object of an asynchronous run.
    pub(crate) fn async_labels(&self, run: &str, role: Role) -> Labels {
        let mut labels = self.labels(run, ASYNC_LIFE);
        labels.insert(ASYNC.into(), role.word().into());
        labels
    }

    /// Whether a dead predecessor created the object: a process with our instance name that no longer lives.
    pub(crate) fn inherits(&self, labels: &Labels) -> bool {
        let owner = labels
            .get(OWNER)
            .and_then(|text| ProcessIdentity::parse(text));
        labels.get(INSTANCE) == Some(&self.instance)
            && owner.is_some_and(|owner| owner != self.owner && !owner.is_alive_beside(&self.owner))
    }

    /// Whether the reaper removes an object with these labels. The first rule that applies decides:
    /// 1. its run is active here → keep;
    /// 2. this process created it → remove;
    /// 3. a live neighbour created it → keep;
    /// 4. a dead predecessor created it, and not for an asynchronous run → remove;
    /// 5. it is past its deadline → remove.
    pub(crate) fn is_leftover(&self, labels: &Labels, active: &dyn Fn(&str) -> bool) -> bool {
        if labels.get(RUN).is_some_and(|run| active(run)) {
            return false;
        }
        let owner = labels
            .get(OWNER)
            .and_then(|text| ProcessIdentity::parse(text));
        if owner.as_ref() == Some(&self.owner) {
            return true;
        }
        if owner.is_some_and(|owner| owner.is_alive_beside(&self.owner)) {
            return false;
        }
        let deadline: Option<u64> = labels.get(DEADLINE).and_then(|text| text.parse().ok());
        (labels.get(INSTANCE) == Some(&self.instance) && !labels.contains_key(ASYNC))
            || deadline.is_some_and(|deadline| deadline < unix_now())
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::process_identity::start_time;

    fn identity(instance: &str) -> Identity {
        Identity {
            instance: instance.into(),
            owner: ProcessIdentity::current(),
        }
    }

    fn nothing_active(_: &str) -> bool {
        false
    }

    #[test]
    fn objects_of_a_live_process_are_leftovers_only_to_itself_after_the_run() {
        let ours = identity("a");
        let labels = ours.labels("r1", Duration::ZERO);
        assert!(
            !ours.is_leftover(&labels, &|run| run == "r1"),
            "its run goes on"
        );
        assert!(
            ours.is_leftover(&labels, &nothing_active),
            "its run is over"
        );
        let init = ProcessIdentity {
            pid: 1,
            started: start_time(1).unwrap(),
            ..ProcessIdentity::current()
        };
        let neighbour = Identity {
            instance: "a".into(),
            owner: init,
        };
        assert!(
            !neighbour.is_leftover(&labels, &nothing_active),
            "the owner lives beside it"
        );
    }

    #[test]
    fn objects_of_a_dead_predecessor_are_leftovers_to_its_instance_only() {
        let ours = identity("a");
        for dead in [
            ProcessIdentity {
                started: 1,
                ..ProcessIdentity::current()
            },
            ProcessIdentity {
                scope: "elsewhere".into(),
                ..ProcessIdentity::current()
            },
        ] {
            let labels = Identity {
                instance: "a".into(),
                owner: dead,
            }
            .labels("r1", Duration::from_secs(60));
            assert!(ours.is_leftover(&labels, &nothing_active), "{labels:?}");
            assert!(
                !identity("b").is_leftover(&labels, &nothing_active),
                "another instance's {labels:?}"
            );
        }
    }

    #[test]
    fn objects_of_another_instance_are_leftovers_past_their_deadline() {
        let elsewhere = ProcessIdentity {
            scope: "elsewhere".into(),
            ..ProcessIdentity::current()
        };
        let mut labels = Identity {
            instance: "a".into(),
            owner: elsewhere,
        }
        .labels("r1", Duration::ZERO);
        labels.insert(DEADLINE.into(), (unix_now() - 1).to_string());
        assert!(identity("b").is_leftover(&labels, &nothing_active));
    }
}
