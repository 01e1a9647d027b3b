//! The runner as its fronts see it: every operation, each in the caller's own thread.

use super::{Error, PullPolicy, RunResult, RunSpec, Sink};
use crate::cancel::Cancel;
use serde::Serialize;
use serde_json::Value;

/// Runs containers, one engine behind it. Clones share everything.
#[derive(Clone)]
pub struct Runner {}

/// What a front's requests look like where they differ.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    /// First element of every fault's `loc`: `body` or `arguments`.
    pub root: &'static str,
    /// What an absent `pull_policy` means.
    pub pull_policy: PullPolicy,
}

/// Answer of `GET /health`.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The engine's version.
    pub docker_version: String,
    /// The newest API version the engine speaks.
    pub api_version: String,
}

/// An image the engine has.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Image {
    /// Its content's digest.
    pub id: String,
    /// `repo:tag` names.
    pub tags: Vec<String>,
    /// `repo@sha256:…` names.
    pub digests: Vec<String>,
    /// Size in bytes.
    pub size_bytes: i64,
    /// When it was built, in seconds since 1970.
    pub created: i64,
}

#[allow(unused_variables)]
impl Runner {
    /// Checks a run request (an object with [`super::RunRequest`]'s fields) against its types and the server's policy.
    pub fn check(&self, request: Value, front: Front) -> Result<RunSpec, Error> {
        unimplemented!()
    }

    /// Runs it. Blocks until the result is there; firing `cancel` ends the run with [`super::Reason::Cancelled`].
    /// Nothing is left in the engine, whatever happens: removal goes on behind the answer.
    pub fn run(&self, spec: RunSpec, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        unimplemented!()
    }

    /// Creates a named volume and fills it (an object with [`super::VolumeRequest`]'s fields), or writes over one of ours.
    /// Gives a sentence that says what was done. All or nothing.
    pub fn volume_create(&self, request: Value, front: Front) -> Result<String, Error> {
        unimplemented!()
    }

    /// Content of a named volume of ours, as base64 tar.gz.
    pub fn volume_read(&self, name: &str) -> Result<String, Error> {
        unimplemented!()
    }

    /// Removes a named volume of ours.
    pub fn volume_delete(&self, name: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Asks the engine for its version, within 2 s.
    pub fn health(&self) -> Result<Health, Error> {
        unimplemented!()
    }

    /// The images that the engine has.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        unimplemented!()
    }
}
