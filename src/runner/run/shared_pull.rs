//! Pulls that several runs share. Runs that need the same image with the same credentials at the same time wait for one
//! call of the engine, made by one thread, the puller. The call is cancelled when its last waiter leaves.

use crate::cancel::Cancel;
use crate::docker::{AuthConfig, Client, PullProgress};
use crate::runner::error::Error;
use crate::runner::run::pull_error::pull_error;
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The pulls in progress. Clones share them.
#[derive(Clone)]
pub(crate) struct SharedPulls {
    client: Client,
    pulls: Arc<Mutex<HashMap<PullKey, SharedPull>>>,
    // Ids are never reused, so that a waiter that leaves late cannot remove a waiter of a later pull.
    next_waiter_id: Arc<AtomicU64>,
}

/// Pulls with equal keys are shared. The credentials are part of it: a run must not profit from another caller's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PullKey {
    pub(crate) reference: String,
    pub(crate) platform: Option<String>,
    /// The credentials as JSON.
    pub(crate) auth: Option<String>,
}

/// One pull in progress and the runs that wait for it.
struct SharedPull {
    waiters: Vec<Waiter>,
    /// The latest progress of each layer, in order of first appearance: sent to waiters that join late.
    layers: Vec<PullProgress>,
    /// Fires when the last waiter has left.
    abandoned: Cancel,
}

struct Waiter {
    id: u64,
    updates: Sender<Update>,
}

/// What the puller sends to each waiter.
#[derive(Clone)]
enum Update {
    Progress(PullProgress),
    Complete(Result<(), Error>),
}

/// A run's membership in a shared pull. Dropping it leaves the pull.
pub(crate) struct PullHandle {
    pulls: SharedPulls,
    key: PullKey,
    waiter_id: u64,
    updates: Receiver<Update>,
}

/// Why [`PullHandle::wait`] returned.
pub(crate) enum WaitEnd {
    Complete(Result<(), Error>),
    DeadlinePassed,
    Cancelled,
}

impl SharedPulls {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            pulls: Arc::default(),
            next_waiter_id: Arc::default(),
        }
    }

    /// Joins the pull with this key, or starts it on a new thread. Does not block.
    pub(crate) fn join(&self, key: &PullKey, auth: Option<AuthConfig>) -> PullHandle {
        let (sender, updates) = unbounded();
        let waiter_id = self.next_waiter_id.fetch_add(1, Ordering::Relaxed);
        let handle = PullHandle {
            pulls: self.clone(),
            key: key.clone(),
            waiter_id,
            updates,
        };
        let waiter = Waiter {
            id: waiter_id,
            updates: sender,
        };
        let mut pulls = self.lock();
        if let Some(pull) = pulls.get_mut(key).filter(|pull| !pull.abandoned.is_fired()) {
            for layer in &pull.layers {
                let _ = waiter.updates.send(Update::Progress(layer.clone()));
            }
            pull.waiters.push(waiter);
            return handle;
        }
        let abandoned = Cancel::new();
        let pull = SharedPull {
            waiters: vec![waiter],
            layers: Vec::new(),
            abandoned: abandoned.clone(),
        };
        pulls.insert(key.clone(), pull);
        drop(pulls);
        self.spawn_puller(key, auth, abandoned);
        handle
    }

    fn spawn_puller(&self, key: &PullKey, auth: Option<AuthConfig>, abandoned: Cancel) {
        let (pulls, pulled_key) = (self.clone(), key.clone());
        let puller = move || pulls.pull(&pulled_key, auth.as_ref(), &abandoned);
        if let Err(error) = std::thread::Builder::new()
            .name("pull".into())
            .spawn(puller)
        {
            let pull = self.lock().remove(key);
            let result = Err(Error::Overloaded(format!(
                "no thread for the pull: {error}"
            )));
            complete(pull, &result);
        }
    }

    /// The puller's thread: returns when the engine is done or the pull is abandoned.
    fn pull(&self, key: &PullKey, auth: Option<&AuthConfig>, abandoned: &Cancel) {
        let mut progress = |progress: PullProgress| {
            if progress != PullProgress::default() {
                self.send_progress(key, abandoned, progress);
            }
            !abandoned.is_fired()
        };
        let result =
            self.client
                .image_pull(&key.reference, key.platform.as_deref(), auth, &mut progress);
        self.complete(
            key,
            abandoned,
            &result.map_err(|error| pull_error(auth, error)),
        );
    }

    fn send_progress(&self, key: &PullKey, abandoned: &Cancel, progress: PullProgress) {
        let mut pulls = self.lock();
        if let Some(pull) = pulls.get_mut(key).filter(|_| !abandoned.is_fired()) {
            pull.record(&progress);
            let update = Update::Progress(progress);
            pull.waiters
                .retain(|waiter| waiter.updates.send(update.clone()).is_ok());
        }
    }

    fn complete(&self, key: &PullKey, abandoned: &Cancel, result: &Result<(), Error>) {
        let mut pulls = self.lock();
        // By now, another pull may have the key of an abandoned one.
        if abandoned.is_fired() {
            return;
        }
        let pull = pulls.remove(key);
        drop(pulls);
        complete(pull, result);
    }

    fn leave(&self, key: &PullKey, waiter_id: u64) {
        let mut pulls = self.lock();
        let Some(pull) = pulls.get_mut(key) else {
            return;
        };
        let Some(index) = pull
            .waiters
            .iter()
            .position(|waiter| waiter.id == waiter_id)
        else {
            return;
        };
        pull.waiters.remove(index);
        if pull.waiters.is_empty() {
            pull.abandoned.fire();
            pulls.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PullKey, SharedPull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PullHandle {
    /// Blocks until the pull is complete, the deadline passes or `cancel` fires. Passes progress to `on_progress`.
    pub(crate) fn wait(
        &self,
        deadline: Instant,
        cancel: &Cancel,
        on_progress: &dyn Fn(PullProgress),
    ) -> WaitEnd {
        let timeout = crossbeam_channel::at(deadline);
        loop {
            select! {
                recv(self.updates) -> update => match update {
                    Ok(Update::Progress(progress)) => on_progress(progress),
                    Ok(Update::Complete(result)) => return WaitEnd::Complete(result),
                    Err(_) => {
                        let error = Error::Engine("the pull ended without a result".into());
                        return WaitEnd::Complete(Err(error));
                    }
                },
                recv(cancel.done()) -> _ => return WaitEnd::Cancelled,
                recv(timeout) -> _ => return WaitEnd::DeadlinePassed,
            }
        }
    }
}

impl Drop for PullHandle {
    fn drop(&mut self) {
        self.pulls.leave(&self.key, self.waiter_id);
    }
}

impl SharedPull {
    fn record(&mut self, progress: &PullProgress) {
        match self.layers.iter_mut().find(|layer| layer.id == progress.id) {
            Some(layer) => layer.clone_from(progress),
            None => self.layers.push(progress.clone()),
        }
    }
}

/// Sends the result to every waiter of a pull that is no longer in the table.
fn complete(pull: Option<SharedPull>, result: &Result<(), Error>) {
    for waiter in pull.into_iter().flat_map(|pull| pull.waiters) {
        let _ = waiter.updates.send(Update::Complete(result.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker;

    #[test]
    fn a_late_waiter_first_receives_the_latest_progress_of_each_layer() {
        let host = docker::Host::Unix("/nonexistent".into());
        let client = Client::new(host, None).unwrap_or_else(|_| unreachable!());
        let pulls = SharedPulls::new(client);
        let key = PullKey {
            reference: "app:1".into(),
            platform: None,
            auth: None,
        };
        let layer = |id: &str, status: &str| PullProgress {
            status: status.into(),
            id: id.into(),
            ..PullProgress::default()
        };
        let mut pull = SharedPull {
            waiters: Vec::new(),
            layers: Vec::new(),
            abandoned: Cancel::new(),
        };
        for (id, status) in [
            ("a", "Downloading"),
            ("b", "Downloading"),
            ("a", "Pull complete"),
        ] {
            pull.record(&layer(id, status));
        }
        let abandoned = pull.abandoned.clone();
        pulls.lock().insert(key.clone(), pull);
        let handle = pulls.join(&key, None);
        pulls.send_progress(&key, &abandoned, layer("b", "Verifying"));
        let received = handle.updates.try_iter().map(|update| match update {
            Update::Progress(progress) => format!("{} {}", progress.id, progress.status),
            Update::Complete(_) => "complete".into(),
        });
        let received: Vec<String> = received.collect();
        assert_eq!(
            received,
            ["a Pull complete", "b Downloading", "b Verifying"]
        );
    }
}
