//! Finds what dead predecessors left in the engine of their asynchronous runs.

use crate::docker::{ContainerSummary, Labels, Volume};
use crate::process_identity::{Life, ProcessIdentity};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{INSTANCE, KEPT, RUN, Role, has_our_name, is_named, owner};
use crate::runner::cleanup::owners::Owners;
use crate::runner::cleanup::removal::{Object, remove_once};
use crate::runner::jobs::marks::{Mark, Marks};
use crate::runner::run::stage::stage_name;
use std::collections::{HashMap, HashSet};

/// What the engine has of one run.
#[derive(Default)]
pub(crate) struct PredecessorObjects {
    pub(crate) marks: Marks,
    pub(crate) run: Option<ContainerSummary>,
    pub(crate) stage: Option<ContainerSummary>,
    /// Helpers that are not needed any more.
    others: Vec<ContainerSummary>,
}

/// Runs of this instance name that this server does not know, by id.
#[derive(Default)]
pub(crate) struct UnknownRuns {
    /// Nobody answers for them any more.
    pub(crate) orphaned: HashMap<String, PredecessorObjects>,
    /// Volumes with the records of dead servers.
    pub(crate) journals: Vec<String>,
    /// Whether another server, which may live, has records: also those of runs that it took over, whose marks name a dead server.
    pub(crate) has_other_journals: bool,
    /// Another server may have them.
    pub(crate) elsewhere: HashSet<String>,
    /// Processes that have to be asked whether they live, before more runs count as orphaned.
    pub(crate) suspects: HashSet<ProcessIdentity>,
}

/// Decides which objects are those of other servers.
pub(crate) struct Search<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) active: &'a Active,
    pub(crate) owners: &'a Owners<'a>,
}

impl Search<'_> {
    /// Sorts listings of all our containers and volumes by asynchronous runs. Runs whose callers waited are left to the reaper, and
    /// so is whatever only looks like a part of a run.
    pub(crate) fn sort(
        &self,
        containers: Vec<ContainerSummary>,
        volumes: Vec<Volume>,
    ) -> UnknownRuns {
        let mut found = UnknownRuns::default();
        for volume in volumes {
            self.sort_volume(&mut found, &volume);
        }
        for container in containers {
            self.sort_container(&mut found, container);
        }
        // A run of which something belongs to a living process is not ours yet.
        let UnknownRuns {
            orphaned,
            elsewhere,
            ..
        } = &mut found;
        orphaned.retain(|run, objects| {
            let has_part = objects.marks.current().is_some()
                || objects.run.is_some()
                || objects.stage.is_some();
            has_part && !elsewhere.contains(run)
        });
        found
    }

    fn sort_volume(&self, found: &mut UnknownRuns, volume: &Volume) {
        let labels = &volume.labels;
        let going = Object::Volume(volume.name.clone());
        if !self.is_foreign(labels) || self.engine.removal.is_pending(&going) {
            return;
        }
        let is_journal = Role::of(labels) == Some(Role::Records) && !labels.contains_key(KEPT);
        let life = self.keeper_life(labels);
        match Mark::of(volume) {
            Some((run, mark)) if life == Life::Dead => {
                let objects = found.orphaned.entry(run.to_owned()).or_default();
                objects.marks.add(mark);
            }
            Some((run, _)) => self.add_elsewhere(found, run.to_owned(), labels),
            None if is_journal && life == Life::Dead => found.journals.push(volume.name.clone()),
            None => found.has_other_journals |= is_journal,
        }
    }

    fn sort_container(&self, found: &mut UnknownRuns, container: ContainerSummary) {
        let Some(run) = container.labels.get(RUN).cloned() else {
            return;
        };
        let role = Role::of(&container.labels);
        let is_going = is_going(self.engine, &container);
        if !self.is_foreign(&container.labels) || !has_our_name(&container) || is_going {
            return;
        }
        if role == Some(Role::Records) {
            // It goes with its volume.
        } else if self.keeper_life(&container.labels) == Life::Dead {
            found.orphaned.entry(run).or_default().add(container);
        } else if role.is_some() {
            self.add_elsewhere(found, run, &container.labels);
        }
    }

    fn add_elsewhere(&self, found: &mut UnknownRuns, run: String, labels: &Labels) {
        let instance = &self.engine.identity.instance;
        found.elsewhere.insert(run);
        found
            .suspects
            .extend(self.owners.to_ask(owner(labels).as_ref(), instance));
    }

    fn is_foreign(&self, labels: &Labels) -> bool {
        let us = &self.engine.identity;
        labels.get(INSTANCE) == Some(&us.instance)
            && owner(labels).as_ref() != Some(&us.owner)
            && !labels.get(RUN).is_some_and(|run| self.active.contains(run))
    }

    fn keeper_life(&self, labels: &Labels) -> Life {
        let instance = &self.engine.identity.instance;
        self.owners.keeper_life(owner(labels).as_ref(), instance)
    }
}

impl PredecessorObjects {
    fn add(&mut self, container: ContainerSummary) {
        let is = |part| is_named(&container, part);
        let place = match Role::of(&container.labels) {
            Some(Role::Run) if is("") => &mut self.run,
            Some(Role::Stage) if is("stage") => &mut self.stage,
            _ => return self.others.push(container),
        };
        *place = Some(container);
    }

    /// Whether the run may have been started.
    pub(crate) fn may_have_started(&self) -> bool {
        match self.marks.current() {
            Some(Mark::Started | Mark::Fed) => true,
            Some(Mark::Cancelled) => self.is_started(),
            Some(Mark::Waiting) | None => false,
        }
    }

    /// Whether the run's stdin was delivered.
    pub(crate) fn is_fed(&self) -> bool {
        self.marks.current() == Some(Mark::Fed)
    }

    /// Whether the run was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.marks.current() == Some(Mark::Cancelled)
    }

    /// Whether the run's container was started.
    pub(crate) fn is_started(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.state != "created")
    }

    /// Removes the containers and the staging volume of this run now, since their names may be needed next. What cannot be removed
    /// now is left to the removal threads.
    pub(crate) fn remove_containers(&self, engine: &Engine, run: &str) {
        let containers = self.run.iter().chain(&self.stage).chain(&self.others);
        for container in containers {
            remove(engine, Object::Container(container.id.clone()));
        }
        // A prune may have removed its helper.
        remove(engine, Object::Volume(stage_name(run)));
    }
}

fn remove(engine: &Engine, object: Object) {
    if remove_once(&engine.client, &object).is_err() {
        engine.removal.remove(object);
    }
}

/// Whether the removal of a container is under way, as it is after its run was forgotten. It may go by its id or by its name.
fn is_going(engine: &Engine, container: &ContainerSummary) -> bool {
    let names = container
        .names
        .iter()
        .map(|name| name.trim_start_matches('/'));
    let mut keys = names.chain([container.id.as_str()]);
    keys.any(|key| {
        engine
            .removal
            .is_pending(&Object::Container(key.to_owned()))
    })
}
