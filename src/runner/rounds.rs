//! A thread that does the same work again and again until it is stopped.

use crate::cancel::Cancel;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The thread. Dropping this does not stop it; [`Rounds::stop`] does.
pub(crate) struct Rounds {
    stop: Cancel,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Rounds {
    /// Calls `round` at once, and again each time the pause that it returned has passed. `round` gets a token that fires when it
    /// should return soon. Errors: no thread.
    pub(crate) fn start(
        name: &str,
        mut round: impl FnMut(&Cancel) -> Duration + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Cancel::new();
        let stopped = stop.clone();
        let rounds = move || {
            loop {
                let pause = round(&stopped);
                if stopped.wait(pause) {
                    return;
                }
            }
        };
        let thread = Builder::new().name(name.into()).stack_size(256 * 1024);
        Ok(Self {
            stop,
            thread: Mutex::new(Some(thread.spawn(rounds)?)),
        })
    }

    /// Stops the thread, and blocks until it has ended.
    pub(crate) fn stop(&self) {
        self.stop.fire();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
