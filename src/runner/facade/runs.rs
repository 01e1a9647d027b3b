//! The part of the runner that deals with runs by their ids: plain ones and asynchronous ones alike, except where it says so.

use crate::cancel::Cancel;
use crate::runner::changes::RunChanges;
use crate::runner::error::Error;
use crate::runner::facade::Runner;
use crate::runner::image::Image;
use crate::runner::jobs::entry::{RunFilter, RunState, RunStates};
use crate::runner::jobs::logs::{LogQuery, RunEvents, RunLogs};
use crate::runner::request::types::RunKind;
use std::cmp::Reverse;
use std::time::{Duration, Instant};

impl Runner {
    /// State and result of one run. The result of a plain run is not kept.
    pub fn run_state(&self, id: &str) -> Result<RunState, Error> {
        match self.parts.plain.state(id) {
            Some(state) => Ok(state),
            None => self.parts.jobs.state(id),
        }
    }

    /// Blocks until an asynchronous run has finished, `timeout` has passed (`None`: no limit) or `stop` fires. Returns the state
    /// then.
    pub fn run_wait(
        &self,
        id: &str,
        timeout: Option<Duration>,
        stop: &Cancel,
    ) -> Result<RunState, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.parts.jobs.wait(id, deadline, stop)
    }

    /// Cancels a run that waits or runs, without waiting for its end. Its output is kept: that of a plain run for its caller. A
    /// finished run stays as it is.
    pub fn run_cancel(&self, id: &str) -> Result<RunState, Error> {
        match self.parts.plain.cancel(id) {
            Some(state) => Ok(state),
            None => self.parts.jobs.cancel(id),
        }
    }

    /// Forgets a finished run, and returns its last state. `None`: it has not finished.
    pub fn run_forget(&self, id: &str) -> Result<Option<RunState>, Error> {
        let plain = &self.parts.plain;
        match plain.forget(id) {
            Some(state) => Ok(Some(state)),
            None if plain.state(id).is_some() => Ok(None),
            None => self.parts.jobs.forget(id),
        }
    }

    /// Runs, newest first. Error: asynchronous ones of an earlier server are not all known yet.
    pub fn run_list(&self, filter: &RunFilter) -> Result<RunStates, Error> {
        let RunFilter { kind, phase, limit } = *filter;
        let mut listed = match kind {
            Some(RunKind::Plain) => RunStates {
                states: Vec::new(),
                is_complete: true,
            },
            _ => self.parts.jobs.list(phase, limit)?,
        };
        if kind != Some(RunKind::Asynchronous) {
            listed.states.extend(self.parts.plain.list(phase));
            listed.states.sort_by_key(|state| Reverse(state.order));
            listed.is_complete &= listed.states.len() <= limit;
            listed.states.truncate(limit);
        }
        Ok(listed)
    }

    /// The next runs behind `last` in the order of a list, or the first ones: those that are known just now.
    pub fn run_page(&self, last: Option<&RunState>, limit: usize) -> Vec<RunState> {
        let key = |state: &RunState| Reverse((state.order, state.id.clone()));
        let mut page = self.parts.jobs.page(last, limit);
        let mut plain = self.parts.plain.list(None);
        plain.retain(|state| last.is_none_or(|last| key(state) > key(last)));
        page.extend(plain);
        page.sort_by_key(key);
        page.truncate(limit);
        page
    }

    /// The state of a run that is known just now. Does not call the engine.
    pub fn run_known(&self, id: &str) -> Option<RunState> {
        let plain = self.parts.plain.state(id);
        plain.or_else(|| self.parts.jobs.known(id))
    }

    /// The position behind all changes of runs so far, for [`Runner::run_changes`].
    pub fn run_changes_now(&self) -> u64 {
        self.parts.changes.now()
    }

    /// Which runs are new, have changed or are gone since `position`, which is advanced. Blocks until there is something, the
    /// timeout passes or `stop` fires.
    pub fn run_changes(&self, position: &mut u64, timeout: Duration, stop: &Cancel) -> RunChanges {
        self.parts.changes.since(position, timeout, stop)
    }

    /// A reader of a run's events, from the start or after a cursor. A cursor of another run or of an earlier process reads from
    /// the start. Of a plain run only the last events are kept, and only while it goes on.
    pub fn run_events(&self, id: &str, cursor: Option<&str>) -> Result<RunEvents, Error> {
        match self.parts.plain.events(id, cursor) {
            Some(events) => Ok(events),
            None => self.parts.jobs.events(id, cursor),
        }
    }

    /// A page of an asynchronous run's output. Errors: not a cursor, or no such run.
    pub fn run_logs(&self, id: &str, query: &LogQuery<'_>) -> Result<RunLogs, Error> {
        self.parts.jobs.logs(id, query)
    }

    /// The images that the engine has.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        let images = self.parts.executor.engine.client.image_list()?;
        Ok(images.into_iter().map(Image::from).collect())
    }
}
