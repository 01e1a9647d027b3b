//! Memory for request bodies: one amount for all requests together, so that however many are sent at once, the process
//! does not run out of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory that all bodies share.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    limit_bytes: u64,
    held_bytes: Mutex<u64>,
}

/// What one request's body takes up of it, given back when the last clone is dropped: whoever keeps what was in the
/// body keeps this too.
#[derive(Clone, Debug)]
pub struct BodyReservation(Arc<Held>);

#[derive(Debug)]
struct Held {
    rooms: Arc<BodyBudget>,
    bytes: AtomicU64,
}

impl BodyBudget {
    /// So many bytes in all.
    pub(super) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            held_bytes: Mutex::new(0),
        })
    }

    /// A room of nothing yet, for a body that may become this long; `None`: there is no room for it now.
    pub(super) fn room(self: &Arc<Self>, expected_bytes: u64) -> Option<BodyReservation> {
        let held = *self.lock();
        (held == 0 || held.saturating_add(expected_bytes) <= self.limit_bytes).then(|| {
            BodyReservation(Arc::new(Held {
                rooms: Arc::clone(self),
                bytes: AtomicU64::new(0),
            }))
        })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.held_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyReservation {
    /// Takes so much more. False: there is no more. A body that is alone may be as long as it likes.
    pub(super) fn grow(&self, bytes: u64) -> bool {
        let mut held = self.0.rooms.lock();
        let own = self.0.bytes.load(Ordering::Relaxed);
        if *held > own && held.saturating_add(bytes) > self.0.rooms.limit_bytes {
            return false;
        }
        *held += bytes;
        self.0.bytes.store(own + bytes, Ordering::Relaxed);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.rooms.lock() -= self.bytes.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        let rooms = BodyBudget::new(100);
        let first = rooms.room(60).unwrap();
        assert!(first.grow(60));
        assert!(rooms.room(41).is_none());
        let second = rooms.room(40).unwrap();
        assert!(second.grow(30) && !second.grow(11) && second.grow(10));
        assert!(!first.grow(1));
        let kept = first.clone();
        drop(first);
        assert!(!second.grow(1), "somebody keeps what was in the body");
        drop(kept);
        assert!(second.grow(60));
        drop(second);
        assert_eq!(*rooms.lock(), 0, "nothing is left behind");
    }

    #[test]
    fn a_body_that_is_alone_always_has_room() {
        let rooms = BodyBudget::new(10);
        let room = rooms.room(1000).unwrap();
        assert!(room.grow(1000));
        assert!(rooms.room(1).is_none());
    }
}
