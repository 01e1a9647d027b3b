//! Counting semaphore with a wait timeout; waiting cannot be cancelled.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A fixed number of permits.
#[derive(Debug)]
pub(crate) struct Semaphore {
    free: Mutex<usize>,
    released: Condvar,
}

/// One permit. Dropping it releases it.
pub(crate) struct Permit<'a>(&'a Semaphore);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            free: Mutex::new(permits),
            released: Condvar::new(),
        }
    }

    /// Blocks until a permit is free. `None`: there was none before the timeout.
    pub(crate) fn acquire(&self, timeout: Duration) -> Option<Permit<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) = self
            .released
            .wait_timeout_while(free, timeout, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn no_more_permits_than_there_are_and_every_waiter_gets_one() {
        let semaphore = Semaphore::new(3);
        let (held, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let permit = semaphore.acquire(Duration::from_secs(10));
                    assert!(permit.is_some());
                    assert!(held.fetch_add(1, SeqCst) < 3);
                    std::thread::yield_now();
                    held.fetch_sub(1, SeqCst);
                    all.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(all.into_inner(), 50);
    }

    #[test]
    fn a_wait_that_times_out_takes_no_permit() {
        let semaphore = Semaphore::new(1);
        let first = semaphore.acquire(Duration::ZERO);
        assert!(first.is_some());
        assert!(semaphore.acquire(Duration::from_millis(1)).is_none());
        drop(first);
        assert!(semaphore.acquire(Duration::ZERO).is_some());
    }
}
