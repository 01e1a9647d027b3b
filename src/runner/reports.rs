//! What the runner says of the engine and of itself.

use crate::docker::ImageSummary;
use schemars::JsonSchema;
use serde::Serialize;

/// Answer of `GET /health`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The engine's version.
    pub docker_version: String,
    /// The newest API version the engine speaks.
    pub api_version: String,
}

/// How many runs a runner executes and could execute.
#[derive(Clone, Copy, Debug)]
pub struct Occupancy {
    /// Runs that may be executed at once.
    pub slots: usize,
    /// Slots that are free.
    pub free: usize,
    /// Runs whose callers wait that may be queued.
    pub queue_length: usize,
    /// Runs that are queued.
    pub waiting: usize,
    /// Runs and volume operations that have objects in the engine, or soon will.
    pub active: usize,
    /// Leftovers that the reaper has removed.
    pub reaped: u64,
    /// Bytes of the memory budget that are taken.
    pub memory_used_bytes: u64,
    /// Bytes of the memory budget.
    pub memory_limit_bytes: u64,
}

/// An image the engine has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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

impl From<ImageSummary> for Image {
    fn from(image: ImageSummary) -> Self {
        Self {
            id: image.id,
            tags: named(image.repo_tags),
            digests: named(image.repo_digests),
            size_bytes: image.size,
            created: image.created,
        }
    }
}

/// An untagged image is listed under this name by some engines (20.10).
fn named(names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| !name.starts_with("<none>"))
        .collect()
}
