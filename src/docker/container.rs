//! `/containers` endpoints.
use super::call::{Call, Timeouts, label_filter, path};
use super::response::{EngineStream, Response, ignore_not_found};
pub use super::stdin::{Stdin, StdinInterrupt};
use super::{
    Client, ContainerCreate, ContainerCreateResponse, ContainerInspect, ContainerSummary,
    ContainerWaitResponse, Error,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::io::Read;
use ureq::http::Method;

/// A container's output: the multiplexed stream of `attach` or `logs`. Read it with [`super::stdcopy`]; dropping it
/// closes the connection.
pub struct Attached {
    /// the raw stream
    pub stream: Box<dyn Read + Send>,
}

/// A `wait` whose headers have arrived, so that the engine is watching; [`PendingWait::finish`] blocks for the exit.
pub struct PendingWait(Response);

impl PendingWait {
    /// Blocks until the container exits, without a deadline (something else kills it).
    pub fn finish(self) -> Result<ContainerWaitResponse, Error> {
        self.0.json()
    }
}

/// What `HEAD /containers/{id}/archive` says of a path (`X-Docker-Container-Path-Stat`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// base name
    pub name: String,
    /// bytes
    pub size: i64,
    /// Go `os.FileMode` bits: 1<<31 directory, 1<<27 symlink
    pub mode: u32,
    /// where a symlink leads, in the container
    #[serde(default)]
    pub link_target: String,
}

impl Client {
    /// `POST /containers/create`. Never repeated: a connection that breaks may or may not have made a container,
    /// which its labels then find.
    pub fn container_create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        config: &ContainerCreate,
    ) -> Result<ContainerCreateResponse, Error> {
        let mut call = Call::new(
            "container_create",
            Method::POST,
            "/containers/create".into(),
        )
        .once();
        if let Some(name) = name {
            call = call.query("name", name);
        }
        if let Some(platform) = platform {
            call = call.query("platform", platform);
        }
        self.send(call.json(config)?)?.json()
    }

    /// `POST /containers/{id}/start`; one that runs already is Ok. Never repeated: a quick container would run twice.
    pub fn container_start(&self, id: &str) -> Result<(), Error> {
        self.send(container("container_start", Method::POST, id, "/start")?.once())?
            .done()
    }

    /// `POST /containers/{id}/attach?stream=1&stdout=1&stderr=1`, before start; no read deadline.
    pub fn container_attach(&self, id: &str) -> Result<Attached, Error> {
        let call = container("container_attach", Method::POST, id, "/attach")?
            .query("stream", "1")
            .query("stdout", "1")
            .query("stderr", "1");
        Ok(Attached::from(
            self.send(call.timeouts(Timeouts::Head))?.stream(),
        ))
    }

    /// `POST /containers/{id}/attach?stream=1&stdin=1` on a raw socket, before start.
    pub fn container_attach_stdin(&self, id: &str) -> Result<Stdin, Error> {
        let path = path(
            "container_attach_stdin",
            "/containers",
            id,
            "/attach?stream=1&stdin=1",
        )?;
        let version = self.api_version("container_attach_stdin")?;
        Stdin::attach(self.endpoint(), &format!("/v{version}{path}"))
    }

    /// `GET /containers/{id}/logs`
    pub fn container_logs(&self, id: &str, follow: bool) -> Result<Attached, Error> {
        let call = container("container_logs", Method::GET, id, "/logs")?
            .query("stdout", "1")
            .query("stderr", "1")
            .query("follow", if follow { "1" } else { "0" });
        Ok(Attached::from(
            self.send(call.timeouts(Timeouts::Head))?.stream(),
        ))
    }

    /// `POST /containers/{id}/wait?condition=next-exit`, to be issued before start: returns as soon as the engine
    /// watches, and after the exit it would wait for another.
    pub fn container_wait_next_exit(&self, id: &str) -> Result<PendingWait, Error> {
        let call = container("container_wait_next_exit", Method::POST, id, "/wait")?
            .query("condition", "next-exit");
        self.send(call.timeouts(Timeouts::Head)).map(PendingWait)
    }

    /// `GET /containers/{id}/logs?follow=1&timestamps=1`: one frame per log message, from the first one the engine kept.
    /// Read it with [`super::stdcopy::demultiplex_frames`].
    pub fn container_log_messages(&self, id: &str) -> Result<Attached, Error> {
        let call = container("container_log_messages", Method::GET, id, "/logs")?
            .query("stdout", "1")
            .query("stderr", "1")
            .query("timestamps", "1")
            .query("follow", "1");
        Ok(Attached::from(
            self.send(call.timeouts(Timeouts::Head))?.stream(),
        ))
    }

    /// `POST /containers/{id}/wait`: for one that has been started; answers at once if it has ended.
    pub fn container_wait_stopped(&self, id: &str) -> Result<PendingWait, Error> {
        let call = container("container_wait_stopped", Method::POST, id, "/wait")?
            .query("condition", "not-running");
        self.send(call.timeouts(Timeouts::Patient)).map(PendingWait)
    }

    /// `POST /containers/{id}/rename?name=`
    pub fn container_rename(&self, id: &str, name: &str) -> Result<(), Error> {
        let call = container("container_rename", Method::POST, id, "/rename")?;
        self.send(call.query("name", name).once())?.done()
    }

    /// `POST /containers/{id}/kill?signal=`; one that does not run is a 409.
    pub fn container_kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        let call = container("container_kill", Method::POST, id, "/kill")?;
        self.send(call.query("signal", signal))?.done()
    }

    /// `GET /containers/{id}/json`
    pub fn container_inspect(&self, id: &str) -> Result<ContainerInspect, Error> {
        self.send(container("container_inspect", Method::GET, id, "/json")?)?
            .json()
    }

    /// `DELETE /containers/{id}?force=1&v=1`; not found is Ok, a removal in progress is a 409.
    pub fn container_remove(&self, id: &str) -> Result<(), Error> {
        let call = container("container_remove", Method::DELETE, id, "")?;
        ignore_not_found(self.send(call.query("force", "1").query("v", "1")))
    }

    /// `GET /containers/json?all=1&filters={"label":[…]}`; a container must carry all of `labels` (`key` or `key=value`).
    pub fn container_list(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, Error> {
        let call = Call::new("container_list", Method::GET, "/containers/json".into())
            .query("all", "1")
            .query("filters", &label_filter(labels));
        self.send(call)?.json()
    }

    /// `PUT /containers/{id}/archive?path=`: `tar` is an uncompressed tar, streamed. It may take long, but not stand still.
    pub fn archive_put(
        &self,
        id: &str,
        path: &str,
        tar: &mut (dyn Read + Send),
    ) -> Result<(), Error> {
        let call = container("archive_put", Method::PUT, id, "/archive")?.query("path", path);
        self.send(call.tar(tar).timeouts(Timeouts::Stall))?.done()
    }

    /// `GET /containers/{id}/archive?path=`: an uncompressed tar whose entries start with the path's base name.
    pub fn archive_get(&self, id: &str, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        let call = container("archive_get", Method::GET, id, "/archive")?.query("path", path);
        Ok(Box::new(
            self.send(call.timeouts(Timeouts::Stall))?.stream(),
        ))
    }

    /// `HEAD /containers/{id}/archive?path=`; None where the path does not exist.
    pub fn archive_stat(&self, id: &str, path: &str) -> Result<Option<PathStat>, Error> {
        let call = container("archive_stat", Method::HEAD, id, "/archive")?;
        let answer = match self.send(call.query("path", path)) {
            // Without a body a missing container looks the same.
            Err(Error::Status { status: 404, .. }) => {
                return self.container_inspect(id).map(|_| None);
            }
            other => other?,
        };
        let stat = answer.header("x-docker-container-path-stat");
        let json = stat.and_then(|value| BASE64_STANDARD.decode(value).ok());
        let stat = json.and_then(|json| serde_json::from_slice(&json).ok());
        stat.map(Some).ok_or(Error::Malformed {
            call: "archive_stat",
            detail: "no X-Docker-Container-Path-Stat that can be understood".into(),
        })
    }
}

fn container<'a>(
    call: &'static str,
    method: Method,
    id: &str,
    action: &str,
) -> Result<Call<'a>, Error> {
    Ok(Call::new(
        call,
        method,
        path(call, "/containers", id, action)?,
    ))
}

impl From<EngineStream> for Attached {
    fn from(stream: EngineStream) -> Self {
        Self {
            stream: Box::new(stream),
        }
    }
}
