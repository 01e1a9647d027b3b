//! Which objects in the engine are leftovers. Pure: makes no engine call.

use crate::docker::{ContainerSummary, Labels, Volume};
use crate::process_identity::{Life, ProcessIdentity};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::labels::{
    ASYNC_LIFE, DEADLINE, INSTANCE, Identity, RUN, Role, owner, unix_now,
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
    /// Asynchronous runs that have a record.
    pub(crate) recorded: HashSet<String>,
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
        let has_record = labels
            .get(RUN)
            .is_some_and(|run| self.recorded.contains(run));
        match Role::of(labels) {
            None if is_same_instance || is_known_here || is_overdue => Verdict::Remove,
            None => Verdict::Keep,
            // Nobody can adopt a run without a record.
            Some(_) if !has_record && (is_known_here || is_overdue) => Verdict::Remove,
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

/// The asynchronous runs that have a record among these objects.
pub(crate) fn recorded(containers: &[ContainerSummary], volumes: &[Volume]) -> HashSet<String> {
    let containers = containers.iter().map(|container| &container.labels);
    let volumes = volumes.iter().map(|volume| &volume.labels);
    containers
        .chain(volumes)
        .filter(|labels| Role::of(labels).is_some_and(Role::is_record))
        .filter_map(|labels| labels.get(RUN).cloned())
        .collect()
}

/// Whether the deadline passed more than `grace` seconds ago.
fn is_past_deadline(labels: &Labels, grace: u64) -> bool {
    let deadline: Option<u64> = labels.get(DEADLINE).and_then(|text| text.parse().ok());
    deadline.is_some_and(|deadline| deadline.saturating_add(grace) < unix_now())
}
