//! Who is connected: a bounded number of seats, a few more that only `/health` may use, and a way to send everybody
//! home at the end.

use super::client::Client;
use crate::cancel::Cancel;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More descriptors than this are not asked for.
const MOST_DESCRIPTORS: u64 = 65_536;
/// A connection costs its own socket and up to three for the inner one.
const DESCRIPTORS_PER_SEAT: u64 = 4;
/// Two threads each.
const MOST_SEATS: u64 = 4_096;
const RESERVED_SEATS: usize = 8;

/// All seats.
pub(super) struct Connections {
    table: Mutex<Table>,
    left: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Table {
    taken: HashMap<u64, Occupant>,
    next: u64,
    stopping: bool,
}

struct Occupant {
    client: Arc<Client>,
    /// Present while a request is in flight.
    cancel: Option<Cancel>,
}

/// A taken seat; dropping it frees it.
pub(super) struct ConnectionPermit {
    seats: Arc<Connections>,
    number: u64,
    pub(super) client: Arc<Client>,
    pub(super) kind: SeatKind,
}

/// What a seat is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeatKind {
    /// Any request.
    Regular,
    /// Health checks only: the service is full.
    Reserved,
}

impl Connections {
    /// As many seats as descriptors allow, after raising their limit.
    pub(super) fn for_this_process() -> Arc<Self> {
        let limit = (raise_descriptor_limit() / DESCRIPTORS_PER_SEAT).clamp(1, MOST_SEATS);
        Arc::new(Self {
            table: Mutex::default(),
            left: Condvar::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }

    /// Seats a client, unless even the reserved seats are taken.
    pub(super) fn take(self: &Arc<Self>, client: Arc<Client>) -> Option<ConnectionPermit> {
        let mut table = self.lock();
        let kind = match table.taken.len() {
            taken if taken < self.limit => SeatKind::Regular,
            taken if taken < self.limit + RESERVED_SEATS => SeatKind::Reserved,
            _ => return None,
        };
        let number = table.next;
        table.next += 1;
        let occupant = Occupant {
            client: Arc::clone(&client),
            cancel: None,
        };
        table.taken.insert(number, occupant);
        Some(ConnectionPermit {
            seats: Arc::clone(self),
            number,
            client,
            kind,
        })
    }

    /// Cuts connections that carry no request right now.
    pub(super) fn cut_idle(&self) {
        for occupant in self.lock().taken.values() {
            if occupant.cancel.is_none() {
                occupant.client.cut();
            }
        }
    }

    /// Cancels every request in flight, and every later one.
    pub(super) fn cancel_all(&self) {
        let mut table = self.lock();
        table.stopping = true;
        for cancel in table.taken.values().filter_map(|o| o.cancel.as_ref()) {
            cancel.fire();
        }
    }

    /// Cuts every connection.
    pub(super) fn cut_all(&self) {
        for occupant in self.lock().taken.values() {
            occupant.client.cut();
        }
    }

    /// Waits until nobody is seated. Returns how many are, when `patience` is over.
    pub(super) fn wait_empty(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut table = self.lock();
        while !table.taken.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.left.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        table.taken.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// A request is in flight from now on; this is its cancel.
    pub(super) fn begin_request(&self) -> Cancel {
        let cancel = Cancel::new();
        let mut table = self.seats.lock();
        if table.stopping {
            cancel.fire();
        }
        if let Some(occupant) = table.taken.get_mut(&self.number) {
            occupant.cancel = Some(cancel.clone());
        }
        cancel
    }

    /// The request has been answered; only the closing is left.
    pub(super) fn end_request(&self) {
        if let Some(occupant) = self.seats.lock().taken.get_mut(&self.number) {
            occupant.cancel = None;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.seats.lock().taken.remove(&self.number);
        self.seats.left.notify_all();
    }
}

/// Raises the soft limit as far as it makes sense; returns what it is then.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(MOST_DESCRIPTORS);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(MOST_DESCRIPTORS);
    if wanted <= current {
        return current;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}
