//! A thread that does the same work again and again until it is stopped.

use crate::cancel::Cancel;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// The thread. Dropping this does not stop it; [`Rounds::stop`] does.
pub(crate) struct Rounds {
    stop: Cancel,
    ended: Cancel,
}

/// How long stopping waits for the thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

impl Rounds {
    /// Calls `round` at once, and again each time the pause that it returned has passed. `round` gets a token that fires when it
    /// should return soon. Errors: no thread.
    pub(crate) fn start(
        name: &str,
        mut round: impl FnMut(&Cancel) -> Duration + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, ended) = (Cancel::new(), Cancel::new());
        let started = Self {
            stop: stop.clone(),
            ended: ended.clone(),
        };
        let rounds = move || {
            let _ended = FireOnDrop(ended);
            loop {
                let pause = round(&stop);
                if stop.wait(pause) {
                    return;
                }
            }
        };
        let thread = Builder::new().name(name.into()).stack_size(1024 * 1024);
        thread.spawn(rounds)?;
        Ok(started)
    }

    /// Stops the thread, and blocks until it has ended, for a moment at most: it may be waiting for an engine that hangs, and
    /// nothing depends on its end.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stop.fire();
        let left = deadline.saturating_duration_since(Instant::now());
        self.ended.wait(left.min(STOP_TIMEOUT));
    }
}

struct FireOnDrop(Cancel);

impl Drop for FireOnDrop {
    fn drop(&mut self) {
        self.0.fire();
    }
}
