//! What a run is given beside its spec: who hears of it, who can cancel it, and what must be kept of it.

use crate::cancel::Cancel;
use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::run::answer_memory::MemoryTerms;
use crate::runner::run::result::{RunResult, Sink};
use std::time::Instant;

/// The surroundings of one run.
#[derive(Clone, Copy)]
pub(crate) struct RunContext<'a> {
    /// When the run was accepted; `execution_time` and `queue_ms` count from here.
    pub(crate) accepted: Instant,
    /// Fired to end the run early.
    pub(crate) cancel: &'a Cancel,
    pub(crate) sink: &'a dyn Sink,
    pub(crate) hooks: &'a dyn RunHooks,
    pub(crate) memory: MemoryTerms,
}

/// What a run that outlives its server does at some points of its life. A run whose caller waits has [`NoHooks`].
pub(crate) trait RunHooks: Sync {
    /// Called before the container is started, and again if it has to be created anew because it was removed before it had
    /// started. An error ends the run; the container is then never started.
    fn before_start(&self) -> Result<(), Error>;

    /// Called if the container has not started, and never will. The run is set up again, now or later.
    fn not_started(&self);

    /// Called once all of stdin is on its way and reaches the container even if this process dies. It cannot fail: a run of
    /// which that is not known ends with an error after a restart.
    fn stdin_delivered(&self);

    /// Called for a container that an earlier process started, with the engine's time of its start.
    fn container_started(&self, at: Moment);

    /// Called for a container that an earlier process started, once it has ended.
    fn container_ended(&self, times: &ContainerTimes);

    /// Called with the result while the container still exists. It cannot fail: a result that is not kept is logged.
    fn keep_outcome(&self, result: &RunResult);
}

/// Keeps nothing.
pub(crate) struct NoHooks;

impl RunHooks for NoHooks {
    fn before_start(&self) -> Result<(), Error> {
        Ok(())
    }

    fn not_started(&self) {}

    fn stdin_delivered(&self) {}

    fn container_started(&self, _: Moment) {}

    fn container_ended(&self, _: &ContainerTimes) {}

    fn keep_outcome(&self, _: &RunResult) {}
}

/// When a container started and ended, by the engine's clock.
pub(crate) struct ContainerTimes {
    pub(crate) started: Moment,
    pub(crate) finished: Moment,
}
