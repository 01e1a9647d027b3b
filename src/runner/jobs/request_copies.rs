//! Copies in memory of the requests that the engine stores, because a prune of the engine removes the engine's. Their bytes are
//! limited together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the bytes of all copies. Clones share one count.
#[derive(Clone)]
pub(crate) struct RequestCopies {
    limit_bytes: u64,
    used_bytes: Arc<Mutex<u64>>,
}

/// A copy. Dropping it gives its bytes back.
pub(crate) struct RequestCopy {
    json: Arc<[u8]>,
    copies: RequestCopies,
}

impl RequestCopies {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            used_bytes: Arc::default(),
        }
    }

    /// Keeps a copy of a request's record. `None`: there is no room for it beside the others. One alone always has room.
    pub(crate) fn keep(&self, json: &[u8]) -> Option<RequestCopy> {
        let mut used = self.lock();
        let bytes = json.len() as u64;
        if *used > 0 && *used + bytes > self.limit_bytes {
            return None;
        }
        *used += bytes;
        Some(RequestCopy {
            json: json.into(),
            copies: self.clone(),
        })
    }

    /// Keeps a copy of a request that was accepted before, whatever the limit.
    pub(crate) fn keep_anyway(&self, json: &[u8]) -> RequestCopy {
        *self.lock() += json.len() as u64;
        RequestCopy {
            json: json.into(),
            copies: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestCopy {
    pub(crate) fn json(&self) -> Arc<[u8]> {
        self.json.clone()
    }
}

impl Drop for RequestCopy {
    fn drop(&mut self) {
        *self.copies.lock() -= self.json.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_one_limit_and_one_alone_may_exceed_it() {
        let copies = RequestCopies::new(10);
        let large = copies.keep(&[0; 11]);
        assert!(large.is_some() && copies.keep(&[0]).is_none());
        drop(large);
        let small = copies.keep(&[0; 6]);
        assert!(small.is_some() && copies.keep(&[0; 5]).is_none());
        assert!(copies.keep(&[0; 4]).is_some());
    }
}
