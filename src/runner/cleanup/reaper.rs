//! Removes what a process that died left in the engine: at start, and every 30 s.

use crate::cancel::Cancel;
use crate::docker::{self, Labels};
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::fill::Fill;
use crate::runner::cleanup::labels::{INSTANCE, KEPT};
use crate::runner::cleanup::removal::{Object, remove_once};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Finds and removes leftovers. Clones share their count.
#[derive(Clone)]
pub(crate) struct Reaper {
    engine: Engine,
    active: Active,
    removed: Arc<AtomicU64>,
}

/// The reaper's thread. Dropping this does not stop it; [`Patrol::stop`] does.
pub(crate) struct Patrol {
    stop: Cancel,
    ended: Cancel,
}

const PERIOD: Duration = Duration::from_secs(30);
/// The period while the engine cannot be reached.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// How long stopping waits for the thread.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

impl Reaper {
    /// A reaper that leaves alone whatever belongs to an active run.
    pub(crate) fn new(engine: Engine, active: Active) -> Self {
        Self {
            engine,
            active,
            removed: Arc::default(),
        }
    }

    /// How many objects it and its clones have removed.
    pub(crate) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// Sweeps on a thread of its own, now and every 30 s. Calls `first` before each sweep, and skips the sweep if that fails.
    /// Errors: no thread.
    pub(crate) fn patrol(
        self,
        first: impl Fn() -> Result<(), docker::Error> + Send + 'static,
    ) -> std::io::Result<Patrol> {
        let (stop, ended) = (Cancel::new(), Cancel::new());
        let patrol = Patrol {
            stop: stop.clone(),
            ended: ended.clone(),
        };
        let rounds = move || {
            let _ended = FireOnDrop(ended);
            loop {
                let pause = match first().and_then(|()| self.sweep()) {
                    Ok(_) => PERIOD,
                    Err(error) => {
                        log::debug!("the sweep failed: {error}");
                        RETRY_PERIOD
                    }
                };
                if stop.wait(pause) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("reaper".into())
            .stack_size(1024 * 1024)
            .spawn(rounds)?;
        Ok(patrol)
    }

    /// Sweeps once. Returns the number of objects removed. What cannot be removed now is left to the next sweep.
    pub(crate) fn sweep(&self) -> Result<u64, docker::Error> {
        let mut removed = 0;
        let any_of_ours = [INSTANCE.to_owned()];
        for container in self.engine.client.container_list(&any_of_ours)? {
            if self.is_leftover(&container.labels) {
                removed += self.remove(self.container_object(container)?);
            }
        }
        // After the containers: a volume that one of them mounts cannot be removed.
        for volume in self.engine.client.volume_list(&any_of_ours)? {
            if !volume.labels.contains_key(KEPT) && self.is_leftover(&volume.labels) {
                let fill = Fill::from_labels(&volume.labels).map(Object::Fill);
                removed += self.remove(fill.unwrap_or(Object::Volume(volume.name)));
            }
        }
        Ok(removed)
    }

    fn is_leftover(&self, labels: &Labels) -> bool {
        self.engine
            .identity
            .is_leftover(labels, &|run| self.active.contains(run))
    }

    fn remove(&self, object: Object) -> u64 {
        if self.engine.removal.is_pending(&object) {
            return 0;
        }
        match remove_once(&self.engine.client, &object) {
            Ok(()) => {
                log::info!("removed a leftover: {object:?}");
                self.removed.fetch_add(1, Ordering::Relaxed);
                1
            }
            Err(error) => {
                log::debug!("{object:?} is not removed yet: {error}");
                // A caller who wants to create that volume again waits for this removal.
                if matches!(object, Object::Fill(_)) {
                    self.engine.removal.remove(object);
                }
                0
            }
        }
    }

    /// A container inherits its image's labels, which anyone may set. So it counts as a helper of a fill only if its name is that
    /// of one.
    fn container_object(
        &self,
        container: docker::ContainerSummary,
    ) -> Result<Object, docker::Error> {
        match Fill::from_labels(&container.labels) {
            Some(fill) if container.names.contains(&format!("/{}", fill.helper())) => {
                // The engine may have created the helper after its server died and the marker was removed. The marker says that
                // the volume is incomplete until both are gone.
                fill.create_marker(&self.engine.client, &container.labels)?;
                Ok(Object::Fill(fill))
            }
            _ => Ok(Object::Container(container.id)),
        }
    }
}

impl Patrol {
    /// Stops the thread, and blocks until it has ended, for a moment at most: it may be waiting for an engine that hangs, and
    /// nothing depends on its end.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stop.fire();
        let left = deadline.saturating_duration_since(Instant::now());
        self.ended.wait(left.min(STOP_TIMEOUT));
    }
}

struct FireOnDrop(Cancel);

impl Drop for FireOnDrop {
    fn drop(&mut self) {
        self.0.fire();
    }
}
