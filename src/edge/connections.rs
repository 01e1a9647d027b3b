//! The table of open connections: bounds their number, keeps a few for the health check, and cancels or shuts down all of
//! them when the server stops.

use super::client::Client;
use crate::cancel::Cancel;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The soft limit of descriptors is raised to this at most.
const MAX_DESCRIPTORS: u64 = 65_536;
/// A connection has its own socket and up to three for the inner server.
const DESCRIPTORS_PER_CONNECTION: u64 = 4;
/// Each has two threads.
const MAX_CONNECTIONS: u64 = 4_096;
const RESERVED_CONNECTIONS: usize = 8;

/// The open connections.
pub(super) struct Connections {
    table: Mutex<Table>,
    /// Notified when a connection has ended.
    ended: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Connection>,
    next_id: u64,
    /// Whether every request is cancelled, later ones too.
    cancelling: bool,
}

struct Connection {
    client: Arc<Client>,
    /// Present while a request is in flight.
    cancel: Option<Cancel>,
}

/// The right to serve one client. Dropping it removes the connection from the table.
pub(super) struct ConnectionPermit {
    connections: Arc<Connections>,
    id: u64,
    pub(super) client: Arc<Client>,
    pub(super) kind: PermitKind,
}

/// What a permit may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PermitKind {
    /// Any request.
    Regular,
    /// Health checks only: all regular permits are taken.
    Reserved,
}

impl Connections {
    /// An empty table whose limit follows from the limit of descriptors, which this raises first.
    pub(super) fn for_this_process() -> Arc<Self> {
        let limit =
            (raise_descriptor_limit() / DESCRIPTORS_PER_CONNECTION).clamp(1, MAX_CONNECTIONS);
        Arc::new(Self {
            table: Mutex::default(),
            ended: Condvar::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }

    /// Adds a connection. Never blocks. `None`: the reserved permits are taken, too.
    pub(super) fn acquire(self: &Arc<Self>, client: Arc<Client>) -> Option<ConnectionPermit> {
        let mut table = self.lock();
        let kind = match table.open.len() {
            open if open < self.limit => PermitKind::Regular,
            open if open < self.limit + RESERVED_CONNECTIONS => PermitKind::Reserved,
            _ => return None,
        };
        let id = table.next_id;
        table.next_id += 1;
        let connection = Connection {
            client: Arc::clone(&client),
            cancel: None,
        };
        table.open.insert(id, connection);
        Some(ConnectionPermit {
            connections: Arc::clone(self),
            id,
            client,
            kind,
        })
    }

    /// Shuts down the connections that have no request in flight.
    pub(super) fn shut_down_idle(&self) {
        for connection in self.lock().open.values() {
            if connection.cancel.is_none() {
                connection.client.shut_down();
            }
        }
    }

    /// Fires the cancel of every request in flight and of every later one.
    pub(super) fn cancel_all(&self) {
        let mut table = self.lock();
        table.cancelling = true;
        for cancel in table.open.values().filter_map(|c| c.cancel.as_ref()) {
            cancel.fire();
        }
    }

    /// Shuts down every connection.
    pub(super) fn shut_down_all(&self) {
        for connection in self.lock().open.values() {
            connection.client.shut_down();
        }
    }

    /// Blocks until no connection is open or the deadline passes. Returns the number of open connections.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> usize {
        let mut table = self.lock();
        while !table.open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        table.open.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Marks a request as in flight. Returns its cancel.
    pub(super) fn begin_request(&self) -> Cancel {
        let cancel = Cancel::new();
        let mut table = self.connections.lock();
        if table.cancelling {
            cancel.fire();
        }
        if let Some(connection) = table.open.get_mut(&self.id) {
            connection.cancel = Some(cancel.clone());
        }
        cancel
    }

    /// Marks the connection as idle: the request was answered, and only closing is left.
    pub(super) fn end_request(&self) {
        if let Some(connection) = self.connections.lock().open.get_mut(&self.id) {
            connection.cancel = None;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
        self.connections.ended.notify_all();
    }
}

/// Raises the soft limit of descriptors as far as the hard limit and [`MAX_DESCRIPTORS`] allow. Returns the soft limit.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(MAX_DESCRIPTORS);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(MAX_DESCRIPTORS);
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
