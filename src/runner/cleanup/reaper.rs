//! Removes what processes that died left in the engine.

use crate::cancel::Cancel;
use crate::docker::{self, ContainerSummary, Volume};
use crate::process_identity::ProcessIdentity;
use crate::runner::cleanup::active::Active;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::fill::{FILL_PART, Fill};
use crate::runner::cleanup::labels::{ASKS, INSTANCE, KEPT, has_our_name, is_named};
use crate::runner::cleanup::owners::{Owners, Unheard};
use crate::runner::cleanup::removal::{Object, is_unanswered, remove_once};
use crate::runner::cleanup::verdict::{Judge, Verdict, marked};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Finds and removes leftovers. Clones share their count.
#[derive(Clone)]
pub(crate) struct Reaper {
    engine: Engine,
    active: Active,
    removed: Arc<AtomicU64>,
    /// Ids of containers that are not ours although they have our labels, so that each is logged once.
    strangers: Arc<Mutex<HashSet<String>>>,
    /// The unheard processes of the last sweep that had any; a later sweep uses them again.
    unheard: Arc<Mutex<Unheard>>,
}

/// What a sweep did, and what it could not decide.
#[derive(Default)]
pub(crate) struct Swept {
    /// Number of objects removed.
    pub(crate) removed: u64,
    /// Owners that have to be asked whether they live, before more can be removed or adopted.
    pub(crate) suspects: HashSet<ProcessIdentity>,
}

impl Reaper {
    /// A reaper that leaves alone whatever belongs to an active run.
    pub(crate) fn new(engine: Engine, active: Active) -> Self {
        Self {
            engine,
            active,
            removed: Arc::default(),
            strangers: Arc::default(),
            unheard: Arc::default(),
        }
    }

    /// How many objects it and its clones have removed.
    pub(crate) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// Sweeps once more, with what earlier sweeps knew of dead processes.
    pub(crate) fn sweep_again(&self, stop: &Cancel) -> Result<Swept, docker::Error> {
        let unheard = self.unheard.lock();
        let unheard = unheard.unwrap_or_else(PoisonError::into_inner).clone();
        self.sweep(&unheard, stop)
    }

    /// Sweeps once. Processes in `unheard` count as dead. What cannot be removed now is left to the next sweep, and never keeps the
    /// sweep from the other objects. If `stop` fires, the sweep ends early. Errors: the engine does not list its objects.
    pub(crate) fn sweep(&self, unheard: &Unheard, stop: &Cancel) -> Result<Swept, docker::Error> {
        let goes_on = || !stop.is_fired();
        if !unheard.is_empty() {
            let mut known = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
            known.clone_from(unheard);
        }
        let client = &self.engine.client;
        // Before the listing: an operation of this process may end while its objects are judged.
        let _look = self.active.look();
        let any_of_ours = [INSTANCE.to_owned()];
        let mut containers = client.container_list(&any_of_ours)?;
        containers.retain(|container| !self.is_stranger(container));
        let volumes = client.volume_list(&any_of_ours)?;
        let us = &self.engine.identity;
        let judge = Judge {
            us,
            active: &self.active,
            owners: Owners::new(us, unheard, &containers),
            marked: marked(&volumes),
        };
        let mut swept = Swept::default();
        for container in containers.into_iter().take_while(|_| goes_on()) {
            let verdict = judge.verdict(&container.labels);
            self.carry_out(verdict, &mut swept, || self.container_object(&container));
        }
        // After the containers: a volume that one of them mounts cannot be removed.
        for volume in volumes.into_iter().take_while(|_| goes_on()) {
            if !volume.labels.contains_key(KEPT) {
                let verdict = judge.verdict(&volume.labels);
                self.carry_out(verdict, &mut swept, || Ok(volume_object(&volume)));
            }
        }
        for question in client.container_list(&[ASKS.to_owned()])? {
            if has_our_name(&question) {
                let verdict = judge.verdict_on_question(&question.labels);
                self.carry_out(verdict, &mut swept, || self.container_object(&question));
            }
        }
        Ok(swept)
    }

    fn carry_out(
        &self,
        verdict: Verdict,
        swept: &mut Swept,
        object: impl Fn() -> Result<Object, docker::Error>,
    ) {
        let done = match verdict {
            Verdict::Keep => return,
            Verdict::Ask(owner) => {
                swept.suspects.insert(owner);
                return;
            }
            Verdict::Remove => object().map(|object| swept.removed += self.remove(object)),
            Verdict::Kill => object().and_then(|object| self.kill(&object)),
        };
        if let Err(error) = done {
            log::debug!("a leftover stays for the next sweep: {error}");
        }
    }

    /// Whether the container is not ours: anyone may run an image that carries our labels, such as one that was committed from
    /// one of our containers. Ours are recognized by their names, which no image can choose.
    fn is_stranger(&self, container: &ContainerSummary) -> bool {
        if has_our_name(container) {
            return false;
        }
        let inspected = self.engine.client.image_inspect(&container.image_id);
        let why = match inspected {
            Ok(image) if !image.config.labels.contains_key(INSTANCE) => return false,
            Ok(_) => "has this service's labels from its image".to_owned(),
            Err(error) => format!("may have this service's labels from its image: {error}"),
        };
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if strangers.insert(container.id.clone()) {
            log::warn!("container {} {why}; it is left alone", container.id);
        }
        true
    }

    /// Ends an asynchronous run that is past its time limit, and that no server watches.
    fn kill(&self, object: &Object) -> Result<(), docker::Error> {
        let Object::Container(id) = object else {
            return Ok(());
        };
        match self.engine.client.container_kill(id, "KILL") {
            Ok(()) => log::info!("killed container {id}, which is past its deadline"),
            // It has ended by itself, or is gone.
            Err(docker::Error::Status {
                status: 404 | 409, ..
            }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
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
                // A later sweep would wait for it again, before it comes to the others.
                if is_unanswered(&error) {
                    self.engine.removal.remove_slowly(object);
                // A caller who wants to create that volume again waits for this removal.
                } else if matches!(object, Object::Fill(_)) {
                    self.engine.removal.remove(object);
                }
                0
            }
        }
    }

    /// A container inherits its image's labels, which anyone may set. So it counts as a helper of a fill only if its name is that
    /// of one.
    fn container_object(&self, container: &ContainerSummary) -> Result<Object, docker::Error> {
        match Fill::from_labels(&container.labels) {
            Some(fill) if is_named(container, FILL_PART) => {
                // The engine may have created the helper after its server died and the marker was removed. The marker says that
                // the volume is incomplete until both are gone.
                fill.create_marker(&self.engine.client, &container.labels)?;
                Ok(Object::Fill(fill))
            }
            _ => Ok(Object::Container(container.id.clone())),
        }
    }
}

fn volume_object(volume: &Volume) -> Object {
    let fill = Fill::from_labels(&volume.labels).map(Object::Fill);
    fill.unwrap_or_else(|| Object::Volume(volume.name.clone()))
}
