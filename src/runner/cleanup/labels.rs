//! The labels that every engine object of ours carries from its create call on, and who an object belongs to.

use crate::docker::Labels;
use crate::process_identity::ProcessIdentity;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name of the server instance.
pub(crate) const INSTANCE: &str = "oneoff.instance";
/// The server process that made the object.
pub(crate) const OWNER: &str = "oneoff.owner";
/// Run or fill the object belongs to.
pub(crate) const RUN: &str = "oneoff.run";
/// Unix time in seconds after which nobody can want the object any more.
pub(crate) const DEADLINE: &str = "oneoff.deadline";
/// On whatever belongs to a detached run: its [`Role`]. Such a run outlives its server, and is adopted by the next one.
pub(crate) const ASYNC: &str = "oneoff.async";
/// On a helper and on a marker: the volume that is filled, which is incomplete as long as one of them exists.
pub(crate) const FILLS: &str = "oneoff.fills";
/// On a named volume: that it was made by `POST /volume`, and by which fill. Such a volume is the caller's, and never
/// swept. It says nothing on a container, which may have it from its image.
pub(crate) const KEPT: &str = "oneoff.volume";

/// How much longer than its time limit anything of a run may stay in the engine before it counts as forgotten.
pub(crate) const OBJECT_SLACK: Duration = Duration::from_secs(900);
/// How long the objects of a detached run may stay in the engine without any server that answers for them.
const ASYNC_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an object is to its detached run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The record of what was asked.
    Request,
    /// The run's container.
    Run,
    /// The helper that holds its files.
    Stage,
    /// The record of how it came out.
    Result,
}

impl Role {
    const ALL: [(Self, &str); 4] = [
        (Self::Request, "request"),
        (Self::Run, "run"),
        (Self::Stage, "stage"),
        (Self::Result, "result"),
    ];

    /// The role that these labels say. `None`: the object does not belong to a detached run.
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

/// Who we are to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) instance: String,
    pub(crate) owner: ProcessIdentity,
}

impl Identity {
    /// Labels of something that exists for one run, for at most `life`.
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

    /// Labels of something of a detached run.
    pub(crate) fn async_labels(&self, run: &str, role: Role) -> Labels {
        let mut labels = self.labels(run, ASYNC_LIFE);
        labels.insert(ASYNC.into(), role.word().into());
        labels
    }

    /// Whether the process that made an object is gone, and had our name: what it left is ours to deal with.
    pub(crate) fn inherits(&self, labels: &Labels) -> bool {
        let owner = labels
            .get(OWNER)
            .and_then(|text| ProcessIdentity::parse(text));
        labels.get(INSTANCE) == Some(&self.instance)
            && owner.is_some_and(|owner| owner != self.owner && !owner.lives_beside(&self.owner))
    }

    /// Whether an object with these labels is a leftover. What belongs to a run that goes on or is answered for never is,
    /// whoever made it; else, what this process made is one; what a process that lives beside us made never is; what a
    /// dead predecessor of our name left is, unless the next server of the name is to adopt it; anything else is past
    /// its deadline.
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
        if owner.is_some_and(|owner| owner.lives_beside(&self.owner)) {
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
    fn what_a_living_process_owns_is_nobodys_leftover() {
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
    fn what_a_dead_predecessor_of_the_same_name_left_is_a_leftover() {
        let ours = identity("a");
        for dead in [
            ProcessIdentity {
                started: 1,
                ..ProcessIdentity::current()
            },
            ProcessIdentity {
                place: "elsewhere".into(),
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
    fn past_its_deadline_everything_of_elsewhere_is_a_leftover() {
        let elsewhere = ProcessIdentity {
            place: "elsewhere".into(),
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
