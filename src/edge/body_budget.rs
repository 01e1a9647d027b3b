//! The memory for request bodies: one budget for all of them, so that many large requests at once cannot use up the memory
//! of the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory that all request bodies share.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    limit_bytes: u64,
    used_bytes: Mutex<u64>,
}

/// The memory that one request's body uses. Dropping the last clone gives it back; whoever keeps content of the body must
/// keep a clone as long.
#[derive(Clone, Debug)]
pub struct BodyReservation(Arc<Share>);

/// One body's part of the budget.
#[derive(Debug)]
struct Share {
    budget: Arc<BodyBudget>,
    bytes: AtomicU64,
}

impl BodyBudget {
    /// A budget of `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: Mutex::new(0),
        })
    }

    /// A reservation, of 0 bytes so far, for a body that may become `expected_bytes` long. `None`: too little is left for
    /// it. The only body is always accepted, however long it is.
    pub(super) fn reserve(self: &Arc<Self>, expected_bytes: u64) -> Option<BodyReservation> {
        let used = *self.lock();
        (used == 0 || used.saturating_add(expected_bytes) <= self.limit_bytes).then(|| {
            BodyReservation(Arc::new(Share {
                budget: Arc::clone(self),
                bytes: AtomicU64::new(0),
            }))
        })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyReservation {
    /// Adds bytes to the reservation. Returns false, and adds nothing, if the budget does not have them. The only body may
    /// always grow.
    pub(super) fn grow(&self, bytes: u64) -> bool {
        let mut used = self.0.budget.lock();
        let own = self.0.bytes.load(Ordering::Relaxed);
        if *used > own && used.saturating_add(bytes) > self.0.budget.limit_bytes {
            return false;
        }
        *used += bytes;
        self.0.bytes.store(own + bytes, Ordering::Relaxed);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.budget.lock() -= self.bytes.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_budget_and_give_it_back_with_the_last_clone() {
        let budget = BodyBudget::new(100);
        let first = budget.reserve(60).unwrap();
        assert!(first.grow(60));
        assert!(budget.reserve(41).is_none());
        let second = budget.reserve(40).unwrap();
        assert!(second.grow(30) && !second.grow(11) && second.grow(10));
        assert!(!first.grow(1));
        let clone = first.clone();
        drop(first);
        assert!(!second.grow(1), "a clone still holds the memory");
        drop(clone);
        assert!(second.grow(60));
        drop(second);
        assert_eq!(*budget.lock(), 0);
    }

    #[test]
    fn the_only_body_may_exceed_the_budget() {
        let budget = BodyBudget::new(10);
        let reservation = budget.reserve(1000).unwrap();
        assert!(reservation.grow(1000));
        assert!(budget.reserve(1).is_none());
    }
}
