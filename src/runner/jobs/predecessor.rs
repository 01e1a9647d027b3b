//! Finds what dead predecessors left in the engine of their asynchronous runs.

use crate::docker::ContainerSummary;
use crate::process_identity::{Life, ProcessIdentity};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{INSTANCE, RUN, Role, has_our_name, is_named, owner};
use crate::runner::cleanup::owners::Owners;
use crate::runner::cleanup::removal::{Object, remove_once};
use crate::runner::jobs::store::{RequestState, request_name};
use crate::runner::run::stage::stage_name;
use std::collections::{HashMap, HashSet};

/// The containers of one run.
#[derive(Default)]
pub(crate) struct PredecessorObjects {
    pub(crate) request: Option<ContainerSummary>,
    pub(crate) run: Option<ContainerSummary>,
    pub(crate) stage: Option<ContainerSummary>,
    pub(crate) result: Option<ContainerSummary>,
    /// Helpers that are not needed any more.
    others: Vec<ContainerSummary>,
}

/// Runs of this instance name that this server does not know, by id.
#[derive(Default)]
pub(crate) struct UnknownRuns {
    /// Nobody answers for them any more.
    pub(crate) orphaned: HashMap<String, PredecessorObjects>,
    /// Another server may have them.
    pub(crate) elsewhere: HashSet<String>,
    /// Processes that have to be asked whether they live, before more runs count as orphaned.
    pub(crate) suspects: HashSet<ProcessIdentity>,
}

impl UnknownRuns {
    /// Sorts a listing of all our containers by asynchronous runs. Runs whose callers waited are left to the reaper, and so is
    /// whatever only looks like a part of a run.
    pub(crate) fn among(
        containers: Vec<ContainerSummary>,
        engine: &Engine,
        active: &Active,
        owners: &Owners<'_>,
    ) -> Self {
        let mut found = Self::default();
        let instance = &engine.identity.instance;
        for container in containers {
            let Some(run) = container.labels.get(RUN).cloned() else {
                continue;
            };
            let owner = owner(&container.labels);
            let is_foreign = container.labels.get(INSTANCE) == Some(instance)
                && owner.as_ref() != Some(&engine.identity.owner)
                && has_our_name(&container);
            if !is_foreign || active.contains(&run) || is_going(engine, &container) {
                continue;
            }
            let life = owners.keeper_life(owner.as_ref(), instance);
            if life == Life::Dead {
                found.orphaned.entry(run).or_default().add(container);
            } else if Role::of(&container.labels).is_some() {
                found.elsewhere.insert(run);
                found
                    .suspects
                    .extend(owners.to_ask(owner.as_ref(), instance));
            }
        }
        // A run of which something belongs to a living process is not ours yet.
        found.orphaned.retain(|run, objects| {
            !found.elsewhere.contains(run)
                && objects.by_role().iter().any(|(_, part)| part.is_some())
        });
        found
    }
}

impl PredecessorObjects {
    fn add(&mut self, container: ContainerSummary) {
        let is = |part| is_named(&container, part);
        let place = match Role::of(&container.labels) {
            Some(Role::Request) if RequestState::ALL.iter().any(|state| is(state.word())) => {
                &mut self.request
            }
            Some(Role::Run) if is("") => &mut self.run,
            Some(Role::Stage) if is("stage") => &mut self.stage,
            Some(Role::Result) if is("result") => &mut self.result,
            _ => return self.others.push(container),
        };
        *place = Some(container);
    }

    /// Whether the run may have been started, as its request's name says.
    pub(crate) fn may_have_started(&self, run: &str) -> bool {
        self.is_named(run, RequestState::Started)
            || self.is_fed(run)
            || self.is_cancelled(run) && self.is_started()
    }

    /// Whether the run's stdin was delivered, as its request's name says.
    pub(crate) fn is_fed(&self, run: &str) -> bool {
        self.is_named(run, RequestState::Fed)
    }

    /// Whether the run is cancelled, as its request's name says.
    pub(crate) fn is_cancelled(&self, run: &str) -> bool {
        self.is_named(run, RequestState::Cancelled)
    }

    fn is_named(&self, run: &str, state: RequestState) -> bool {
        let name = format!("/{}", request_name(run, state));
        self.request
            .as_ref()
            .is_some_and(|request| request.names.contains(&name))
    }

    /// Whether the run's container was started.
    pub(crate) fn is_started(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.state != "created")
    }

    /// Removes the containers of all other roles and the staging volume now, since their names may be needed next. What cannot be
    /// removed now is left to the removal threads.
    pub(crate) fn remove_all_but(&self, engine: &Engine, keep: &[Role]) {
        let by_role = self.by_role();
        let removed = by_role.iter().filter(|(role, _)| !keep.contains(role));
        let removed = removed.filter_map(|(_, container)| *container);
        for container in removed.chain(&self.others) {
            remove(engine, Object::Container(container.id.clone()));
        }
        let mut labels = by_role
            .iter()
            .filter_map(|(_, part)| Some(&(*part)?.labels));
        let run = labels.find_map(|labels| labels.get(RUN));
        if let Some(run) = run.filter(|_| !keep.contains(&Role::Stage)) {
            // A prune may have removed its helper.
            remove(engine, Object::Volume(stage_name(run)));
        }
    }

    fn by_role(&self) -> [(Role, Option<&ContainerSummary>); 4] {
        [
            (Role::Request, self.request.as_ref()),
            (Role::Run, self.run.as_ref()),
            (Role::Stage, self.stage.as_ref()),
            (Role::Result, self.result.as_ref()),
        ]
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
