//! The last answer of `GET /info`, of which runs need the runtimes: it takes the engine longer than most calls.
use super::types::SystemInfo;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time for which an answer of `/info` is used again.
const AGE: Duration = Duration::from_secs(60);

/// The last answer of `/info`.
#[derive(Default)]
pub(super) struct InfoCache(Mutex<Option<(Instant, SystemInfo)>>);

impl InfoCache {
    /// None if it is too old.
    pub(super) fn get(&self) -> Option<SystemInfo> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = cached.as_ref().filter(|(asked, _)| asked.elapsed() < AGE);
        fresh.map(|(_, info)| info.clone())
    }

    /// Returns what it is given.
    pub(super) fn put(&self, info: SystemInfo) -> SystemInfo {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *cached = Some((Instant::now(), info.clone()));
        info
    }
}
