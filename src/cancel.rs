//! A token that says "stop": fired by a client that left, an operator or a deadline, observed by whoever
//! works for that client. It does nothing by itself; it can be selected on beside other channels.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A cancellation token. Clones share one state; once fired it stays fired.
#[derive(Clone, Debug)]
pub struct Cancel {
    // Firing drops the sender: every receiver becomes ready for good, however many there are.
    armed: Arc<Mutex<Option<Sender<Never>>>>,
    done: Receiver<Never>,
}

/// No value of this type exists: a [`Cancel::done`] channel never carries a message, it only disconnects.
#[derive(Debug)]
pub enum Never {}

impl Cancel {
    /// A token nobody has fired yet.
    pub fn new() -> Self {
        let (sender, done) = bounded(0);
        Self {
            armed: Arc::new(Mutex::new(Some(sender))),
            done,
        }
    }

    /// Fires the token. Firing twice is the same as firing once.
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

    /// Waits until the token fires, at most so long. True: it has fired.
    pub fn wait(&self, timeout: Duration) -> bool {
        matches!(
            self.done.recv_timeout(timeout),
            Err(RecvTimeoutError::Disconnected)
        )
    }

    /// A channel that disconnects when the token fires: for `select!`, or `recv` to wait.
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
    fn firing_wakes_every_clone_and_stays_fired() {
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
