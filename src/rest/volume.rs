//! `POST /volume`, `GET /volume/{name}`, `DELETE /volume/{name}`.

use super::api_profile::API_PROFILE;
use super::{body, problems};
use crate::http::{Reply, Request};
use crate::memory::Reservation;
use crate::runner::Runner;
use serde::Serialize;

/// Answer of `POST /volume`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct VolumeCreated {
    /// `success`.
    pub status: String,
    /// What was done.
    pub detail: String,
}

/// Answer of `GET /volume/{name}`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct VolumeContent {
    /// The volume's name.
    pub name: String,
    /// `directory`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Base64 of a tar.gz, postable again.
    pub content: String,
    /// The memory of the content.
    #[serde(skip)]
    #[schemars(skip)]
    pub memory: Option<Reservation>,
}

/// Creates and fills a named volume, or overwrites one that this service created.
pub fn post(runner: &Runner, mut request: Request) -> Reply {
    let value = match body::json(&mut request) {
        Ok(value) => value,
        Err(reply) => return *reply,
    };
    match runner.volume_create(value, API_PROFILE, &request.cancel) {
        Ok(detail) => Reply::json(
            200,
            &VolumeCreated {
                status: "success".into(),
                detail,
            },
        ),
        Err(error) => problems::reply(&error),
    }
}

/// The content of a volume that this service created.
pub fn get(runner: &Runner, name: &str) -> Reply {
    match runner.volume_read(name) {
        Ok(read) => Reply::large_json(
            200,
            VolumeContent {
                name: name.into(),
                kind: "directory".into(),
                content: read.content,
                memory: Some(read.memory),
            },
        ),
        Err(error) => problems::reply(&error),
    }
}

/// Removes a volume that this service created.
pub fn delete(runner: &Runner, name: &str) -> Reply {
    match runner.volume_delete(name) {
        Ok(()) => Reply::empty(204),
        Err(error) => problems::reply(&error),
    }
}
