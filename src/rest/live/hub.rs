//! The events that all readers of `/events` share: a bounded list of encoded ones, filled by one thread as long as there are
//! readers. Writing never waits for a reader.

use super::frames::{RUNS_PER_EVENT, frame, runs_frame};
use super::status::{EngineWatch, status};
use crate::cancel::Cancel;
use crate::runner::{RunChanges, RunState, Runner};
use crossbeam_channel::Select;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the status is looked at.
const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// After a change, changes are collected this long, so that a short run is sent to every reader once or twice and not six times.
const GATHERING: Duration = Duration::from_millis(250);
/// How much is kept for readers that are a little behind.
const MOST_BYTES: usize = 1 << 20;

/// The shared events.
pub(super) struct Hub {
    runner: Runner,
    engine: EngineWatch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of the oldest frame that is kept.
    first: u64,
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// Fired and dropped at the next frame. `None`: no reader waits.
    changed: Option<Cancel>,
    readers: usize,
    /// Ends the thread that fills this. `None`: there is none.
    filler: Option<Cancel>,
}

/// One reader. Dropping the last one ends the thread.
pub(super) struct Reader {
    hub: Arc<Hub>,
    next: u64,
}

/// What a reader gets next.
pub(super) enum Next {
    Frame(Arc<[u8]>),
    /// Frames were dropped before they were read: everything is to be read anew.
    Behind,
    /// There was nothing before the timeout.
    Nothing,
    /// A stop token has fired.
    Stopped,
}

impl Hub {
    pub(super) fn new(runner: Runner) -> Self {
        Self {
            engine: EngineWatch::new(runner.clone()),
            runner,
            state: Mutex::default(),
        }
    }

    /// A reader of what happens from now on. Errors: no thread.
    pub(super) fn read(hub: &Arc<Self>) -> io::Result<Reader> {
        let mut state = hub.lock();
        if state.filler.is_none() {
            let stop = Cancel::new();
            let filler = Filler {
                hub: hub.clone(),
                // Before any reader looks at the runs, so that none misses a change.
                position: hub.runner.run_changes_now(),
                stop: stop.clone(),
                last_status: Vec::new(),
            };
            std::thread::Builder::new()
                .name("page-events".into())
                .stack_size(256 * 1024)
                .spawn(move || filler.run())?;
            state.filler = Some(stop);
        }
        state.readers += 1;
        let next = state.end();
        drop(state);
        Ok(Reader {
            hub: hub.clone(),
            next,
        })
    }

    fn publish(&self, frame: Vec<u8>) {
        let mut state = self.lock();
        state.bytes += frame.len();
        state.frames.push_back(frame.into());
        while state.bytes > MOST_BYTES {
            state.drop_oldest();
        }
        state.wake_readers();
    }

    /// Lets every reader read everything anew.
    fn reset(&self) {
        let mut state = self.lock();
        // A frame that nobody has read yet.
        state.first += 1;
        while !state.frames.is_empty() {
            state.drop_oldest();
        }
        state.wake_readers();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.first += 1;
            self.bytes -= oldest.len();
        }
    }

    fn wake_readers(&mut self) {
        if let Some(changed) = self.changed.take() {
            changed.fire();
        }
    }
}

impl Reader {
    pub(super) fn runner(&self) -> &Runner {
        &self.hub.runner
    }

    /// An event with the server's status now.
    pub(super) fn status(&self) -> Vec<u8> {
        status_frame(&self.hub)
    }

    /// The next frame. Blocks until there is one, the timeout passes or a stop token fires.
    pub(super) fn next(&mut self, timeout: Duration, stops: &[Cancel]) -> Next {
        let deadline = Instant::now() + timeout;
        loop {
            if stops.iter().any(Cancel::is_fired) {
                return Next::Stopped;
            }
            let changed = {
                let mut state = self.hub.lock();
                let Some(index) = self.next.checked_sub(state.first) else {
                    self.next = state.end();
                    return Next::Behind;
                };
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                if let Some(frame) = state.frames.get(index) {
                    self.next += 1;
                    return Next::Frame(frame.clone());
                }
                state.changed.get_or_insert_with(Cancel::new).clone()
            };
            let mut select = Select::new();
            select.recv(changed.done());
            for stop in stops {
                select.recv(stop.done());
            }
            if select.ready_deadline(deadline).is_err() {
                return Next::Nothing;
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.readers -= 1;
        if state.readers == 0
            && let Some(filler) = state.filler.take()
        {
            filler.fire();
            state.first = state.end();
            state.frames.clear();
            state.bytes = 0;
        }
    }
}

/// The thread that turns changes into frames.
struct Filler {
    hub: Arc<Hub>,
    position: u64,
    stop: Cancel,
    last_status: Vec<u8>,
}

impl Filler {
    fn run(mut self) {
        while !self.stop.is_fired() {
            self.hub.engine.ask_sometimes();
            let runner = &self.hub.runner;
            let changes = runner.run_changes(&mut self.position, STATUS_PERIOD, &self.stop);
            let mut frames = match &changes {
                RunChanges::Runs(ids) => self.runs(ids),
                RunChanges::Missed | RunChanges::Nothing => Vec::new(),
            };
            if changes == RunChanges::Missed {
                self.hub.reset();
            }
            let status = status_frame(&self.hub);
            if status != self.last_status {
                frames.extend_from_slice(&status);
                self.last_status = status;
            }
            if !frames.is_empty() {
                self.hub.publish(frames);
                self.stop.wait(GATHERING);
            }
        }
    }

    /// Events with the present states of these runs.
    fn runs(&self, ids: &[String]) -> Vec<u8> {
        let mut frames = Vec::new();
        for ids in ids.chunks(RUNS_PER_EVENT) {
            let known = |id: &String| self.hub.runner.run_known(id);
            let states: Vec<RunState> = ids.iter().filter_map(known).collect();
            let is_gone = |id: &&String| states.iter().all(|state| state.id != **id);
            let gone: Vec<String> = ids.iter().filter(is_gone).cloned().collect();
            frames.extend(runs_frame(&states, &gone));
        }
        frames
    }
}

fn status_frame(hub: &Hub) -> Vec<u8> {
    frame("status", &status(&hub.runner, &hub.engine))
}
