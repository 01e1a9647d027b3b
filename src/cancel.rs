//! A cancellation token: fired when a client leaves, at shutdown or at a deadline, and checked by the work that is done for
//! that client. Firing it interrupts nothing by itself; `select!` can wait for it together with other channels.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// A cancellation token. Clones share one state; once fired it stays fired.
#[derive(Clone, Debug)]
pub struct Cancel {
    armed: Arc<Mutex<Option<Armed>>>,
    done: Receiver<Never>,
}

/// The state of a token that has not been fired.
#[derive(Debug)]
struct Armed {
    /// Dropping it makes all receivers ready for ever.
    _sender: Sender<Never>,
    children: Vec<Weak<Mutex<Option<Armed>>>>,
}

/// A type without values: a [`Cancel::done`] channel never carries a message, it only disconnects.
#[derive(Debug)]
pub enum Never {}

impl Cancel {
    /// A token that has not been fired.
    pub fn new() -> Self {
        let (sender, done) = bounded(0);
        let armed = Armed {
            _sender: sender,
            children: Vec::new(),
        };
        Self {
            armed: Arc::new(Mutex::new(Some(armed))),
            done,
        }
    }

    /// A token that fires when this one does. Firing it does not fire this one.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::new();
        match lock(&self.armed).as_mut() {
            Some(armed) => {
                armed.children.retain(|other| other.strong_count() > 0);
                armed.children.push(Arc::downgrade(&child.armed));
            }
            None => child.fire(),
        }
        child
    }

    /// Fires the token. A second call has no effect. Never blocks.
    pub fn fire(&self) {
        let mut fired: Vec<Armed> = lock(&self.armed).take().into_iter().collect();
        while let Some(armed) = fired.pop() {
            let children = armed.children.iter().filter_map(Weak::upgrade);
            fired.extend(children.filter_map(|child| lock(&child).take()));
        }
    }

    /// Whether the token has been fired.
    pub fn is_fired(&self) -> bool {
        lock(&self.armed).is_none()
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

fn lock(armed: &Mutex<Option<Armed>>) -> MutexGuard<'_, Option<Armed>> {
    armed.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn firing_reaches_every_descendant_and_no_ancestor() {
        let parent = Cancel::new();
        let (first, second) = (parent.child(), parent.child());
        let grandchild = first.child();
        second.fire();
        assert!(!parent.is_fired() && !first.is_fired());
        parent.fire();
        assert!(first.is_fired() && grandchild.wait(Duration::ZERO));
        assert!(parent.child().is_fired(), "a late child");
    }
}
