//! The engine as database: a record of an asynchronous run is a container that is never started and carries JSON, in a variable
//! of its own configuration if it is short, else in a volume. First there is the request, under a name that says whether the run
//! may have started and whether its stdin was delivered; at the end there is the outcome in its place.

use crate::archive::{self, Collected, UidGid};
use crate::docker;
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::staging::helper::{HelperSpec, STAGE, anonymous_volume};
use crate::runner::staging::upload::{staged_name, upload};
use serde::{Deserialize, Serialize};

const VARIABLE: &str = "ONEOFF_RECORD=";
/// Longer records go into a volume: the engine keeps configurations in memory.
const INLINE_BYTES: usize = 32 * 1024;

/// Records of asynchronous runs in the engine.
pub(crate) struct Store {
    engine: Engine,
}

/// Name of the container with a run's request, while it is certain that the run has not started.
fn waiting_name(run: &str) -> String {
    format!("oneoff-{run}-request")
}

/// How far a run has come, as the name of the container with its request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Set just before the start.
    Started,
    /// Set once all of stdin is on its way to the container.
    Fed,
}

impl Mark {
    /// Name of the container with the request of a run that has come this far.
    pub(crate) fn name(self, run: &str) -> String {
        let word = match self {
            Self::Started => "started",
            Self::Fed => "fed",
        };
        format!("oneoff-{run}-{word}")
    }
}

/// Name of the container with a run's outcome.
pub(crate) fn result_name(run: &str) -> String {
    format!("oneoff-{run}-result")
}

impl Store {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Stores a record, and returns its container's id.
    pub(crate) fn save<T: Serialize>(
        &self,
        run: &str,
        role: Role,
        record: &T,
    ) -> Result<String, Error> {
        let json = serde_json::to_vec(record).map_err(|error| Error::Engine(error.to_string()))?;
        let labels = self.engine.identity.async_labels(run, role);
        let name = match role {
            Role::Result => result_name(run),
            _ => waiting_name(run),
        };
        if json.len() <= INLINE_BYTES {
            let helper = HelperSpec {
                name: &name,
                labels,
                mounts: Vec::new(),
                env: vec![format!("{VARIABLE}{}", String::from_utf8_lossy(&json))],
            };
            return Ok(helper.create(&self.engine)?.release());
        }
        let volume = anonymous_volume(labels.clone());
        let helper = HelperSpec::with_mount(&name, labels, volume).create(&self.engine)?;
        let client = &self.engine.client;
        upload(client, helper.id(), UidGid::default(), move |packer| {
            packer.file(&staged_name("record"), 0o600, &json)
        })?;
        Ok(helper.release())
    }

    /// Loads a record from its container's name or id. `None`: the record is not complete.
    pub(crate) fn load<T: for<'de> Deserialize<'de>>(
        &self,
        container: &str,
    ) -> Result<Option<T>, docker::Error> {
        const LIMIT_BYTES: u64 = 4 << 30;
        let client = &self.engine.client;
        let inspected = client.container_inspect(container)?;
        let inline = inspected
            .config
            .env
            .iter()
            .find_map(|line| line.strip_prefix(VARIABLE));
        if let Some(json) = inline {
            return Ok(serde_json::from_str(json).ok());
        }
        let tar = client.archive_get(container, &format!("{STAGE}/record"));
        match tar.map(|mut tar| archive::collect_file(&mut *tar, LIMIT_BYTES)) {
            Ok(Ok(Collected::File(json))) => Ok(serde_json::from_slice(&json).ok()),
            Err(error) if !matches!(error, docker::Error::Status { status: 404, .. }) => Err(error),
            _ => Ok(None),
        }
    }

    /// Renames the container with the request to say how far the run has come. No server starts a run with a mark again.
    pub(crate) fn mark(&self, run: &str, container: &str, mark: Mark) -> Result<(), docker::Error> {
        let name = mark.name(run);
        let client = &self.engine.client;
        client.container_rename(container, &name).or_else(|error| {
            // The answer to an earlier attempt may have been lost; what counts is the name.
            match client.container_inspect(container) {
                Ok(found) if found.name == format!("/{name}") => Ok(()),
                _ => Err(error),
            }
        })
    }

    /// Removes a container of a run. Returns at once; the removal threads do the work.
    pub(crate) fn remove(&self, container: &str) {
        let object = Object::Container(container.to_owned());
        self.engine.removal.remove(object);
    }
}
