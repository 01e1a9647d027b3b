//! A counting semaphore for runs with a bounded first-in-first-out queue. A slot is the permit to run.

use crate::cancel::Cancel;
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out a fixed number of slots in order of arrival. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Admission {
    state: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    /// Slots given out beyond the fixed number ([`Admission::enter_anyway`]). While above zero, a dropped slot lowers it
    /// and goes to no waiter.
    excess: usize,
    /// Most threads that may wait in [`Admission::enter`]. Callbacks are not counted.
    queue_length: usize,
    next_ticket: u64,
    waiters: VecDeque<Waiter>,
    is_closed: bool,
}

struct Waiter {
    ticket: u64,
    notify: Notify,
}

/// How a waiter receives its slot.
enum Notify {
    /// Through a channel on which a thread blocks.
    Thread(Sender<Update>),
    /// By this call, which must not block.
    Callback(Box<dyn FnOnce(Slot) + Send>),
}

/// What a blocked thread receives.
enum Update {
    Admitted(Slot),
    /// The number of waiters ahead of it, after it has moved up.
    Position(usize),
}

/// The permit to run. Dropping it passes it to the first waiter.
pub(crate) struct Slot {
    admission: Admission,
}

/// Why no slot was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The caller's `cancel` fired while it waited.
    Cancelled,
}

impl Admission {
    pub(crate) fn new(slots: usize, queue_length: usize) -> Self {
        let state = State {
            free: slots.max(1),
            excess: 0,
            queue_length,
            next_ticket: 0,
            waiters: VecDeque::new(),
            is_closed: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Blocks until a slot is free or `cancel` fires. Calls `position` with the number of waiters ahead, first when the
    /// caller is queued and then whenever it changes. Fails at once when the queue is full.
    pub(crate) fn enter(
        &self,
        cancel: &Cancel,
        position: &mut dyn FnMut(usize),
    ) -> Result<Slot, Refused> {
        let (ticket, updates, ahead) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot {
                    admission: self.clone(),
                });
            }
            let is_thread = |waiter: &&Waiter| matches!(waiter.notify, Notify::Thread(_));
            if state.waiters.iter().filter(is_thread).count() >= state.queue_length {
                return Err(Refused::Full);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            // Unbounded, so that sending never blocks. It holds at most one update per run ahead.
            let (sender, updates) = unbounded();
            let ahead = state.waiters.len();
            let notify = Notify::Thread(sender);
            state.waiters.push_back(Waiter { ticket, notify });
            (ticket, updates, ahead)
        };
        position(ahead);
        self.wait(ticket, &updates, cancel, position)
    }

    /// Queues without blocking. Calls `placed(ticket, ahead)`, then `turn(slot)` when a slot is free, possibly before
    /// returning. `placed` runs under the lock and must be quick. Neither the queue's length nor a cancel limits it; see
    /// [`Admission::leave`].
    pub(crate) fn enter_later(
        &self,
        turn: Box<dyn FnOnce(Slot) + Send>,
        placed: &dyn Fn(u64, usize),
    ) {
        let mut state = self.lock();
        let (ticket, ahead) = (state.next_ticket, state.waiters.len());
        state.next_ticket += 1;
        placed(ticket, ahead);
        if state.free == 0 {
            let notify = Notify::Callback(turn);
            state.waiters.push_back(Waiter { ticket, notify });
            return;
        }
        state.free -= 1;
        drop(state);
        turn(Slot {
            admission: self.clone(),
        });
    }

    /// Returns a slot at once, for a run that is running already, even if none is free.
    pub(crate) fn enter_anyway(&self) -> Slot {
        let mut state = self.lock();
        match state.free.checked_sub(1) {
            Some(free) => state.free = free,
            None => state.excess += 1,
        }
        Slot {
            admission: self.clone(),
        }
    }

    /// Removes a waiter from the queue. False: the ticket is no longer queued.
    pub(crate) fn leave(&self, ticket: u64) -> bool {
        self.lock().leave(ticket)
    }

    /// From here on no waiter receives a slot.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    fn wait(
        &self,
        ticket: u64,
        updates: &Receiver<Update>,
        cancel: &Cancel,
        position: &mut dyn FnMut(usize),
    ) -> Result<Slot, Refused> {
        loop {
            select! {
                recv(updates) -> update => match update {
                    Ok(Update::Admitted(slot)) => return Ok(slot),
                    Ok(Update::Position(ahead)) => position(ahead),
                    Err(_) => return Err(Refused::Cancelled),
                },
                recv(cancel.done()) -> _ => {
                    self.lock().leave(ticket);
                    // A slot that arrived in the meantime is passed on by this drop.
                    drop(updates.try_iter().collect::<Vec<_>>());
                    return Err(Refused::Cancelled);
                }
            }
        }
    }

    /// The number of free slots, and of waiters.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let state = self.lock();
        (state.free, state.waiters.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Waiter> {
        match self.is_closed {
            true => None,
            false => self.waiters.pop_front(),
        }
    }

    fn leave(&mut self, ticket: u64) -> bool {
        let Some(index) = self
            .waiters
            .iter()
            .position(|waiter| waiter.ticket == ticket)
        else {
            return false;
        };
        self.waiters.remove(index);
        self.send_positions(index);
        true
    }

    /// Sends their positions to all waiters from index `from` on.
    fn send_positions(&self, from: usize) {
        for (ahead, waiter) in self.waiters.iter().enumerate().skip(from) {
            if let Notify::Thread(updates) = &waiter.notify {
                let _ = updates.send(Update::Position(ahead));
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if state.excess > 0 {
            state.excess -= 1;
            return;
        }
        let Some(next) = state.next() else {
            state.free += 1;
            return;
        };
        state.send_positions(0);
        drop(state);
        let slot = Slot {
            admission: self.admission.clone(),
        };
        match next.notify {
            // If the receiver is gone, `send` returns the slot, whose own drop passes it on.
            Notify::Thread(updates) => drop(updates.send(Update::Admitted(slot))),
            Notify::Callback(turn) => turn(slot),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn slots_are_given_in_order_of_arrival() {
        let admission = Admission::new(1, 8);
        let first = admission
            .enter(&Cancel::new(), &mut |_| {})
            .unwrap_or_else(|_| unreachable!());
        let (order, finished) = mpsc::channel();
        let mut threads = Vec::new();
        for n in 0..5 {
            let (admission, order) = (admission.clone(), order.clone());
            let (queued, is_queued) = mpsc::channel();
            threads.push(std::thread::spawn(move || {
                let slot = admission
                    .enter(&Cancel::new(), &mut |_| queued.send(()).unwrap_or(()))
                    .ok();
                order.send(n).unwrap();
                drop(slot);
            }));
            is_queued.recv().unwrap();
        }
        drop(first);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(finished.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(admission.occupancy(), (1, 0));
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_a_cancelled_waiter_leaves_it() {
        let admission = Admission::new(1, 1);
        let slot = admission.enter(&Cancel::new(), &mut |_| {}).ok();
        let cancel = Cancel::new();
        let (queued, is_queued) = mpsc::channel();
        let waiter = {
            let (admission, cancel) = (admission.clone(), cancel.clone());
            std::thread::spawn(move || {
                admission
                    .enter(&cancel, &mut |_| queued.send(()).unwrap_or(()))
                    .err()
            })
        };
        is_queued.recv().unwrap();
        assert_eq!(
            admission.enter(&Cancel::new(), &mut |_| {}).err(),
            Some(Refused::Full)
        );
        cancel.fire();
        assert_eq!(waiter.join().unwrap(), Some(Refused::Cancelled));
        assert_eq!(admission.occupancy(), (0, 0));
        drop(slot);
        assert_eq!(admission.occupancy(), (1, 0), "nothing is left behind");
    }

    #[test]
    fn after_close_no_waiter_receives_a_slot() {
        let admission = Admission::new(1, 8);
        let first = admission.enter(&Cancel::new(), &mut |_| {}).ok();
        let (turn, turns) = mpsc::channel();
        for _ in 0..20_000 {
            let turn = turn.clone();
            // As at a shutdown: the callback drops the slot.
            let refuse = move |slot| drop((turn.send(()), slot));
            admission.enter_later(Box::new(refuse), &|_, _| {});
        }
        admission.close();
        drop(first);
        assert_eq!(turns.try_iter().count(), 0);
        assert_eq!(admission.occupancy(), (1, 20_000));
    }
}
