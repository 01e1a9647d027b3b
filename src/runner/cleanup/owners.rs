//! What is known at one moment of the processes that own objects in the engine: which of them are dead, and which of them adopts
//! runs.

use crate::docker::ContainerSummary;
use crate::process_identity::{Life, ProcessIdentity};
use crate::runner::cleanup::labels::{self, INSTANCE, Identity, LEADS};
use std::collections::{HashMap, HashSet};

/// Processes that were asked whether they live, and did not answer.
pub(crate) type Unheard = HashSet<ProcessIdentity>;

/// The owners of the objects in one listing.
pub(crate) struct Owners<'a> {
    us: &'a Identity,
    unheard: &'a Unheard,
    /// By instance name: the server that adopts runs, or was the last to do so.
    leaders: HashMap<String, ProcessIdentity>,
}

/// Name of the part of a leader's container, see [`labels::is_named`].
pub(crate) const LEAD_PART: &str = "lead";

impl<'a> Owners<'a> {
    /// `containers` are all of ours, of every instance name.
    pub(crate) fn new(
        us: &'a Identity,
        unheard: &'a Unheard,
        containers: &[ContainerSummary],
    ) -> Self {
        let leader = |container: &ContainerSummary| {
            let is_lead = container.labels.contains_key(LEADS);
            let instance = container.labels.get(INSTANCE)?.clone();
            let named = is_lead && labels::is_named(container, LEAD_PART);
            named.then_some((instance, labels::owner(&container.labels)?))
        };
        Self {
            us,
            unheard,
            leaders: containers.iter().filter_map(leader).collect(),
        }
    }

    /// Whether the process lives. Silence counts as death.
    pub(crate) fn life(&self, owner: &ProcessIdentity) -> Life {
        match owner.life_seen_by(&self.us.owner) {
            Life::Unknown if *owner == self.us.owner => Life::Alive,
            Life::Unknown if self.unheard.contains(owner) => Life::Dead,
            other => other,
        }
    }

    /// The other server that adopts the runs of this instance name, dead or alive.
    pub(crate) fn other_leader(&self, instance: &str) -> Option<&ProcessIdentity> {
        let leader = self.leaders.get(instance);
        leader.filter(|leader| **leader != self.us.owner)
    }

    /// Which process to ask whether it lives, before an object is adopted or removed. If the object belongs to an asynchronous
    /// run, the server that adopts runs comes first: as long as that lives, the owner's death changes nothing.
    pub(crate) fn to_ask(
        &self,
        owner: Option<&ProcessIdentity>,
        instance: &str,
    ) -> Option<ProcessIdentity> {
        let is_unknown = |process: &&ProcessIdentity| self.life(process) == Life::Unknown;
        let leader = self.other_leader(instance).filter(is_unknown);
        leader.or(owner.filter(is_unknown)).cloned()
    }

    /// Who answers for an object: its owner or, if that is dead and the object belongs to an asynchronous run, the server that
    /// adopted it. Dead: nobody. `None` as the owner counts as dead.
    pub(crate) fn keeper_life(&self, owner: Option<&ProcessIdentity>, instance: &str) -> Life {
        let owner_life = owner.map_or(Life::Dead, |owner| self.life(owner));
        let leader = self.other_leader(instance).map(|leader| self.life(leader));
        match (owner_life, leader) {
            (Life::Alive, _) | (_, Some(Life::Alive)) => Life::Alive,
            (Life::Unknown, _) | (_, Some(Life::Unknown)) => Life::Unknown,
            _ => Life::Dead,
        }
    }
}
