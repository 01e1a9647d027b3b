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
use std::time::Duration;

const VARIABLE: &str = "ONEOFF_RECORD=";
/// Longer records go into a volume: the engine keeps configurations in memory.
const INLINE_BYTES: usize = 32 * 1024;

/// Records of asynchronous runs in the engine.
pub(crate) struct Store {
    engine: Engine,
    /// Longest record.
    limit_bytes: u64,
}

/// Why a record cannot be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// There is no such record, or it was never written to its end: its caller never got an answer.
    Absent,
    /// This one record cannot be read, with the reason.
    Unreadable(String),
    /// The engine cannot be asked for any record.
    Engine(docker::Error),
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
    /// A store of records of at most `limit_bytes` bytes.
    pub(crate) fn new(engine: Engine, limit_bytes: u64) -> Self {
        Self {
            engine,
            limit_bytes,
        }
    }

    /// Stores a record, and returns its container's id. Errors: the engine failed, or [`Error::TooLarge`].
    pub(crate) fn save<T: Serialize>(
        &self,
        run: &str,
        role: Role,
        record: &T,
    ) -> Result<String, Error> {
        let json = serde_json::to_vec(record).map_err(|error| Error::Engine(error.to_string()))?;
        if json.len() as u64 > self.limit_bytes {
            let limit = self.limit_bytes;
            let detail = format!("a run or a result of more than {limit} bytes cannot be kept");
            return Err(Error::TooLarge(detail));
        }
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

    /// Loads a record from its container's name or id.
    pub(crate) fn load<T: for<'de> Deserialize<'de>>(
        &self,
        container: &str,
    ) -> Result<T, LoadError> {
        let client = &self.engine.client;
        let inspected = client
            .container_inspect(container)
            .map_err(|error| self.load_error(error))?;
        let variables = &inspected.config.env;
        if let Some(json) = variables
            .iter()
            .find_map(|line| line.strip_prefix(VARIABLE))
        {
            return parse(json.as_bytes());
        }
        let mut tar = client
            .archive_get(container, &format!("{STAGE}/record"))
            .map_err(|error| self.load_error(error))?;
        match archive::collect_file(&mut *tar, self.limit_bytes) {
            Ok(Collected::File(json)) => parse(&json),
            Ok(Collected::Other(kind)) => Err(LoadError::Unreadable(format!("it is a {kind}"))),
            Err(error) => Err(LoadError::Unreadable(error.to_string())),
        }
    }

    /// Tells a fault of one record from a fault of the engine.
    fn load_error(&self, error: docker::Error) -> LoadError {
        const PATIENCE: Duration = Duration::from_secs(2);
        match error {
            docker::Error::Status { status: 404, .. } => LoadError::Absent,
            docker::Error::Status { .. } | docker::Error::Malformed { .. } => {
                LoadError::Unreadable(error.to_string())
            }
            // Engines have been seen to hang on one container, and to answer for all others.
            docker::Error::TimedOut { .. } if self.engine.client.version(PATIENCE).is_ok() => {
                LoadError::Unreadable(error.to_string())
            }
            _ => LoadError::Engine(error),
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

fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(json).map_err(|error| {
        // Not serde's own words, which may quote the record.
        let place = format!("line {}, column {}", error.line(), error.column());
        LoadError::Unreadable(format!(
            "its JSON is broken or of another version, at {place}"
        ))
    })
}
