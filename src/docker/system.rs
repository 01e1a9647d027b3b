//! `/_ping` and `/version`.
use super::{Client, Error, Version};
use std::time::Duration;

#[allow(unused_variables)]
impl Client {
    /// `GET /version` within `timeout`, whatever state the engine is in.
    pub fn version(&self, timeout: Duration) -> Result<Version, Error> {
        unimplemented!()
    }
}
