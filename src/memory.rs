//! The memory budget: one number of bytes that request bodies, parsed values, results, volume contents and answers share, so
//! that many large requests or slow readers at once cannot use up the memory of the process.

use crate::cancel::Cancel;
use crossbeam_channel::{after, never, select};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Budget>);

/// Bytes taken from the budget for one purpose. Clones share them; dropping the last clone gives them back. The code that
/// keeps the memory must keep a clone as long.
#[derive(Clone, Debug)]
pub struct Reservation(Arc<Held>);

#[derive(Debug)]
struct Budget {
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: u64,
    /// Number of accounts that are larger than the whole budget.
    oversize_accounts: u64,
    /// Fired and dropped when bytes are given back. `None`: nobody waits.
    freed: Option<Cancel>,
}

/// The bytes of all reservations of one request. Changed under the lock of [`Budget::state`] only.
#[derive(Debug)]
struct Account {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Held {
    account: Arc<Account>,
    bytes: AtomicU64,
}

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Budget {
            limit_bytes,
            state: Mutex::default(),
        }))
    }

    /// A reservation of 0 bytes so far, for a new request that expects to take `expected_bytes`. `None`: the budget does not
    /// have them. A request that expects nothing always gets one.
    pub fn open(&self, expected_bytes: u64) -> Option<Reservation> {
        let reservation = self.reservation();
        let account = &reservation.0.account;
        let has_room = account.has_room(&self.0.lock(), expected_bytes);
        (expected_bytes == 0 || has_room).then_some(reservation)
    }

    /// A reservation of 0 bytes so far.
    pub fn reservation(&self) -> Reservation {
        let account = Account {
            budget: Arc::clone(&self.0),
            bytes: AtomicU64::new(0),
        };
        Reservation::of(Arc::new(account))
    }

    /// Bytes that are taken.
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes
    }

    /// Bytes that there are in all.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the account may grow. It may if the bytes are left. An account that would be larger than the whole budget can
    /// never have them left: one such account at a time may grow beyond it.
    fn has_room(&self, state: &State, bytes: u64) -> bool {
        let limit = self.budget.limit_bytes;
        let own = self.bytes();
        let others = state.used_bytes.saturating_sub(own);
        let oversize_others = state.oversize_accounts - u64::from(own > limit);
        let is_oversize = own.saturating_add(bytes) > limit;
        state.used_bytes.saturating_add(bytes) <= limit
            || (is_oversize && oversize_others == 0 && others <= limit)
    }

    fn set(&self, state: &mut State, bytes: u64) {
        let limit = self.budget.limit_bytes;
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        state.used_bytes = state.used_bytes - before + bytes;
        state.oversize_accounts += u64::from(bytes > limit);
        state.oversize_accounts -= u64::from(before > limit);
        if bytes < before
            && let Some(freed) = state.freed.take()
        {
            freed.fire();
        }
    }
}

impl Reservation {
    fn of(account: Arc<Account>) -> Self {
        Self(Arc::new(Held {
            account,
            bytes: AtomicU64::new(0),
        }))
    }

    /// Another reservation of the same request, of 0 bytes so far.
    pub fn another(&self) -> Self {
        Self::of(Arc::clone(&self.0.account))
    }

    /// Bytes that this holds.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Takes more bytes. Returns false, and takes nothing, if the budget does not have them.
    pub fn grow(&self, bytes: u64) -> bool {
        let mut state = self.0.account.budget.lock();
        let has_room = self.0.account.has_room(&state, bytes);
        if has_room {
            self.0.add(&mut state, bytes);
        }
        has_room
    }

    /// Takes more bytes, whether the budget has them or not: for memory that is used already. New requests are then refused
    /// until enough is given back.
    pub fn grow_anyway(&self, bytes: u64) {
        let mut state = self.0.account.budget.lock();
        self.0.add(&mut state, bytes);
    }

    /// As [`Reservation::grow`], but blocks until the budget has the bytes, `timeout` has passed (`None`: no limit) or `cancel`
    /// fires.
    pub fn grow_within(&self, bytes: u64, timeout: Option<Duration>, cancel: &Cancel) -> bool {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let freed = {
                let mut state = self.0.account.budget.lock();
                if self.0.account.has_room(&state, bytes) {
                    self.0.add(&mut state, bytes);
                    return true;
                }
                state.freed.get_or_insert_with(Cancel::new).clone()
            };
            let timeout = deadline.map_or(never(), |deadline| {
                after(deadline.saturating_duration_since(Instant::now()))
            });
            select! {
                recv(freed.done()) -> _ => {}
                recv(cancel.done()) -> _ => return false,
                recv(timeout) -> _ => return false,
            }
        }
    }

    /// Gives bytes back.
    pub fn shrink(&self, bytes: u64) {
        let mut state = self.0.account.budget.lock();
        self.0.remove(&mut state, bytes.min(self.bytes()));
    }

    /// Gives everything back but `bytes`; takes what is missing to `bytes`, whether the budget has it or not.
    pub fn set(&self, bytes: u64) {
        let mut state = self.0.account.budget.lock();
        let held = self.bytes();
        match bytes.checked_sub(held) {
            Some(more) => self.0.add(&mut state, more),
            None => self.0.remove(&mut state, held - bytes),
        }
    }
}

impl Held {
    fn add(&self, state: &mut State, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let account = self.account.bytes().saturating_add(bytes);
        self.account.set(state, account);
    }

    fn remove(&self, state: &mut State, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let account = self.account.bytes() - bytes;
        self.account.set(state, account);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.account.budget.lock();
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.remove(&mut state, bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_the_budget_and_give_it_back_with_the_last_clone() {
        let budget = MemoryBudget::new(100);
        let first = budget.open(60).unwrap();
        assert!(first.grow(60));
        assert!(budget.open(41).is_none());
        let second = budget.open(40).unwrap();
        assert!(second.grow(30) && !second.grow(11) && second.grow(10));
        assert!(!first.grow(1));
        let clone = first.clone();
        drop(first);
        assert!(!second.grow(1), "a clone still holds the memory");
        drop(clone);
        assert!(second.grow(60));
        second.shrink(30);
        assert_eq!((second.bytes(), budget.used_bytes()), (70, 70));
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn one_request_at_a_time_may_be_larger_than_the_budget() {
        let budget = MemoryBudget::new(10);
        let small = budget.reservation();
        assert!(small.grow(9));
        let large = budget.open(1000).unwrap();
        assert!(large.grow(600) && large.another().grow(400));
        assert!(budget.open(1000).is_none() && budget.open(1).is_none() && !small.grow(1));
        assert!(budget.open(0).is_some(), "a request that expects nothing");
        drop(large);
        assert!(small.grow(1) && budget.open(1000).is_some());
    }

    #[test]
    fn what_is_in_use_already_counts_though_the_budget_does_not_have_it() {
        let budget = MemoryBudget::new(10);
        let (first, second) = (budget.reservation(), budget.reservation());
        first.grow_anyway(8);
        second.grow_anyway(8);
        assert!(!first.grow(1) && budget.open(1).is_none());
        second.set(2);
        assert_eq!(budget.used_bytes(), 10);
    }

    #[test]
    fn a_waiter_gets_what_is_given_back_and_ends_at_its_timeout_or_cancel() {
        let (budget, cancel) = (MemoryBudget::new(10), Cancel::new());
        let (first, second) = (budget.reservation(), budget.reservation());
        assert!(first.grow(10));
        assert!(!second.grow_within(5, Some(Duration::from_millis(1)), &cancel));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| second.grow_within(5, None, &cancel));
            first.shrink(5);
            assert!(waiter.join().unwrap());
        });
        cancel.fire();
        assert!(!second.grow_within(5, None, &cancel));
    }
}
