//! What is stored of an asynchronous run while it is executed.

use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::entry::Entry;
use crate::runner::jobs::marks::Mark;
use crate::runner::jobs::record_keeper::RecordKeeper;
use crate::runner::run::context::{ContainerTimes, RunHooks};
use crate::runner::run::result::RunResult;

/// The hooks of one asynchronous run.
pub(crate) struct KeptRun<'a> {
    pub(crate) keeper: &'a RecordKeeper,
    pub(crate) entry: &'a Entry,
}

impl RunHooks for KeptRun<'_> {
    /// Makes sure that no server ever starts this run again.
    fn before_start(&self) -> Result<(), Error> {
        self.keeper.mark(self.entry, Mark::Started)?;
        self.entry.stored().may_have_started = true;
        Ok(())
    }

    fn not_started(&self) {
        if !self.entry.stored().may_have_started {
            return;
        }
        self.entry.stored().may_have_started = false;
        if let Err(error) = self.keeper.unmark_started(self.entry) {
            let id = &self.entry.id;
            log::warn!("a restart just now would lose run {id}: {error}");
        }
    }

    fn stdin_delivered(&self) {
        self.keeper.mark_fed(self.entry);
    }

    fn container_started(&self, at: Moment) {
        // The engine's clock may differ from ours.
        let at = at.min(Moment::now()).max(self.entry.created);
        self.entry.set_started(Some(at));
    }

    fn container_ended(&self, times: &ContainerTimes) {
        let started = self.entry.started().unwrap_or(times.started);
        let finished = times.finished.min(Moment::now()).max(started);
        self.entry.set_finished(finished);
    }

    fn keep_outcome(&self, result: &RunResult) {
        self.keeper.save_outcome_through(self.entry, Ok(result));
    }
}
