//! Which objects in the engine are leftovers. Pure: makes no engine call.

use crate::docker::{Labels, Volume};
use crate::process_identity::{Life, ProcessIdentity};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::labels::{
    ASYNC_LIFE, DEADLINE, FILLS, INSTANCE, Identity, KEPT, RUN, Role, owner, unix_now,
};
use crate::runner::cleanup::owners::Owners;
use std::collections::HashSet;

/// What the reaper does with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: somebody answers for it, or its time has not come.
    Keep,
    /// Removes it.
    Remove,
    /// Kills the container of an asynchronous run, and leaves it for a server that adopts the run.
    Kill,
    /// It would be removed or killed if this process were dead, which has to be asked first.
    Ask(ProcessIdentity),
}

/// Judges the objects of one listing.
pub(crate) struct Judge<'a> {
    pub(crate) us: &'a Identity,
    pub(crate) active: &'a Active,
    pub(crate) owners: Owners<'a>,
    /// Asynchronous runs that have a mark.
    pub(crate) marked: HashSet<String>,
}

impl Judge<'_> {
    /// The first rule that applies decides:
    /// 1. its run is active here → keep;
    /// 2. this process created it → remove;
    /// 3. its owner, or the server that adopted its run, lives → keep;
    /// 4. not even its owner's death would make it a leftover → keep;
    /// 5. nobody knows whether the owner lives → ask;
    /// 6. → remove, or kill.
    pub(crate) fn verdict(&self, labels: &Labels) -> Verdict {
        if labels.get(RUN).is_some_and(|run| self.active.contains(run)) {
            return Verdict::Keep;
        }
        let owner = owner(labels);
        if owner.as_ref() == Some(&self.us.owner) {
            return Verdict::Remove;
        }
        let instance = labels.get(INSTANCE).map_or("", String::as_str);
        let is_async = Role::of(labels).is_some();
        let life = match &owner {
            _ if is_async => self.owners.keeper_life(owner.as_ref(), instance),
            Some(owner) => self.owners.life(owner),
            None => Life::Dead,
        };
        // Certain death: the instance name does not matter.
        let is_known_here = owner.as_ref().is_some_and(|owner| self.died_here(owner));
        match (life, self.if_dead(labels, is_known_here)) {
            (Life::Alive, _) | (_, Verdict::Keep) => Verdict::Keep,
            (Life::Dead, verdict) => verdict,
            (Life::Unknown, _) => {
                let leader = self.owners.to_ask(owner.as_ref(), instance);
                let asked = if is_async { leader } else { owner };
                asked.map_or(Verdict::Keep, Verdict::Ask)
            }
        }
    }

    /// The verdict on a question. Its owner is never asked whether it lives, since that would be a question again.
    pub(crate) fn verdict_on_question(&self, labels: &Labels) -> Verdict {
        let owner = owner(labels);
        let is_active = labels.get(RUN).is_some_and(|run| self.active.contains(run));
        let is_over = is_past_deadline(labels, 0)
            || owner.is_none_or(|owner| owner == self.us.owner || self.died_here(&owner));
        match is_over && !is_active {
            true => Verdict::Remove,
            false => Verdict::Keep,
        }
    }

    /// The verdict on an object whose owner is dead.
    fn if_dead(&self, labels: &Labels, is_known_here: bool) -> Verdict {
        let is_same_instance = labels.get(INSTANCE) == Some(&self.us.instance);
        let is_overdue = is_past_deadline(labels, 0);
        let has_mark = labels.get(RUN).is_some_and(|run| self.marked.contains(run));
        match Role::of(labels) {
            None if is_same_instance || is_overdue => Verdict::Remove,
            // The next server of that name removes it first, and a caller may then fill the volume anew: two servers at once
            // could remove that one.
            None if labels.contains_key(FILLS) => Verdict::Keep,
            None if is_known_here => Verdict::Remove,
            None => Verdict::Keep,
            // The next server of that name reads them.
            Some(Role::Records) if !is_overdue => Verdict::Keep,
            // Nobody adopts a run without a mark.
            Some(_) if !has_mark && (is_known_here || is_overdue) => Verdict::Remove,
            Some(Role::Run) if is_past_deadline(labels, ASYNC_LIFE.as_secs()) => Verdict::Remove,
            Some(Role::Run) if is_overdue => Verdict::Kill,
            Some(Role::Run) => Verdict::Keep,
            Some(_) if is_overdue => Verdict::Remove,
            Some(_) => Verdict::Keep,
        }
    }

    /// Whether it was a process of this PID namespace, and has ended.
    fn died_here(&self, owner: &ProcessIdentity) -> bool {
        owner.life_seen_by(&self.us.owner) == Life::Dead
    }
}

/// The asynchronous runs that have a mark among these volumes.
pub(crate) fn marked(volumes: &[Volume]) -> HashSet<String> {
    let labels = volumes.iter().map(|volume| &volume.labels);
    labels
        .filter(|labels| Role::of(labels) == Some(Role::Mark) && !labels.contains_key(KEPT))
        .filter_map(|labels| labels.get(RUN).cloned())
        .collect()
}

/// Whether the deadline passed more than `grace` seconds ago.
fn is_past_deadline(labels: &Labels, grace: u64) -> bool {
    let deadline: Option<u64> = labels.get(DEADLINE).and_then(|text| text.parse().ok());
    deadline.is_some_and(|deadline| deadline.saturating_add(grace) < unix_now())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::docker::ContainerSummary;
    use crate::process_identity::start_time;
    use crate::runner::cleanup::labels::LEADS;
    use crate::runner::cleanup::owners::Unheard;
    use std::time::Duration;

    fn us(instance: &str) -> Identity {
        Identity {
            instance: instance.into(),
            owner: ProcessIdentity::current(),
        }
    }

    /// A process of this scope; `started` 1 means that it is dead.
    fn here(pid: u32, started: u64) -> ProcessIdentity {
        ProcessIdentity {
            pid,
            started,
            ..ProcessIdentity::current()
        }
    }

    fn elsewhere(pid: u32) -> ProcessIdentity {
        ProcessIdentity {
            scope: "elsewhere.1".into(),
            pid,
            started: 1,
        }
    }

    fn alive_here() -> ProcessIdentity {
        here(1, start_time(1).unwrap())
    }

    fn by(owner: ProcessIdentity) -> Identity {
        Identity {
            instance: "a".into(),
            owner,
        }
    }

    /// Labels of an object of the run `r`, with a deadline that is `left` seconds away.
    fn labels_of(owner: ProcessIdentity, role: Option<Role>, left: i64) -> Labels {
        let mut labels = match role {
            Some(role) => by(owner).async_labels("r", role),
            None => by(owner).labels("r", Duration::ZERO),
        };
        let deadline = unix_now().checked_add_signed(left).unwrap();
        labels.insert(DEADLINE.into(), deadline.to_string());
        labels
    }

    struct World {
        us: Identity,
        active: Active,
        unheard: Unheard,
        containers: Vec<ContainerSummary>,
        marked: HashSet<String>,
    }

    impl World {
        fn of(instance: &str) -> Self {
            Self {
                us: us(instance),
                active: Active::default(),
                unheard: Unheard::default(),
                containers: Vec::new(),
                marked: ["r".to_owned()].into(),
            }
        }

        fn verdict(&self, labels: &Labels) -> Verdict {
            Judge {
                us: &self.us,
                active: &self.active,
                owners: Owners::new(&self.us, &self.unheard, &self.containers),
                marked: self.marked.clone(),
            }
            .verdict(labels)
        }
    }

    #[test]
    fn an_object_of_this_process_is_a_leftover_once_its_run_is_over() {
        let world = World::of("a");
        let labels = labels_of(ProcessIdentity::current(), None, 60);
        let run = world.active.enter_as("r".into());
        assert_eq!(world.verdict(&labels), Verdict::Keep);
        drop(run);
        assert_eq!(world.verdict(&labels), Verdict::Remove);
    }

    #[test]
    fn nothing_of_a_live_process_is_touched_not_even_past_its_deadline() {
        for role in [None, Some(Role::Run), Some(Role::Mark)] {
            let labels = labels_of(alive_here(), role, -1_000_000_000);
            for instance in ["a", "b"] {
                assert_eq!(
                    World::of(instance).verdict(&labels),
                    Verdict::Keep,
                    "{role:?}"
                );
            }
        }
    }

    #[test]
    fn certain_death_is_enough_whatever_the_name_and_records_stay_for_their_instance() {
        for instance in ["a", "b"] {
            let mut world = World::of(instance);
            let dead = |role| labels_of(here(1, 1), role, 60);
            assert_eq!(world.verdict(&dead(None)), Verdict::Remove);
            for role in [Role::Mark, Role::Run, Role::Stage, Role::Records] {
                assert_eq!(world.verdict(&dead(Some(role))), Verdict::Keep, "{role:?}");
            }
            // Nobody can adopt that run.
            world.marked.clear();
            assert_eq!(world.verdict(&dead(Some(Role::Run))), Verdict::Remove);
        }
    }

    #[test]
    fn a_process_of_another_namespace_is_asked_before_anything_of_it_is_touched() {
        let ask = Verdict::Ask(elsewhere(1));
        let (fresh, overdue) = (60, -1);
        for (instance, role, left, before, after) in [
            ("a", None, fresh, &ask, Verdict::Remove),
            ("b", None, fresh, &Verdict::Keep, Verdict::Keep),
            ("b", None, overdue, &ask, Verdict::Remove),
            ("a", Some(Role::Run), fresh, &Verdict::Keep, Verdict::Keep),
            ("b", Some(Role::Run), overdue, &ask, Verdict::Kill),
            ("b", Some(Role::Records), overdue, &ask, Verdict::Remove),
        ] {
            let mut world = World::of(instance);
            let labels = labels_of(elsewhere(1), role, left);
            assert_eq!(
                world.verdict(&labels),
                *before,
                "{instance} {role:?} {left}"
            );
            world.unheard.insert(elsewhere(1));
            assert_eq!(world.verdict(&labels), after, "{instance} {role:?} {left}");
        }
    }

    #[test]
    fn who_adopted_a_run_answers_for_it() {
        let mut world = World::of("a");
        let mut labels = by(elsewhere(2)).labels("lead", Duration::from_secs(60));
        labels.insert(LEADS.into(), "true".into());
        world.containers.push(ContainerSummary {
            names: vec!["/oneoff-lead-lead".into()],
            labels,
            ..ContainerSummary::default()
        });
        // Its owner is certainly dead.
        let overdue = labels_of(here(1, 1), Some(Role::Run), -1);
        assert_eq!(world.verdict(&overdue), Verdict::Ask(elsewhere(2)));
        world.unheard.insert(elsewhere(2));
        assert_eq!(world.verdict(&overdue), Verdict::Kill);
    }
}
