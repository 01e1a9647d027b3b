//! Sessions: who they belong to, what was agreed on, which calls they run. They live in memory only.

use super::Caller;
use crate::http::Request;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    /// What the client addresses it with.
    pub id: String,
    pub(super) caller: Caller,
    credential: Credential,
    used: Mutex<Instant>,
}

/// What a client proved itself with; nothing where no token is required.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credential(Option<String>);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

impl Credential {
    /// The credential that a request carried, if the server asked for one.
    pub(super) fn of(request: &Request) -> Self {
        let header = request.header("authorization").map(str::to_owned);
        Self(header.filter(|_| request.authenticated))
    }
}

impl Session {
    /// A new session.
    pub(super) fn new(id: String, credential: Credential, caller: Caller) -> Self {
        Self {
            id,
            caller,
            credential,
            used: Mutex::new(Instant::now()),
        }
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is found by its session's id.
pub(super) trait Addressed {
    /// The session.
    fn session(&self) -> &Session;
}

impl Addressed for Session {
    fn session(&self) -> &Session {
        self
    }
}

/// Live sessions of one transport, by id.
#[derive(Debug)]
pub(super) struct Registry<T> {
    limit: usize,
    live: Mutex<HashMap<String, Arc<T>>>,
}

impl<T: Addressed> Registry<T> {
    /// A registry for so many sessions.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            live: Mutex::new(HashMap::new()),
        }
    }

    /// Adds a session. Gives it back when its id is taken or there are too many.
    pub(super) fn add(&self, entry: Arc<T>) -> Result<(), Arc<T>> {
        let mut live = self.lock();
        if live.len() >= self.limit || live.contains_key(&entry.session().id) {
            return Err(entry);
        }
        live.insert(entry.session().id.clone(), entry);
        Ok(())
    }

    /// Adds a session that nothing but its id keeps alive: at the limit, the idle one that was used least recently
    /// makes room.
    pub(super) fn add_in_place_of_oldest(&self, entry: Arc<T>) -> Result<(), Arc<T>> {
        let mut live = self.lock();
        if live.len() >= self.limit {
            let idle = live.values().filter(|e| e.session().caller.calls.is_idle());
            let oldest = idle.min_by_key(|e| e.session().used());
            let oldest = oldest.map(|e| e.session().id.clone());
            oldest.and_then(|id| live.remove(&id));
        }
        drop(live);
        self.add(entry)
    }

    /// The session of this id, for its owner alone.
    pub(super) fn find(&self, id: &str, credential: &Credential) -> Option<Arc<T>> {
        let found = self.lock().get(id).cloned()?;
        found.session().touch();
        Some(found).filter(|entry| entry.session().credential == *credential)
    }

    /// Ends a session: its calls are cancelled.
    pub(super) fn end(&self, id: &str) {
        let ended = self.lock().remove(id);
        if let Some(ended) = ended {
            ended.session().caller.calls.close();
        }
    }

    /// Ends every session.
    pub(super) fn end_all(&self) -> Vec<Arc<T>> {
        let ended: Vec<Arc<T>> = self.lock().drain().map(|(_, entry)| entry).collect();
        for entry in &ended {
            entry.session().caller.calls.close();
        }
        ended
    }

    /// How many sessions live.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<T>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client may choose this id: `[A-Za-z0-9_-]{1,128}`.
pub(super) fn may_be_chosen(id: &str) -> bool {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=128).contains(&id.len()) && id.bytes().all(sane)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::mcp::calls::{Calls, Floor};

    fn session(id: &str, credential: Option<&str>) -> Arc<Session> {
        let credential = Credential(credential.map(str::to_owned));
        let calls = Calls::new(Arc::new(Floor::new(9)), 9);
        let caller = Caller {
            room: None,
            peer: Arc::default(),
            calls: Arc::new(calls),
            declared: None,
        };
        Arc::new(Session::new(id.into(), credential, caller))
    }

    #[test]
    fn a_session_is_found_by_its_owner_alone_and_never_taken_over() {
        let registry = Registry::new(9);
        registry.add(session("a", Some("Bearer x"))).unwrap();
        assert!(registry.add(session("a", Some("Bearer x"))).is_err());
        assert!(
            registry
                .find("a", &Credential(Some("Bearer x".into())))
                .is_some()
        );
        assert!(
            registry
                .find("a", &Credential(Some("Bearer y".into())))
                .is_none()
        );
        assert!(registry.find("a", &Credential(None)).is_none());
        assert!(!format!("{registry:?}").contains("Bearer"));
        registry.end("a");
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn at_the_limit_the_least_recently_used_makes_room() {
        let registry = Registry::new(2);
        registry.add(session("a", None)).unwrap();
        registry.add(session("b", None)).unwrap();
        registry.find("a", &Credential(None)).unwrap();
        assert!(registry.add(session("c", None)).is_err());
        registry.add_in_place_of_oldest(session("c", None)).unwrap();
        assert!(registry.find("b", &Credential(None)).is_none());
        assert!(registry.find("a", &Credential(None)).is_some());
    }

    #[test]
    fn a_client_may_choose_an_id_of_harmless_characters() {
        assert!(may_be_chosen("test123") && may_be_chosen("A_b-9"));
        for bad in ["", "a b", "a/b", "ü", "a\n", &"x".repeat(129)] {
            assert!(!may_be_chosen(bad), "{bad}");
        }
    }
}
