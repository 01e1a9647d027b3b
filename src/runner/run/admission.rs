//! A bounded first-in-first-out queue in front of a fixed number of slots.

use crate::cancel::Cancel;
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lets at most so many runs go on at once, in order of arrival.
#[derive(Clone)]
pub(crate) struct Admission {
    state: Arc<Mutex<State>>,
}

struct State {
    free: usize,
    /// Slots taken beyond their number; they are not passed on.
    owed: usize,
    queue_length: usize,
    next_ticket: u64,
    waiting: VecDeque<Waiting>,
    is_closed: bool,
}

struct Waiting {
    ticket: u64,
    place: Place,
}

/// How one who waits hears that it is their turn.
enum Place {
    /// In a thread that waits, of which there are few.
    Caller(Sender<Turn>),
    /// By this call, which must not block; there may be many.
    Later(Box<dyn FnOnce(Slot) + Send>),
}

/// News for one who waits.
enum Turn {
    /// A slot is theirs.
    Now(Slot),
    /// They moved up: so many are before them.
    Behind(usize),
}

/// The right to run. Dropping it lets the next one in.
pub(crate) struct Slot {
    admission: Admission,
}

/// Why no slot was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The caller left while waiting.
    Cancelled,
}

impl Admission {
    pub(crate) fn new(slots: usize, queue_length: usize) -> Self {
        let state = State {
            free: slots.max(1),
            owed: 0,
            queue_length,
            next_ticket: 0,
            waiting: VecDeque::new(),
            is_closed: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Waits for a slot; `position` hears how many are before the caller, whenever that changes.
    pub(crate) fn enter(
        &self,
        cancel: &Cancel,
        position: &mut dyn FnMut(usize),
    ) -> Result<Slot, Refused> {
        let (ticket, turns, behind) = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot {
                    admission: self.clone(),
                });
            }
            let callers = |waiting: &&Waiting| matches!(waiting.place, Place::Caller(_));
            if state.waiting.iter().filter(callers).count() >= state.queue_length {
                return Err(Refused::Full);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            // Unbounded, so that telling never blocks who leaves; it holds at most one word per run ahead.
            let (turn, turns) = unbounded();
            let behind = state.waiting.len();
            let place = Place::Caller(turn);
            state.waiting.push_back(Waiting { ticket, place });
            (ticket, turns, behind)
        };
        position(behind);
        self.wait(ticket, &turns, cancel, position)
    }

    /// Calls back with a slot when it is their turn, perhaps at once; but first, quickly, with the ticket and with how many
    /// are before it.
    pub(crate) fn enter_later(
        &self,
        turn: Box<dyn FnOnce(Slot) + Send>,
        placed: &dyn Fn(u64, usize),
    ) {
        let mut state = self.lock();
        let (ticket, before) = (state.next_ticket, state.waiting.len());
        state.next_ticket += 1;
        placed(ticket, before);
        if state.free == 0 {
            let place = Place::Later(turn);
            state.waiting.push_back(Waiting { ticket, place });
            return;
        }
        state.free -= 1;
        drop(state);
        turn(Slot {
            admission: self.clone(),
        });
    }

    /// A slot for a run that goes on already, whether one is free or not.
    pub(crate) fn enter_anyway(&self) -> Slot {
        let mut state = self.lock();
        match state.free.checked_sub(1) {
            Some(free) => state.free = free,
            None => state.owed += 1,
        }
        Slot {
            admission: self.clone(),
        }
    }

    /// Leaves the queue. False: it is not in it any more.
    pub(crate) fn leave(&self, ticket: u64) -> bool {
        self.lock().leave(ticket)
    }

    /// From here on a slot is not passed on, so that nobody's turn comes any more.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    fn wait(
        &self,
        ticket: u64,
        turns: &Receiver<Turn>,
        cancel: &Cancel,
        position: &mut dyn FnMut(usize),
    ) -> Result<Slot, Refused> {
        loop {
            select! {
                recv(turns) -> turn => match turn {
                    Ok(Turn::Now(slot)) => return Ok(slot),
                    Ok(Turn::Behind(count)) => position(count),
                    Err(_) => return Err(Refused::Cancelled),
                },
                recv(cancel.done()) -> _ => {
                    self.lock().leave(ticket);
                    // The slot may have come in the meantime: dropping it here passes it on.
                    drop(turns.try_iter().collect::<Vec<_>>());
                    return Err(Refused::Cancelled);
                }
            }
        }
    }

    /// Free slots and the number of those who wait.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let state = self.lock();
        (state.free, state.waiting.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Waiting> {
        match self.is_closed {
            true => None,
            false => self.waiting.pop_front(),
        }
    }

    fn leave(&mut self, ticket: u64) -> bool {
        let Some(place) = self
            .waiting
            .iter()
            .position(|waiting| waiting.ticket == ticket)
        else {
            return false;
        };
        self.waiting.remove(place);
        self.tell_positions(place);
        true
    }

    fn tell_positions(&self, from: usize) {
        for (before, waiting) in self.waiting.iter().enumerate().skip(from) {
            if let Place::Caller(turn) = &waiting.place {
                let _ = turn.send(Turn::Behind(before));
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if state.owed > 0 {
            state.owed -= 1;
            return;
        }
        let Some(next) = state.next() else {
            state.free += 1;
            return;
        };
        state.tell_positions(0);
        drop(state);
        let slot = Slot {
            admission: self.admission.clone(),
        };
        match next.place {
            // If the next one left just now, the returned slot's own drop passes it on.
            Place::Caller(turn) => drop(turn.send(Turn::Now(slot))),
            Place::Later(turn) => turn(slot),
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
    fn a_full_queue_refuses_at_once_and_one_who_leaves_makes_room() {
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
    fn once_it_is_closed_nobodys_turn_comes_however_many_wait() {
        let admission = Admission::new(1, 8);
        let first = admission.enter(&Cancel::new(), &mut |_| {}).ok();
        let (turn, turns) = mpsc::channel();
        for _ in 0..20_000 {
            let turn = turn.clone();
            // As at a shutdown: nobody takes the slot, which is dropped where it is offered.
            let refuse = move |slot| drop((turn.send(()), slot));
            admission.enter_later(Box::new(refuse), &|_, _| {});
        }
        admission.close();
        drop(first);
        assert_eq!(turns.try_iter().count(), 0);
        assert_eq!(admission.occupancy(), (1, 20_000));
    }
}
