//! A cancellation token: fired when a client leaves, at shutdown or at a deadline, and checked by the work that is done for
//! that client. Firing it interrupts nothing by itself; `select!` can wait for it together with other channels.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A cancellation token. Clones share one state; once fired it stays fired.
#[derive(Clone, Debug)]
pub struct Cancel {
    // Firing drops the sender, which makes all receivers ready for ever.
    armed: Arc<Mutex<Option<Sender<Never>>>>,
    done: Receiver<Never>,
}

/// A type without values: a [`Cancel::done`] channel never carries a message, it only disconnects.
#[derive(Debug)]
pub enum Never {}

impl Cancel {
    /// A token that has not been fired.
    pub fn new() -> Self {
        let (sender, done) = bounded(0);
        Self {
            armed: Arc::new(Mutex::new(Some(sender))),
            done,
        }
    }

    /// Fires the token. A second call has no effect. Never blocks.
    pub fn fire(&self) {
        self.armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Whether the token has been fired.
    pub fn is_fired(&self) -> bool {
        self.armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Blocks until the token fires or the timeout passes. Returns whether it has fired.
    pub fn wait(&self, timeout: Duration) -> bool {
        matches!(
            self.done.recv_timeout(timeout),
            Err(RecvTimeoutError::Disconnected)
        )
    }

    /// A channel that disconnects when the token fires, for `select!` or `recv`.
    pub fn done(&self) -> &Receiver<Never> {
        &self.done
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn firing_wakes_every_clone_and_lasts() {
        let cancel = Cancel::new();
        let waiter = cancel.clone();
        assert!(!waiter.is_fired());
        assert!(!waiter.wait(Duration::ZERO));
        let thread = std::thread::spawn(move || waiter.wait(Duration::from_secs(10)));
        cancel.fire();
        cancel.fire();
        assert!(thread.join().unwrap());
        assert!(cancel.clone().is_fired());
    }
}
