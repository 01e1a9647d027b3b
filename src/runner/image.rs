//! An image as callers see it.

use crate::docker::ImageSummary;
use serde::Serialize;

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
