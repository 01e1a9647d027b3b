//! Sessions of the HTTP transports: ids, and the registry that finds them. Sessions live in memory only.
//!
//! A session has no owner of its own. There is at most one token, which the edge checks before any request gets here: all who
//! have it are one principal, and without a token so are all who reach the port. Among them the session id decides.

use super::client::ClientState;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    /// The session id that the client sends with every message.
    pub id: String,
    /// The client's state.
    pub client: Arc<ClientState>,
    last_used: Mutex<Instant>,
}

impl Session {
    /// A session, not registered yet.
    pub(super) fn new(id: String, client: Arc<ClientState>) -> Self {
        Self {
            id,
            client,
            last_used: Mutex::new(Instant::now()),
        }
    }

    fn touch(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_used(&self) -> Instant {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that a [`Registry`] finds by its session.
pub(super) trait HasSession {
    /// The session.
    fn session(&self) -> &Session;
}

impl HasSession for Session {
    fn session(&self) -> &Session {
        self
    }
}

/// The open sessions of one transport, by id.
#[derive(Debug)]
pub(super) struct Registry<T> {
    limit: usize,
    live: Mutex<HashMap<String, Arc<T>>>,
}

impl<T: HasSession> Registry<T> {
    /// An empty registry for at most `limit` sessions.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            live: Mutex::new(HashMap::new()),
        }
    }

    /// Adds a session. Errors: its id is in use or the limit is reached; returns the session.
    pub(super) fn add(&self, entry: Arc<T>) -> Result<(), Arc<T>> {
        let mut live = self.lock();
        if live.len() >= self.limit || live.contains_key(&entry.session().id) {
            return Err(entry);
        }
        live.insert(entry.session().id.clone(), entry);
        Ok(())
    }

    /// Adds a session. At the limit it replaces the least recently used session without running calls. Errors: every
    /// session has running calls; returns the new one.
    pub(super) fn add_in_place_of_oldest(&self, entry: Arc<T>) -> Result<(), Arc<T>> {
        let mut live = self.lock();
        if live.len() >= self.limit {
            let idle = live.values().filter(|e| e.session().client.calls.is_idle());
            let oldest = idle.min_by_key(|e| e.session().last_used());
            let oldest = oldest.map(|e| e.session().id.clone());
            oldest.and_then(|id| live.remove(&id));
        }
        drop(live);
        self.add(entry)
    }

    /// The session with this id. Counts as a use of the session.
    pub(super) fn find(&self, id: &str) -> Option<Arc<T>> {
        let found = self.lock().get(id).cloned()?;
        found.session().touch();
        Some(found)
    }

    /// Removes a session and cancels its calls. Unknown ids are ignored.
    pub(super) fn end(&self, id: &str) {
        let ended = self.lock().remove(id);
        if let Some(ended) = ended {
            ended.session().client.calls.close();
        }
    }

    /// Removes every session, cancels their calls and returns them.
    pub(super) fn end_all(&self) -> Vec<Arc<T>> {
        let ended: Vec<Arc<T>> = self.lock().drain().map(|(_, entry)| entry).collect();
        for entry in &ended {
            entry.session().client.calls.close();
        }
        ended
    }

    /// The number of open sessions.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<T>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client may choose this id: it must match `[A-Za-z0-9_-]{1,128}`.
pub(super) fn may_be_chosen(id: &str) -> bool {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=128).contains(&id.len()) && id.bytes().all(sane)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::mcp::calls::{CallLimit, RunningCalls};

    fn session(id: &str) -> Arc<Session> {
        let calls = RunningCalls::new(Arc::new(CallLimit::new(9)), 9);
        let client = Arc::new(ClientState::new(calls));
        Arc::new(Session::new(id.into(), client))
    }

    #[test]
    fn the_id_of_an_open_session_cannot_be_taken() {
        let registry = Registry::new(9);
        registry.add(session("a")).unwrap();
        assert!(registry.add(session("a")).is_err());
        assert!(registry.find("a").is_some() && registry.find("b").is_none());
        registry.end("a");
        assert!(registry.find("a").is_none());
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn at_the_limit_a_new_session_replaces_the_least_recently_used() {
        let registry = Registry::new(2);
        registry.add(session("a")).unwrap();
        registry.add(session("b")).unwrap();
        registry.find("a").unwrap();
        assert!(registry.add(session("c")).is_err());
        registry.add_in_place_of_oldest(session("c")).unwrap();
        assert!(registry.find("b").is_none());
        assert!(registry.find("a").is_some());
    }

    #[test]
    fn a_client_may_choose_an_id_of_harmless_characters() {
        assert!(may_be_chosen("test123") && may_be_chosen("A_b-9"));
        for bad in ["", "a b", "a/b", "ü", "a\n", &"x".repeat(129)] {
            assert!(!may_be_chosen(bad), "{bad}");
        }
    }
}
