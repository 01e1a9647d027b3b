//! `/volumes` endpoints.
use super::{Client, Error, Volume, VolumeCreate};

#[allow(unused_variables)]
impl Client {
    /// `POST /volumes/create`
    pub fn volume_create(&self, config: &VolumeCreate) -> Result<Volume, Error> {
        unimplemented!()
    }
    /// `GET /volumes/{name}`
    pub fn volume_inspect(&self, name: &str) -> Result<Volume, Error> {
        unimplemented!()
    }
    /// `GET /volumes?filters={"label":[…]}`
    pub fn volume_list(&self, labels: &[String]) -> Result<Vec<Volume>, Error> {
        unimplemented!()
    }
    /// `DELETE /volumes/{name}`; not found is Ok.
    pub fn volume_remove(&self, name: &str) -> Result<(), Error> {
        unimplemented!()
    }
}
