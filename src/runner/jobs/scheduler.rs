//! Runs asynchronous runs when they get their slots. While they wait in the admission queue they take up no thread.

use crate::cancel::Cancel;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::jobs::entry::Entry;
use crate::runner::jobs::event_log::Outcome;
use crate::runner::jobs::kept_run::KeptRun;
use crate::runner::jobs::record_keeper::{LoadedRun, Persistence, RecordKeeper};
use crate::runner::jobs::run_thread;
use crate::runner::run::admission::Slot;
use crate::runner::run::answer_memory::MemoryTerms;
use crate::runner::run::context::RunContext;
use crate::runner::run::engine_away::is_away;
use crate::runner::run::lifecycle::{Executor, StartedRun, cancelled_before_start};
use crate::runner::run::result::Event;
use crate::runner::run::stage::stage_name;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// A run that has its slot.
pub(crate) struct Turn {
    pub(crate) entry: Arc<Entry>,
    pub(crate) slot: Slot,
}

/// How often results are checked for their time to live.
const TICK: Duration = Duration::from_millis(500);
/// How long a run waits for its next attempt while the engine cannot be reached, or threads or descriptors are short.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Queues asynchronous runs, and executes them.
pub(crate) struct Scheduler {
    executor: Executor,
    keeper: Arc<RecordKeeper>,
    turns: Sender<Box<Turn>>,
}

impl Scheduler {
    /// Starts the thread that takes turns from the queue. It ends when `stop` fires or the scheduler is dropped. Errors: no
    /// thread.
    pub(crate) fn start(
        executor: Executor,
        keeper: Arc<RecordKeeper>,
        stop: Cancel,
    ) -> std::io::Result<Arc<Self>> {
        let (turns, waiting) = unbounded();
        let scheduler = Arc::new(Self {
            executor,
            keeper,
            turns,
        });
        dispatch(&scheduler, waiting, stop)?;
        Ok(scheduler)
    }

    /// Puts a run into the admission queue.
    pub(crate) fn enqueue(&self, entry: Arc<Entry>) {
        let (turns, waiting) = (self.turns.clone(), entry.clone());
        let turn = move |slot| {
            let entry = waiting;
            let _ = turns.send(Box::new(Turn { entry, slot }));
        };
        let admission = &self.executor.admission;
        admission.enter_later(Box::new(turn), &|ticket, position| {
            entry.set_ticket(ticket);
            entry.log.push(Event::Queued { position });
        });
        if entry.cancel.is_fired() {
            // It was cancelled before it had its place in the queue, which that call then could not free.
            self.cancel(&entry);
        }
    }

    /// Cancels a run. If it waits it is finished at once; if it runs, its own thread finishes it soon.
    pub(crate) fn cancel(&self, entry: &Entry) {
        entry.cancel.fire();
        if entry
            .ticket()
            .is_some_and(|ticket| self.executor.admission.leave(ticket))
        {
            let result = cancelled_before_start(entry.id.clone(), entry.accepted);
            self.keeper.finish(entry, Ok(result));
        }
    }

    /// Executes a run to its outcome, and frees its slot. Tries again while the engine cannot be reached, or threads or descriptors
    /// are short, unless the run may have started.
    pub(crate) fn take_turn(&self, turn: Turn) {
        let Turn { entry, slot } = turn;
        let outcome = loop {
            if entry.cancel.is_fired() {
                let result = cancelled_before_start(entry.id.clone(), entry.accepted);
                break Ok(result);
            }
            let outcome = self.attempt(&entry);
            let client = &self.executor.engine.client;
            let is_passing = |error: &Error| {
                let is_short = matches!(error, Error::Overloaded(_));
                is_short || is_away(client, error)
            };
            let is_passing = outcome.as_ref().is_err_and(is_passing);
            let loads_once = self.keeper.persistence() == Persistence::Process;
            if !is_passing
                || loads_once
                || entry.stored().may_have_started
                || entry.cancel.wait(RETRY_PAUSE)
            {
                break outcome;
            }
            entry.stored().has_leftovers = true;
        };
        self.keeper.finish_through(&entry, outcome);
        drop(slot);
    }

    fn attempt(&self, entry: &Entry) -> Outcome {
        let LoadedRun { spec, lacks_auth } = self.keeper.load_run(entry)?;
        if entry.stored().has_leftovers {
            // None of these was ever started, or the run's mark would say so.
            if !self.remove_leftovers(entry) {
                let result = cancelled_before_start(entry.id.clone(), entry.accepted);
                return Ok(result);
            }
        }
        let hooks = self.hooks(entry);
        let outcome = self.executor.execute_admitted(spec, context(entry, &hooks));
        match outcome {
            Err(Error::RegistryDenied(words) | Error::ImageNotFound(words)) if lacks_auth => {
                Err(Error::RegistryDenied(format!(
                    "{words} (the credentials of this run were not kept over a restart of the server)"
                )))
            }
            other => other,
        }
    }

    /// Removes what an attempt to start the run may have left: its containers, then the volume that they mount. Blocks until that
    /// is done. False: the run was cancelled first.
    fn remove_leftovers(&self, entry: &Entry) -> bool {
        let names = ["", "-stage", "-user"].map(|name| format!("oneoff-{}{name}", entry.id));
        let volume = Object::Volume(stage_name(&entry.id));
        let removal = &self.executor.engine.removal;
        removal.remove_all(&names.map(Object::Container), &entry.cancel)
            && removal.remove_all(&[volume], &entry.cancel)
    }

    /// Follows a run that an earlier process started.
    pub(crate) fn resume(&self, entry: &Entry, run: &LoadedRun, started: StartedRun) -> Outcome {
        let hooks = self.hooks(entry);
        self.executor
            .resume(&run.spec, started, context(entry, &hooks))
    }

    /// Ends a container that an earlier process started, whose stdin was cut. Returns whether its command has not begun.
    pub(crate) fn end_unbegun(&self, entry: &Entry, run: &LoadedRun, started: &StartedRun) -> bool {
        let hooks = self.hooks(entry);
        self.executor
            .end_unbegun(&run.spec, started, &context(entry, &hooks))
    }

    fn hooks<'a>(&'a self, entry: &'a Entry) -> KeptRun<'a> {
        KeptRun {
            keeper: &self.keeper,
            entry,
        }
    }
}

fn context<'a>(entry: &'a Entry, hooks: &'a KeptRun<'a>) -> RunContext<'a> {
    RunContext {
        accepted: entry.accepted,
        cancel: &entry.cancel,
        sink: entry,
        hooks,
        memory: MemoryTerms::ASYNCHRONOUS,
    }
}

fn dispatch(
    scheduler: &Arc<Scheduler>,
    turns: Receiver<Box<Turn>>,
    stop: Cancel,
) -> std::io::Result<()> {
    let scheduler = Arc::downgrade(scheduler);
    let rounds = move || {
        while !stop.is_fired() {
            let turn = turns.recv_timeout(TICK);
            let Some(scheduler) = scheduler.upgrade() else {
                return;
            };
            match turn {
                Ok(turn) if !stop.is_fired() => {
                    let executing = scheduler.clone();
                    run_thread::start(move || executing.take_turn(*turn), &stop);
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            scheduler.keeper.expire();
        }
    };
    Builder::new()
        .name("dispatch".into())
        .stack_size(256 * 1024)
        .spawn(rounds)
        .map(drop)
}
