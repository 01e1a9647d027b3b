//! Lets so many in at once; the others wait, for a bounded time. Short work only: nobody who waits here can leave earlier.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A gate with room for a fixed number.
#[derive(Debug)]
pub(crate) struct Semaphore {
    room: Mutex<usize>,
    freed: Condvar,
}

/// A place inside; dropping it lets the next one in.
pub(crate) struct Inside<'a>(&'a Semaphore);

impl Semaphore {
    /// A gate with room for `room`.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room: Mutex::new(room),
            freed: Condvar::new(),
        }
    }

    /// Waits for room, at most so long.
    pub(crate) fn enter(&self, patience: Duration) -> Option<Inside<'_>> {
        let room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut room, _) = self
            .freed
            .wait_timeout_while(room, patience, |room| *room == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *room = room.checked_sub(1)?;
        Some(Inside(self))
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.room.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn never_more_than_fit_are_inside_and_all_come_to_their_turn() {
        let (gate, inside, all) = (Semaphore::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let place = gate.enter(Duration::from_secs(10));
                    assert!(place.is_some());
                    assert!(inside.fetch_add(1, SeqCst) < 3);
                    std::thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    all.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(all.into_inner(), 50);
    }

    #[test]
    fn who_finds_no_room_in_time_is_turned_away_and_takes_none_from_others() {
        let gate = Semaphore::new(1);
        let first = gate.enter(Duration::ZERO);
        assert!(first.is_some());
        assert!(gate.enter(Duration::from_millis(1)).is_none());
        drop(first);
        assert!(gate.enter(Duration::ZERO).is_some());
    }
}
