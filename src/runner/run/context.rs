//! What a run is given beside its spec: who hears of it, who can cancel it, and what must be kept of it.

use crate::cancel::Cancel;
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

/// What a run that outlives its server does at two points of its life. A run whose caller waits has [`NoHooks`].
pub(crate) trait RunHooks {
    /// Called once, before the container is started. An error ends the run; the container is then never started.
    fn before_start(&self) -> Result<(), Error>;

    /// Called with the result while the container still exists. It cannot fail: a result that is not kept is logged.
    fn keep_outcome(&self, result: &RunResult);
}

/// Keeps nothing.
pub(crate) struct NoHooks;

impl RunHooks for NoHooks {
    fn before_start(&self) -> Result<(), Error> {
        Ok(())
    }

    fn keep_outcome(&self, _: &RunResult) {}
}
