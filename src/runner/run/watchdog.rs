//! Kills a container at its time limit, or when the caller cancels, while another thread reads it to its end.

use crate::cancel::Cancel;
use crate::docker::events::ContainerExit;
use crate::docker::{self, Client};
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::run::result::{Reason, Sink};
use crossbeam_channel::{after, at, select};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The container that is watched, and when it is killed.
pub(crate) struct Watchdog<'a> {
    pub(crate) client: &'a Client,
    pub(crate) container: &'a str,
    /// Time that the container has left, from now on.
    pub(crate) timeout: Duration,
    pub(crate) cancel: &'a Cancel,
    /// Set before the container is killed, so that its output is read to the end even if nobody takes it.
    pub(crate) sink: &'a dyn Sink,
    pub(crate) shortage: Shortage,
}

/// What is done about a container that was started if there is no thread for what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// It is removed, and the waiting caller gets an error.
    Fails,
    /// The thread is waited for: the run was accepted, and nobody waits for an answer.
    Passes,
}

impl Shortage {
    pub(crate) fn of(spec: &RunSpec) -> Self {
        match spec.is_detached {
            true => Self::Passes,
            false => Self::Fails,
        }
    }
}

/// How long to wait before a thread is asked for again.
pub(crate) const NO_THREAD_PAUSE: Duration = Duration::from_millis(100);

/// How a watched container ended.
pub(crate) struct WatchedEnd {
    /// Why the watchdog killed it. `None`: it ended by itself.
    pub(crate) killed: Option<Reason>,
    pub(crate) end: ContainerExit,
}

impl Watchdog<'_> {
    /// Calls `read`, which must return once the container has ended, with the watchdog running beside it. Threads that `read`
    /// starts in its scope must end with the container too. Errors:
    /// [`Error::Overloaded`] without a thread for the watchdog, as [`Shortage`] says, and those of `read`.
    pub(crate) fn watch_while<'env>(
        &'env self,
        read: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Result<ContainerExit, Error>,
    ) -> Result<WatchedEnd, Error> {
        let finished = Cancel::new();
        std::thread::scope(|scope| {
            // Fired however this block is left, or the watchdog's thread would keep the scope from ending.
            let _finished = FireOnDrop(&finished);
            let watching = self.start(scope, &finished)?;
            let end = read(scope)?;
            finished.fire();
            let killed = match watching {
                Watching::OnThread(watchdog) => watchdog.join().unwrap_or(None),
                Watching::Ended(killed) => killed,
            };
            Ok(WatchedEnd { killed, end })
        })
    }

    /// Starts the thread. Where it is waited for, this one does its work meanwhile, and what the container prints waits.
    fn start<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        finished: &Cancel,
    ) -> Result<Watching<'scope>, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let watched = finished.clone();
            let spawned = Builder::new()
                .name("watchdog".into())
                .stack_size(256 * 1024)
                .spawn_scoped(scope, move || self.wait(&watched, deadline));
            match spawned {
                Ok(thread) => return Ok(Watching::OnThread(thread)),
                Err(error) if self.shortage == Shortage::Fails => {
                    let words = format!("no thread for the watchdog: {error}");
                    return Err(Error::Overloaded(words));
                }
                Err(error) => log::debug!("no thread for the watchdog yet: {error}"),
            }
            if self.cancel.wait(NO_THREAD_PAUSE) || Instant::now() > deadline {
                return Ok(Watching::Ended(self.wait(finished, deadline)));
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
