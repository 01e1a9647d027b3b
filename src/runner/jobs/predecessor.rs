//! Finds what a dead predecessor left in the engine of its asynchronous runs.

use crate::docker::{self, ContainerSummary};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{INSTANCE, RUN, Role};
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::jobs::store::{RequestState, request_name};
use std::collections::HashMap;

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

impl PredecessorObjects {
    /// What there is of each asynchronous run, by the run's id. Runs whose callers waited are left to the reaper.
    pub(crate) fn find(engine: &Engine) -> Result<HashMap<String, Self>, docker::Error> {
        let mut runs: HashMap<String, Self> = HashMap::new();
        for container in engine.client.container_list(&[INSTANCE.to_owned()])? {
            let Some(run) = container.labels.get(RUN) else {
                continue;
            };
            if !engine.identity.inherits(&container.labels) {
                continue;
            }
            let objects = runs.entry(run.clone()).or_default();
            match Role::of(&container.labels) {
                Some(Role::Request) => objects.request = Some(container),
                Some(Role::Run) => objects.run = Some(container),
                Some(Role::Stage) => objects.stage = Some(container),
                Some(Role::Result) => objects.result = Some(container),
                None => objects.others.push(container),
            }
        }
        runs.retain(|_, objects| objects.by_role().iter().any(|(_, found)| found.is_some()));
        Ok(runs)
    }

    /// Whether the run may have been started, as its request's name says.
    pub(crate) fn may_have_started(&self, run: &str) -> bool {
        self.is_named(run, RequestState::Started)
            || self.is_cancelled(run) && self.started().is_some()
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

    /// When the run's container was created, if it was started: just before its start.
    pub(crate) fn started(&self) -> Option<Moment> {
        let run = self.run.as_ref();
        run.filter(|run| run.state != "created").map(created)
    }

    /// Removes the containers of all other roles now, since their names may be needed next. What cannot be removed now is left to
    /// the removal threads.
    pub(crate) fn remove_all_but(&self, engine: &Engine, keep: &[Role]) {
        let by_role = self.by_role();
        let removed = by_role.iter().filter(|(role, _)| !keep.contains(role));
        let removed = removed.filter_map(|(_, container)| *container);
        for container in removed.chain(&self.others) {
            if engine.client.container_remove(&container.id).is_err() {
                let object = Object::Container(container.id.clone());
                engine.removal.remove(object);
            }
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

/// When a container was created.
pub(crate) fn created(container: &ContainerSummary) -> Moment {
    Moment(u64::try_from(container.created).unwrap_or(0) * 1000)
}
