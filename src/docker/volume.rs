//! Endpoints below `/volumes`.
use super::call::{Call, label_filter, path};
use super::client::Client;
use super::error::Error;
use super::response::ignore_not_found;
use super::types::{Volume, VolumeCreate, null_as_default};
use serde::Deserialize;
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
