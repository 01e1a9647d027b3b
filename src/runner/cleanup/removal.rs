//! Removes objects from the engine on threads of its own: retries until they are gone, and is awaited at shutdown.

use crate::cancel::Cancel;
use crate::docker::{self, Client};
use crate::metrics::{self, Label};
use crate::runner::cleanup::active::ActiveId;
use crate::runner::cleanup::fill::Fill;
use crossbeam_channel::{Receiver, Sender, at, never, select, unbounded};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An object of ours in the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// A container, by id or name, with its anonymous volumes.
    Container(String),
    /// A volume whose filling is not complete, with the helper and the marker.
    Fill(Fill),
    /// A volume, by name.
    Volume(String),
    /// Objects that are removed one after the other, because a later one is in use while an earlier one exists.
    InOrder(Vec<Object>),
}

impl Object {
    /// Whether removing this object removes the other.
    fn covers(&self, other: &Self) -> bool {
        match self {
            Self::InOrder(objects) => self == other || objects.contains(other),
            _ => self == other,
        }
    }

    /// Name or id in the engine; of several objects, that of the first.
    fn id(&self) -> &str {
        match self {
            Self::Container(id) | Self::Volume(id) => id,
            Self::Fill(fill) => &fill.volume,
            Self::InOrder(objects) => objects.first().map_or("", Self::id),
        }
    }
}

/// Owns an object. Dropping it hands the object to the removal threads.
pub(crate) struct RemovalGuard {
    object: Option<Object>,
    removal: Removal,
    // While this exists the reaper leaves the object alone.
    active: Option<ActiveId>,
}

/// The queue of the removal threads. Clones share it.
#[derive(Clone)]
pub(crate) struct Removal {
    queue: Sender<Object>,
    /// Objects for which the engine did not answer in time.
    slow_queue: Sender<Object>,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending {
    objects: Mutex<Vec<Object>>,
    changed: Condvar,
    stopping: Cancel,
}

/// How long to wait before a removal that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The same for a removal that the engine did not answer in time.
const SLOW_RETRY_PAUSE: Duration = Duration::from_secs(10);
/// The same after its first failure, which is often another removal of the same object under way.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How often a wait for removals checks whether it was stopped.
const LOOK_UP: Duration = Duration::from_millis(100);

impl Removal {
    /// Starts the removal threads, and one for objects about which the engine does not answer, so that these never hold up the
    /// others. They end when the last clone is dropped.
    pub(crate) fn start(client: &Client, threads: usize) -> std::io::Result<Self> {
        let (queue, jobs) = unbounded();
        let (slow_queue, slow_jobs) = unbounded();
        let removal = Self {
            queue,
            slow_queue,
            pending: Arc::default(),
        };
        let worker = |lane: Lane| Worker {
            client: client.clone(),
            pending: Arc::clone(&removal.pending),
            lane,
            later: VecDeque::new(),
        };
        for _ in 0..threads {
            let slow = removal.slow_queue.clone();
            spawn("removal", worker(Lane::Quick { slow }), jobs.clone())?;
        }
        spawn("slow-removal", worker(Lane::Slow), slow_jobs)?;
        Ok(removal)
    }

    /// A guard for an object. To be called *before* the create call, with the object's name: a create call may fail on our side
    /// and succeed on the engine's.
    pub(crate) fn own(&self, object: Object) -> RemovalGuard {
        RemovalGuard {
            object: Some(object),
            removal: self.clone(),
            active: None,
        }
    }

    /// Hands an object to the removal threads. Returns at once.
    pub(crate) fn remove(&self, object: Object) {
        self.pending.lock().push(object.clone());
        if let Err(refused) = self.queue.send(object) {
            self.pending.finish(&refused.0);
        }
    }

    /// As [`Removal::remove`], for an object about which the engine did not answer in time.
    pub(crate) fn remove_slowly(&self, object: Object) {
        self.pending.lock().push(object.clone());
        if let Err(refused) = self.slow_queue.send(object) {
            self.pending.finish(&refused.0);
        }
    }

    /// Whether an object was handed over and is not removed yet.
    pub(crate) fn is_pending(&self, object: &Object) -> bool {
        let pending = self.pending.lock();
        pending.iter().any(|other| other.covers(object))
    }

    /// Hands objects over, and blocks until these and every earlier removal of the same objects are done. New objects of the same
    /// names are then safe. False: `stop` fired first.
    pub(crate) fn remove_all(&self, objects: &[Object], stop: &Cancel) -> bool {
        objects
            .iter()
            .for_each(|object| self.remove(object.clone()));
        let mut pending = self.pending.lock();
        let is_wanted = |pending: &Object| objects.iter().any(|object| pending.covers(object));
        while pending.iter().any(is_wanted) {
            if stop.is_fired() {
                return false;
            }
            let waited = self.pending.changed.wait_timeout(pending, LOOK_UP);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Blocks until nothing is left to remove, or the deadline passes. Returns the number of objects left.
    pub(crate) fn settle(&self, deadline: Instant) -> usize {
        let mut pending = self.pending.lock();
        while !pending.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            let waited = self.pending.changed.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pending.len()
    }

    /// As [`Removal::settle`], after which the threads try once more to remove what is left, and end.
    pub(crate) fn finish(&self, deadline: Instant) -> usize {
        let left = self.settle(deadline);
        self.pending.stopping.fire();
        left
    }
}

fn spawn(
    name: &str,
    mut worker: Worker,
    jobs: Receiver<Object>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(256 * 1024)
        .spawn(move || {
            worker.work(&jobs);
            worker.finish(&jobs);
        })
}

/// One removal thread. An object that cannot be removed now is put aside, so that it does not block the queue.
struct Worker {
    client: Client,
    pending: Arc<Pending>,
    lane: Lane,
    later: VecDeque<Retry>,
}

/// What a thread does about an object for which the engine did not answer in time.
enum Lane {
    /// Hands it on.
    Quick { slow: Sender<Object> },
    /// Tries again, as long as it takes.
    Slow,
}

struct Retry {
    due: Instant,
    object: Object,
    attempts: u32,
}

impl Worker {
    /// Removes objects until the queue is closed or the server stops.
    fn work(&mut self, jobs: &Receiver<Object>) {
        let stopping = self.pending.stopping.clone();
        loop {
            let due = self.later.front().map_or_else(never, |next| at(next.due));
            select! {
                recv(jobs) -> job => match job {
                    Ok(object) => self.attempt(object, 1),
                    Err(_) => return,
                },
                recv(due) -> _ => {
                    if let Some(next) = self.later.pop_front() {
                        self.attempt(next.object, next.attempts + 1);
                    }
                }
                recv(stopping.done()) -> _ => return,
            }
        }
    }

    fn attempt(&mut self, object: Object, attempts: u32) {
        let begun = Instant::now();
        let Err(error) = remove_once(&self.client, &object) else {
            if matches!(object, Object::Container(_) | Object::InOrder(_)) {
                metrics::PHASES.observe([Label::Word("remove")], begun.elapsed());
            }
            self.pending.finish(&object);
            return;
        };
        if attempts == 3 {
            log::warn!("{object:?} is not removed yet: {error}");
        }
        let pause = match &self.lane {
            Lane::Quick { slow } if is_unanswered(&error) => {
                log::warn!("{object:?} is not removed yet, and tried again apart: {error}");
                if let Err(refused) = slow.send(object) {
                    self.pending.finish(&refused.0);
                }
                return;
            }
            Lane::Quick { .. } if attempts == 1 => FIRST_PAUSE,
            Lane::Quick { .. } => RETRY_PAUSE,
            Lane::Slow => SLOW_RETRY_PAUSE,
        };
        let due = Instant::now() + pause;
        // In the order of their times, since pauses differ.
        let place = self.later.partition_point(|other| other.due <= due);
        let retry = Retry {
            due,
            object,
            attempts,
        };
        self.later.insert(place, retry);
    }

    /// Tries once more for each object that is left. What then remains is for the next server's reaper.
    fn finish(&mut self, jobs: &Receiver<Object>) {
        let later: Vec<Retry> = self.later.drain(..).collect();
        for object in later.into_iter().map(|retry| retry.object).chain(jobs) {
            if let Err(error) = remove_once(&self.client, &object) {
                log::error!("{object:?} is left in the engine: {error}");
            }
            self.pending.finish(&object);
        }
    }
}

/// Tries to remove an object once. An object that does not exist counts as removed. The engine answers 409 while another
/// removal of the same object is under way.
pub(crate) fn remove_once(client: &Client, object: &Object) -> Result<(), docker::Error> {
    match object {
        Object::Container(id) => client.container_remove(id),
        Object::Volume(name) => client.volume_remove(name),
        Object::Fill(fill) => fill.roll_back(client),
        Object::InOrder(objects) => objects
            .iter()
            .try_for_each(|object| remove_once(client, object)),
    }
}

/// Whether the engine accepted a call and did not answer in time. Some of its calls for an object that hangs never end.
pub(crate) fn is_unanswered(error: &docker::Error) -> bool {
    matches!(error, docker::Error::TimedOut { .. })
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Vec<Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the object is no longer pending, or until the deadline. Returns whether it is not.
    fn wait_for(&self, object: &Object, deadline: Instant) -> bool {
        let mut objects = self.lock();
        while objects.contains(object) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            let waited = self.changed.wait_timeout(objects, left);
            objects = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn finish(&self, object: &Object) {
        let mut objects = self.lock();
        if let Some(place) = objects.iter().position(|other| other == object) {
            objects.swap_remove(place);
        }
        self.changed.notify_all();
    }
}

impl RemovalGuard {
    /// Name or id of the object in the engine.
    pub(crate) fn id(&self) -> &str {
        self.object.as_ref().map_or("", Object::id)
    }

    /// Replaces the owned object: it is now known by its id, or has become part of the new one.
    pub(crate) fn become_object(&mut self, object: Object) {
        self.object = Some(object);
    }

    /// Gives up ownership without removing the object. Returns its name or id.
    pub(crate) fn release(mut self) -> String {
        let id = self.id().to_owned();
        self.object = None;
        id
    }

    /// Owns another guard's object too, which is removed after this one's.
    pub(crate) fn then(&mut self, mut next: Self) {
        let mut objects = Vec::new();
        for object in [self.object.take(), next.object.take()]
            .into_iter()
            .flatten()
        {
            match object {
                Object::InOrder(several) => objects.extend(several),
                object => objects.push(object),
            }
        }
        self.object = Some(Object::InOrder(objects));
    }

    /// Hands the object to the removal threads, and blocks until it is removed, or until the deadline. Returns whether it is.
    pub(crate) fn remove_by(mut self, deadline: Instant) -> bool {
        let Some(object) = self.object.take() else {
            return true;
        };
        self.removal.remove(object.clone());
        self.removal.pending.wait_for(&object, deadline)
    }

    /// Keeps an id in use for as long as this guard exists.
    pub(crate) fn keep_active(&mut self, active: ActiveId) {
        self.active = Some(active);
    }
}

impl Drop for RemovalGuard {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            self.removal.remove(object);
        }
    }
}
