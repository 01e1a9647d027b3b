//! Which server of an instance name adopts the runs of dead ones. If two did, a run could be started twice.
//!
//! The leader is the server whose container has the name that all servers of one instance name agree on: the engine gives a name
//! only once. A server leads for as long as it has an adopted run.

use crate::docker::{self, ContainerSummary};
use crate::process_identity::Life;
use crate::runner::cleanup::active::{Active, HeldId};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::{ASYNC_LIFE, INSTANCE, LEADS, is_named, owner};
use crate::runner::cleanup::owners::{LEAD_PART, Owners};
use crate::runner::cleanup::removal::RemovalGuard;
use crate::runner::staging::transfer_container::HelperSpec;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// This server's place in the succession. Clones share it.
#[derive(Clone)]
pub(crate) struct Succession {
    engine: Engine,
    active: Active,
    held: Arc<Mutex<Weak<Lead>>>,
}

/// The right to adopt runs. It is given up when the last clone of its `Arc` is dropped, or by [`Succession::give_up`].
pub(crate) struct Lead {
    container: Mutex<Option<RemovalGuard>>,
    _id: HeldId,
}

impl Succession {
    pub(crate) fn new(engine: Engine, active: Active) -> Self {
        Self {
            engine,
            active,
            held: Arc::default(),
        }
    }

    /// Takes the lead, or keeps it. `None`: another server has it, and may live. `containers` are a listing of all of ours, from
    /// which `owners` were made.
    pub(crate) fn lead(
        &self,
        containers: &[ContainerSummary],
        owners: &Owners<'_>,
    ) -> Result<Option<Arc<Lead>>, docker::Error> {
        let instance = &self.engine.identity.instance;
        if let Some(other) = owners.other_leader(instance)
            && owners.life(other) != Life::Dead
        {
            return Ok(None);
        }
        let is_lead = |container: &&ContainerSummary| {
            container.labels.get(INSTANCE) == Some(instance)
                && container.labels.contains_key(LEADS)
                && is_named(container, LEAD_PART)
        };
        let found = containers.iter().find(is_lead);
        let is_ours = |found: &ContainerSummary| {
            owner(&found.labels).as_ref() == Some(&self.engine.identity.owner)
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let leading = held.upgrade();
        if let (Some(lead), true) = (&leading, found.is_some_and(is_ours)) {
            return Ok(Some(lead.clone()));
        }
        if let Some(dead) = found {
            // By its id: another server may have put its own in the place meanwhile.
            self.engine.client.container_remove(&dead.id)?;
        }
        let container = match self.create() {
            Err(docker::Error::Status { status: 409, .. }) => return Ok(None),
            other => other?,
        };
        // It led already if its container was pruned.
        let lead = leading.unwrap_or_else(|| {
            Arc::new(Lead {
                container: Mutex::default(),
                _id: self.active.hold(&lead_id(instance)),
            })
        });
        lead.put(Some(container));
        *held = Arc::downgrade(&lead);
        Ok(Some(lead))
    }

    fn create(&self) -> Result<RemovalGuard, docker::Error> {
        let identity = &self.engine.identity;
        let id = lead_id(&identity.instance);
        let mut labels = identity.labels(&id, ASYNC_LIFE);
        labels.insert(LEADS.into(), "true".into());
        let name = format!("oneoff-{id}-{LEAD_PART}");
        HelperSpec {
            name: &name,
            labels,
            mounts: Vec::new(),
            env: Vec::new(),
        }
        .create(&self.engine)
    }

    /// Gives up the lead, for the end of this process: the next server then adopts what is left.
    pub(crate) fn give_up(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lead) = held.upgrade() {
            lead.put(None);
        }
    }
}

impl Lead {
    fn put(&self, container: Option<RemovalGuard>) {
        *self
            .container
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = container;
    }
}

/// The same for every server of this name, whatever its version (FNV-1a).
fn lead_id(instance: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = instance.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{hash:016x}")
}
