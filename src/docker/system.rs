//! `GET /version` and `GET /info`.
use super::api_version;
use super::call::{Call, Timeouts};
use super::client::Client;
use super::error::Error;
use super::types::{SystemInfo, Version};
use std::time::Duration;
use ureq::http::Method;

impl Client {
    /// `GET /version`, unversioned, so that it works before negotiation; but with a pinned version in that, so that it fails
    /// where every other call does. An engine with which no version can be agreed on is an error here as in every other call.
    /// Blocks for at most `timeout`.
    pub fn version(&self, timeout: Duration) -> Result<Version, Error> {
        let call = Call::new("version", Method::GET, "/version".into());
        let call = match self.is_version_pinned() {
            true => call,
            false => call.unversioned(),
        };
        let version: Version = self.send(call.timeouts(Timeouts::Total(timeout)))?.json()?;
        if !self.is_version_pinned() {
            api_version::check_range("version", &version.api_version, &version.min_api_version)?;
        }
        Ok(version)
    }

    /// Whether the engine is Podman, which imitates the Engine API.
    pub fn is_podman(&self) -> Result<bool, Error> {
        Ok(self.spoken_api("is_podman")?.is_podman)
    }

    /// `GET /info`. Blocks for at most `timeout`.
    pub fn info(&self, timeout: Duration) -> Result<SystemInfo, Error> {
        let call = Call::new("info", Method::GET, "/info".into());
        self.send(call.timeouts(Timeouts::Total(timeout)))?.json()
    }

    /// As [`Client::info`], of up to a minute ago.
    pub fn recent_info(&self, timeout: Duration) -> Result<SystemInfo, Error> {
        match self.info_cache().get() {
            Some(info) => Ok(info),
            None => Ok(self.info_cache().put(self.info(timeout)?)),
        }
    }
}
