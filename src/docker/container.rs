//! `/containers` endpoints.
use super::{
    Client, ContainerCreate, ContainerCreated, ContainerInspect, ContainerSummary, Error, WaitExit,
};
use std::io::Read;

/// A container's output: the multiplexed stream of `attach` or `logs`. Read it with [`super::stdcopy`].
pub struct Attached {
    /// the raw stream
    pub stream: Box<dyn Read + Send>,
}

/// A `wait` whose headers have arrived, so that the engine is watching; [`PendingWait::finish`] blocks for the exit.
pub struct PendingWait {}

impl PendingWait {
    /// Blocks until the container exits, without a deadline (something else kills it).
    pub fn finish(self) -> Result<WaitExit, Error> {
        unimplemented!()
    }
}

/// The write half of a container's stdin; dropping it (or [`Stdin::close`]) gives the process end-of-file.
pub struct Stdin {}

impl Stdin {
    /// Half-closes.
    pub fn close(self) -> std::io::Result<()> {
        unimplemented!()
    }
}

impl std::io::Write for Stdin {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> std::io::Result<()> {
        unimplemented!()
    }
}

/// What `HEAD /containers/{id}/archive` says of a path (`X-Docker-Container-Path-Stat`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// base name
    pub name: String,
    /// bytes
    pub size: i64,
    /// Go `os.FileMode` bits: 1<<31 directory, 1<<27 symlink
    pub mode: u32,
    /// where a symlink leads, in the container
    pub link_target: String,
}

#[allow(missing_docs, unused_variables)]
impl Client {
    /// `POST /containers/create`
    pub fn container_create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        config: &ContainerCreate,
    ) -> Result<ContainerCreated, Error> {
        unimplemented!()
    }
    /// `POST /containers/{id}/start`
    pub fn container_start(&self, id: &str) -> Result<(), Error> {
        unimplemented!()
    }
    /// `POST /containers/{id}/attach?stream=1&stdout=1&stderr=1`, before start; no read deadline.
    pub fn container_attach(&self, id: &str) -> Result<Attached, Error> {
        unimplemented!()
    }
    /// `POST /containers/{id}/attach?stream=1&stdin=1` on a raw socket, before start.
    pub fn container_attach_stdin(&self, id: &str) -> Result<Stdin, Error> {
        unimplemented!()
    }
    /// `GET /containers/{id}/logs`
    pub fn container_logs(&self, id: &str, follow: bool) -> Result<Attached, Error> {
        unimplemented!()
    }
    /// `POST /containers/{id}/wait?condition=next-exit`, to be issued before start.
    pub fn container_wait_next_exit(&self, id: &str) -> Result<PendingWait, Error> {
        unimplemented!()
    }
    /// `POST /containers/{id}/kill?signal=`
    pub fn container_kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        unimplemented!()
    }
    /// `GET /containers/{id}/json`
    pub fn container_inspect(&self, id: &str) -> Result<ContainerInspect, Error> {
        unimplemented!()
    }
    /// `DELETE /containers/{id}?force=1&v=1`; not found is Ok.
    pub fn container_remove(&self, id: &str) -> Result<(), Error> {
        unimplemented!()
    }
    /// `GET /containers/json?all=1&filters={"label":[…]}`
    pub fn container_list(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, Error> {
        unimplemented!()
    }
    /// `PUT /containers/{id}/archive?path=`: `tar` is an uncompressed tar, streamed.
    pub fn archive_put(
        &self,
        id: &str,
        path: &str,
        tar: &mut (dyn Read + Send),
    ) -> Result<(), Error> {
        unimplemented!()
    }
    /// `GET /containers/{id}/archive?path=`: an uncompressed tar whose entries start with the path's base name.
    pub fn archive_get(&self, id: &str, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        unimplemented!()
    }
    /// `HEAD /containers/{id}/archive?path=`; None where the path does not exist.
    pub fn archive_stat(&self, id: &str, path: &str) -> Result<Option<PathStat>, Error> {
        unimplemented!()
    }
}
