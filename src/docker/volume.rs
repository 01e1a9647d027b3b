//! Endpoints below `/volumes`.
use super::call::{Call, label_filter, path};
use super::client::Client;
use super::error::Error;
use super::response::ignore_not_found;
use super::types::{Volume, VolumeCreate, null_as_default};
use serde::Deserialize;
use std::collections::BTreeMap;
use ureq::http::Method;

impl Client {
    /// `POST /volumes/create`; if a volume of that name exists, it is returned unchanged.
    pub fn volume_create(&self, config: &VolumeCreate) -> Result<Volume, Error> {
        let call = Call::new("volume_create", Method::POST, "/volumes/create".into());
        self.send(call.json(config)?)?.json()
    }

    /// `GET /volumes/{name}`
    pub fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        let name = path("volume_inspect", "/volumes", name, "")?;
        self.send(Call::new("volume_inspect", Method::GET, name))?
            .json()
    }

    /// `GET /volumes?filters={"label":[…]}`: volumes that carry all of `labels` (`key` or `key=value`).
    pub fn volume_list(&self, labels: &[String]) -> Result<Vec<Volume>, Error> {
        let call = Call::new("volume_list", Method::GET, "/volumes".into());
        let listed: VolumeListResponse = self
            .send(call.query("filters", &label_filter(labels)))?
            .json()?;
        Ok(listed.volumes)
    }

    /// Options for a volume of the `local` driver that is like one without options, except that no prune takes it: Docker's prunes
    /// leave volumes with options alone, used or not. Empty where that does not hold (Podman) or cannot be asked for (before API
    /// 1.41).
    pub fn options_against_prunes(&self) -> Result<BTreeMap<String, String>, Error> {
        let api = self.spoken_api("options_against_prunes")?;
        let applies = !api.is_podman && api.is_at_least(1, 41);
        // A quota of zero bytes is no quota, whatever the file system.
        Ok(applies
            .then(|| ("size".to_owned(), "0".to_owned()))
            .into_iter()
            .collect())
    }

    /// Whether a container can mount a part of a volume, by [`VolumeOptions::subpath`](super::types::VolumeOptions): from API 1.45 on.
    pub fn mounts_parts_of_volumes(&self) -> Result<bool, Error> {
        let api = self.spoken_api("mounts_parts_of_volumes")?;
        Ok(!api.is_podman && api.is_at_least(1, 45))
    }

    /// `DELETE /volumes/{name}`; Ok if it does not exist, 409 while a container uses it.
    pub fn volume_remove(&self, name: &str) -> Result<(), Error> {
        let name = path("volume_remove", "/volumes", name, "")?;
        ignore_not_found(self.send(Call::new("volume_remove", Method::DELETE, name)))
    }
}

/// `VolumeListResponse` of the Engine API.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeListResponse {
    #[serde(default, deserialize_with = "null_as_default")]
    volumes: Vec<Volume>,
}
