//! The engine as database: a record of an asynchronous run is a container that is never started and carries JSON, in a variable
//! of its own configuration if it is short, else in a volume. First there is the request, under a name that says whether the run
//! may have started, whether its stdin was delivered and whether it is cancelled; at the end there is the outcome in its place.

use crate::archive::{self, Collected, UidGid};
use crate::docker::{self, Labels};
use crate::runner::cleanup::engine::Engine;
use crate::runner::cleanup::labels::Role;
use crate::runner::cleanup::removal::Object;
use crate::runner::error::Error;
use crate::runner::staging::helper::{HelperSpec, STAGE, anonymous_volume};
use crate::runner::staging::upload::upload;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const VARIABLE: &str = "ONEOFF_RECORD=";
/// How often a record is stored anew if its container is removed while it is stored, as a prune may do.
const SAVE_ATTEMPTS: u32 = 4;
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

/// What the name of the container with a run's request says of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestState {
    /// It has not started, for certain.
    Waiting,
    /// It may have started: set just before the start. No server starts it again.
    Started,
    /// It has started, and all of its stdin is on its way to the container.
    Fed,
    /// It is cancelled, and must not start.
    Cancelled,
}

impl RequestState {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Waiting, Self::Started, Self::Fed, Self::Cancelled];

    /// The part of the container's name that says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "request",
            Self::Started => "started",
            Self::Fed => "fed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Name of the container with a run's request.
pub(crate) fn request_name(run: &str, state: RequestState) -> String {
    format!("oneoff-{run}-{}", state.word())
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

    /// The JSON of a record. Error: [`Error::TooLarge`].
    pub(crate) fn to_json<T: Serialize>(&self, record: &T) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(record).map_err(|error| Error::Engine(error.to_string()))?;
        if json.len() as u64 > self.limit_bytes {
            let limit = self.limit_bytes;
            let detail = format!("a run or a result of more than {limit} bytes cannot be kept");
            return Err(Error::TooLarge(detail));
        }
        Ok(json)
    }

    /// Stores a request's record, and returns its container's id.
    pub(crate) fn save_request(
        &self,
        run: &str,
        state: RequestState,
        json: &[u8],
    ) -> Result<String, Error> {
        let labels = self.engine.identity.async_labels(run, Role::Request);
        self.save(&request_name(run, state), &labels, json)
    }

    /// Stores the record of an outcome, and returns its container's id. Errors: the engine failed, or [`Error::TooLarge`].
    pub(crate) fn save_outcome<T: Serialize>(
        &self,
        run: &str,
        record: &T,
    ) -> Result<String, Error> {
        let labels = self.engine.identity.async_labels(run, Role::Result);
        self.save(&result_name(run), &labels, &self.to_json(record)?)
    }

    fn save(&self, name: &str, labels: &Labels, json: &[u8]) -> Result<String, Error> {
        for _ in 0..SAVE_ATTEMPTS {
            if let Some(container) = self.attempt(name, labels, json)? {
                return Ok(container);
            }
        }
        let pruned = "the engine removes what is to be stored while it is stored";
        Err(Error::Engine(pruned.into()))
    }

    /// `None`: a prune removed the helpers' image just before the container was created, or the container before it was filled.
    fn attempt(&self, name: &str, labels: &Labels, json: &[u8]) -> Result<Option<String>, Error> {
        let is_inline = json.len() <= INLINE_BYTES;
        let helper = HelperSpec {
            name,
            labels: labels.clone(),
            mounts: match is_inline {
                true => Vec::new(),
                false => vec![anonymous_volume(labels.clone())],
            },
            env: match is_inline {
                true => vec![format!("{VARIABLE}{}", String::from_utf8_lossy(json))],
                false => Vec::new(),
            },
        };
        let helper = match helper.create(&self.engine) {
            Err(error) if error.is_object_gone() => return Ok(None),
            other => other?,
        };
        if is_inline {
            return Ok(Some(helper.release()));
        }
        let client = &self.engine.client;
        let uploaded = upload(
            client,
            helper.id(),
            UidGid::default(),
            move |packer, names| packer.file(&names.below("record"), 0o600, json),
        );
        match uploaded {
            Ok(()) => Ok(Some(helper.release())),
            Err(_) if self.is_gone(helper.id()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_gone(&self, container: &str) -> bool {
        let found = self.engine.client.container_inspect(container);
        matches!(found, Err(docker::Error::Status { status: 404, .. }))
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

    /// Separates a fault of one record from a fault of the engine.
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

    /// Renames the container with the request, so that every later server knows the run's state. False: there is no such
    /// container any more.
    pub(crate) fn mark(
        &self,
        run: &str,
        container: &str,
        state: RequestState,
    ) -> Result<bool, docker::Error> {
        let name = request_name(run, state);
        let client = &self.engine.client;
        let Err(error) = client.container_rename(container, &name) else {
            return Ok(true);
        };
        // The answer to an earlier attempt may have been lost; what counts is the name.
        match client.container_inspect(container) {
            Ok(found) if found.name == format!("/{name}") => Ok(true),
            Err(docker::Error::Status { status: 404, .. }) => Ok(false),
            _ => Err(error),
        }
    }

    /// Removes a container of a run now. A removal that is under way already counts too.
    pub(crate) fn remove_now(&self, container: &str) -> Result<(), docker::Error> {
        match self.engine.client.container_remove(container) {
            Err(docker::Error::Status { status: 409, .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes a container of a run. Returns at once; the removal threads do the work.
    pub(crate) fn remove(&self, container: &str) {
        let object = Object::Container(container.to_owned());
        self.engine.removal.remove(object);
    }
}

/// Reads the JSON of a record. Error: [`LoadError::Unreadable`].
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(json).map_err(|error| {
        // Not serde's own words, which may quote the record.
        let place = format!("line {}, column {}", error.line(), error.column());
        LoadError::Unreadable(format!(
            "its JSON is broken or of another version, at {place}"
        ))
    })
}
