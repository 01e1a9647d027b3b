//! Lets so many in at once; the others wait. Short work only: nobody who waits here can leave.

use std::sync::{Condvar, Mutex, PoisonError};

/// A gate with room for a fixed number.
#[derive(Debug)]
pub(crate) struct Gate {
    room: Mutex<usize>,
    freed: Condvar,
}

/// A place inside; dropping it lets the next one in.
pub(crate) struct Inside<'a>(&'a Gate);

impl Gate {
    /// A gate with room for `room`.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room: Mutex::new(room),
            freed: Condvar::new(),
        }
    }

    /// Waits for room.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = self
            .freed
            .wait_while(room, |room| *room == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *room -= 1;
        Inside(self)
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
        let (gate, inside, all) = (Gate::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let _place = gate.enter();
                    assert!(inside.fetch_add(1, SeqCst) < 3);
                    std::thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    all.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(all.into_inner(), 50);
    }
}
