//! Kills a container at its time limit, or when the caller cancels, while another thread reads it to its end.

use crate::cancel::Cancel;
use crate::docker::events::ContainerExit;
use crate::docker::{self, Client};
use crate::runner::error::Error;
use crate::runner::run::result::{Reason, Sink};
use crossbeam_channel::{after, at, bounded, select};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The container that is watched, and when it is killed.
pub(crate) struct Watchdog<'a> {
    pub(crate) client: &'a Client,
    pub(crate) container: &'a str,
    /// Time that the container has left, from now on.
    pub(crate) timeout: Duration,
    /// How much longer the container may take to end by itself at its time limit, which its own PID 1 knows too.
    pub(crate) grace: Duration,
    pub(crate) cancel: &'a Cancel,
    /// Set before the container is killed, so that its output is read to the end even if nobody takes it.
    pub(crate) sink: &'a dyn Sink,
}

/// The grace of a container whose PID 1 is this service's.
pub(crate) const PID_1_GRACE: Duration = Duration::from_secs(1);

/// How long to wait before a thread is asked for again.
pub(crate) const NO_THREAD_PAUSE: Duration = Duration::from_millis(100);

/// The threads of a run whose container has started: the watchdog's, and stdin's.
const THREADS: usize = 2;

/// To be called before a container is started: what has begun cannot be refused any more, and may wait for its threads until its
/// time limit. Errors: [`Error::Overloaded`] if this process cannot have them now.
pub(crate) fn require_threads() -> Result<(), Error> {
    let (release, held) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let hold = || {
            let _ = held.recv();
        };
        let spawn = |_| Builder::new().spawn_scoped(scope, hold).err();
        let lacking = (0..THREADS).find_map(spawn);
        drop(release);
        match lacking {
            Some(error) => Err(Error::Overloaded(format!("no thread for the run: {error}"))),
            None => Ok(()),
        }
    })
}

/// How a watched container ended.
pub(crate) struct WatchedEnd {
    /// Why the watchdog killed it. `None`: it ended by itself.
    pub(crate) killed: Option<Reason>,
    pub(crate) end: ContainerExit,
}

impl Watchdog<'_> {
    /// Calls `read`, which must return once the container has ended, with the watchdog running beside it. Threads that `read`
    /// starts in its scope must end with the container too. Without a thread for the watchdog, waits for one first: the container
    /// runs, so that the run cannot be refused any more. Errors: those of `read`.
    pub(crate) fn watch_while<'env>(
        &'env self,
        read: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Result<ContainerExit, Error>,
    ) -> Result<WatchedEnd, Error> {
        let finished = Cancel::new();
        std::thread::scope(|scope| {
            // Fired however this block is left, or the watchdog's thread would keep the scope from ending.
            let _finished = FireOnDrop(&finished);
            let watching = self.start(scope, &finished);
            let end = read(scope)?;
            finished.fire();
            let killed = match watching {
                Watching::OnThread(watchdog) => watchdog.join().unwrap_or(None),
                Watching::Ended(killed) => killed,
            };
            Ok(WatchedEnd { killed, end })
        })
    }

    /// Starts the thread. While there is none, this one does its work, and what the container prints waits.
    fn start<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        finished: &Cancel,
    ) -> Watching<'scope> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let watched = finished.clone();
            let spawned = Builder::new()
                .name("watchdog".into())
                .stack_size(256 * 1024)
                .spawn_scoped(scope, move || self.wait(&watched, deadline));
            match spawned {
                Ok(thread) => return Watching::OnThread(thread),
                Err(error) => log::debug!("no thread for the watchdog yet: {error}"),
            }
            if self.cancel.wait(NO_THREAD_PAUSE) || Instant::now() > deadline {
                return Watching::Ended(self.wait(finished, deadline));
            }
        }
    }

    /// Waits for `finished`, the time limit or the caller. Returns the reason if the watchdog killed the container.
    fn wait(&self, finished: &Cancel, deadline: Instant) -> Option<Reason> {
        let reason = select! {
            recv(finished.done()) -> _ => return None,
            recv(self.cancel.done()) -> _ => Reason::Cancelled,
            recv(at(deadline)) -> _ => Reason::Timeout,
        };
        self.sink.stop_waiting();
        if reason == Reason::Timeout && !self.grace.is_zero() {
            select! {
                recv(finished.done()) -> _ => return None,
                recv(self.cancel.done()) -> _ => {}
                recv(after(self.grace)) -> _ => {}
            }
        }
        let container = self.container;
        loop {
            match self.client.container_kill(container, "KILL") {
                Ok(()) => return Some(reason),
                // Not running, or gone: it ended by itself just now.
                Err(docker::Error::Status {
                    status: 404 | 409, ..
                }) => return None,
                Err(error) => log::warn!("container {container} is not killed yet: {error}"),
            }
            select! {
                recv(finished.done()) -> _ => return None,
                recv(after(Duration::from_secs(1))) -> _ => {}
            }
        }
    }
}

/// Where the watchdog works.
enum Watching<'scope> {
    OnThread(ScopedJoinHandle<'scope, Option<Reason>>),
    /// It has ended, for this reason if it killed the container.
    Ended(Option<Reason>),
}

struct FireOnDrop<'a>(&'a Cancel);

impl Drop for FireOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fire();
    }
}
