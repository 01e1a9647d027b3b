//! `/images` endpoints.
use super::{AuthConfig, Client, Error, ImageInspect, ImageSummary, PullProgress};
use std::io::Read;

#[allow(unused_variables)]
impl Client {
    /// `GET /images/{name}/json`
    pub fn image_inspect(&self, name: &str) -> Result<ImageInspect, Error> {
        unimplemented!()
    }
    /// `GET /images/json`
    pub fn image_list(&self) -> Result<Vec<ImageSummary>, Error> {
        unimplemented!()
    }
    /// `POST /images/create?fromImage=&tag=&platform=` with `X-Registry-Auth`; `progress` sees every message and ends
    /// the pull by returning false (the connection is dropped, the engine cancels). An error that the engine
    /// reports within the stream becomes `Error::Status` too.
    pub fn image_pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<&AuthConfig>,
        progress: &mut dyn FnMut(PullProgress) -> bool,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    /// `POST /images/create?fromSrc=-&repo=&tag=&changes=`: imports a plain tar as an image; returns its id.
    pub fn image_import(
        &self,
        repo: &str,
        tag: &str,
        changes: &[&str],
        tar: &mut (dyn Read + Send),
    ) -> Result<String, Error> {
        unimplemented!()
    }
    /// `DELETE /images/{name}`; not found is Ok.
    pub fn image_remove(&self, name: &str) -> Result<(), Error> {
        unimplemented!()
    }
}
