//! Endpoints below `/containers`.
use super::call::{Call, Timeouts, label_filter, path};
use super::client::Client;
use super::error::Error;
use super::response::{BodyStream, Response, ignore_not_found};
pub use super::stdin::{Stdin, StdinInterrupt};
use super::types::{
    ContainerCreate, ContainerCreateResponse, ContainerInspect, ContainerSummary,
    ContainerWaitResponse,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::io::Read;
use ureq::http::Method;

/// A container's output: the multiplexed stream of `attach` or `logs`. Read it with [`super::stdcopy`]; reading blocks
/// without a time limit. Dropping it closes the connection.
pub struct Attached {
    /// The raw stream.
    pub stream: Box<dyn Read + Send>,
}

/// A `wait` that the engine has accepted; [`PendingWait::finish`] blocks for the exit.
pub struct PendingWait(Response);

impl PendingWait {
    /// Blocks until the container exits, without a time limit: the caller kills the container at its own.
    pub fn finish(self) -> Result<ContainerWaitResponse, Error> {
        self.0.json()
    }
}

/// `X-Docker-Container-Path-Stat` of `HEAD /containers/{id}/archive`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// Base name.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go `os.FileMode` bits: 1<<31 directory, 1<<27 symlink.
    pub mode: u32,
    /// Modification time, RFC 3339.
    #[serde(default)]
    pub mtime: String,
    /// Target of a symlink, in the container.
    #[serde(default)]
    pub link_target: String,
}

/// The tar of a path in a container.
pub struct PathArchive {
    /// Whether the path itself is a symbolic link. Docker's tar is of the link then, Podman's of what it leads to.
    pub is_symlink: bool,
    /// The engine's tar.
    pub tar: Box<dyn Read + Send>,
}

impl PathStat {
    /// Whether the path is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & (1 << 31) != 0
    }

    /// Whether the path itself is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & (1 << 27) != 0
    }
}

impl Client {
    /// `POST /containers/create`. Never repeated. If the connection breaks, the container may exist all the same; the
    /// caller finds it by its labels.
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
        .not_idempotent();
        if let Some(name) = name {
            call = call.query("name", name);
        }
        if let Some(platform) = platform {
            call = call.query("platform", platform);
        }
        self.send(call.json(config)?)?.json()
    }

    /// `POST /containers/{id}/start`; Ok if it runs already. Never repeated, because a container that has exited
    /// meanwhile would run twice.
    pub fn container_start(&self, id: &str) -> Result<(), Error> {
        let call = container("container_start", Method::POST, id, "/start")?;
        self.send(call.not_idempotent())
            .and_then(Response::discard_body)
            .map_err(|error| self.unless_container_gone(id, error))
    }

    /// `POST /containers/{id}/attach?stream=1&stdout=1&stderr=1`. Call it before start, or early output is lost.
    pub fn container_attach(&self, id: &str) -> Result<Attached, Error> {
        let call = container("container_attach", Method::POST, id, "/attach")?
            .query("stream", "1")
            .query("stdout", "1")
            .query("stderr", "1");
        Ok(Attached::from(
            self.send(call.timeouts(Timeouts::UntilHead))?.into_stream(),
        ))
    }

    /// `POST /containers/{id}/attach?stream=1&stdin=1` on a socket of its own. Call it before start.
    ///
    /// Podman sends output to every connection that is attached, also where none was asked for, and stops when nobody reads it.
    pub fn container_attach_stdin(&self, id: &str) -> Result<Stdin, Error> {
        const CALL: &str = "container_attach_stdin";
        let api = self.spoken_api(CALL)?;
        let query = match api.is_podman {
            true => "/attach?stream=1&stdin=1&stdout=1&stderr=1",
            false => "/attach?stream=1&stdin=1",
        };
        let path = path(CALL, "/containers", id, query)?;
        let stdin = Stdin::attach(self.endpoint(), &format!("/v{}{path}", api.version))?;
        if api.is_podman {
            stdin.discard_output().map_err(|error| Error::Malformed {
                call: CALL,
                detail: format!("its output cannot be read: {error}"),
            })?;
        }
        Ok(stdin)
    }

    /// `POST /containers/{id}/wait?condition=next-exit`. Call it before start: it returns as soon as the engine watches,
    /// and an exit before that is missed.
    pub fn container_wait_next_exit(&self, id: &str) -> Result<PendingWait, Error> {
        let call = container("container_wait_next_exit", Method::POST, id, "/wait")?
            .query("condition", "next-exit");
        self.send(call.timeouts(Timeouts::UntilHead))
            .map(PendingWait)
    }

    /// `GET /containers/{id}/logs?follow=1&timestamps=1`: one frame per log message, from the first that the engine has
    /// kept to the container's exit. Read it with [`super::stdcopy::demultiplex_frames`]. Engine 20.10 may leave out the last
    /// messages; [`Client::container_log_so_far`] has them.
    pub fn container_log_messages(&self, id: &str) -> Result<Attached, Error> {
        let call = log_call("container_log_messages", id)?.query("follow", "1");
        Ok(Attached::from(
            self.send(call.timeouts(Timeouts::UntilHead))?.into_stream(),
        ))
    }

    /// `GET /containers/{id}/logs?timestamps=1`: the log messages that the engine has kept until now, as
    /// [`Client::container_log_messages`] returns them. Reading times out after 60 s without progress.
    pub fn container_log_so_far(&self, id: &str) -> Result<Attached, Error> {
        let call = log_call("container_log_so_far", id)?;
        Ok(Attached::from(
            self.send(call.timeouts(Timeouts::PerReadAndWrite))?
                .into_stream(),
        ))
    }

    /// `POST /containers/{id}/wait?condition=not-running`, for a container that has been started; returns at once if it has
    /// exited. The engine may take as long as the container to send the head of its response.
    pub fn container_wait_stopped(&self, id: &str) -> Result<PendingWait, Error> {
        let call = container("container_wait_stopped", Method::POST, id, "/wait")?
            .query("condition", "not-running");
        self.send(call.timeouts(Timeouts::UntilSent))
            .map(PendingWait)
    }

    /// `POST /containers/{id}/rename?name=`
    pub fn container_rename(&self, id: &str, name: &str) -> Result<(), Error> {
        let call = container("container_rename", Method::POST, id, "/rename")?;
        self.send(call.query("name", name).not_idempotent())?
            .discard_body()
    }

    /// `POST /containers/{id}/kill?signal=`; 409 if it does not run.
    pub fn container_kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        let call = container("container_kill", Method::POST, id, "/kill")?;
        self.send(call.query("signal", signal))?.discard_body()
    }

    /// `GET /containers/{id}/json`
    pub fn container_inspect(&self, id: &str) -> Result<ContainerInspect, Error> {
        self.send(container("container_inspect", Method::GET, id, "/json")?)?
            .json()
    }

    /// `DELETE /containers/{id}?force=1&v=1`; Ok if it does not exist, 409 while another removal is in progress.
    pub fn container_remove(&self, id: &str) -> Result<(), Error> {
        let call = container("container_remove", Method::DELETE, id, "")?;
        ignore_not_found(self.send(call.query("force", "1").query("v", "1")))
    }

    /// `DELETE /containers/{id}?v=1`; Ok if it does not exist, 409 if it runs. Waits for the end of a start that is under way.
    pub fn container_remove_stopped(&self, id: &str) -> Result<(), Error> {
        let call = container("container_remove_stopped", Method::DELETE, id, "")?;
        ignore_not_found(self.send(call.query("v", "1")))
    }

    /// `GET /containers/json?all=1&filters={"label":[…]}`: containers that carry all of `labels` (`key` or `key=value`).
    pub fn container_list(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, Error> {
        let call = Call::new("container_list", Method::GET, "/containers/json".into())
            .query("all", "1")
            .query("filters", &label_filter(labels));
        self.send(call)?.json()
    }

    /// `PUT /containers/{id}/archive?path=`: streams `tar`, which is not compressed. No limit in total; times out after
    /// 60 s without progress.
    pub fn archive_put(
        &self,
        id: &str,
        path: &str,
        tar: &mut (dyn Read + Send),
    ) -> Result<(), Error> {
        let call = container("archive_put", Method::PUT, id, "/archive")?.query("path", path);
        self.send(call.tar(tar).timeouts(Timeouts::PerReadAndWrite))
            .and_then(Response::discard_body)
            .map_err(|error| self.unless_container_gone(id, error))
    }

    /// `GET /containers/{id}/archive?path=`: an uncompressed tar whose entries start with the path's base name. Reading
    /// times out after 60 s without progress.
    pub fn archive_get(&self, id: &str, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(self.archive_response(id, path)?.into_stream()))
    }

    /// As [`Client::archive_get`]; None if the path does not exist in a container that does.
    pub fn archive_get_if_present(
        &self,
        id: &str,
        path: &str,
    ) -> Result<Option<PathArchive>, Error> {
        match self.archive_response(id, path) {
            Ok(response) => Ok(Some(PathArchive {
                is_symlink: path_stat(&response).is_some_and(|stat| stat.is_symlink()),
                tar: Box::new(response.into_stream()),
            })),
            Err(error) if error.is_about_path() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn archive_response(&self, id: &str, path: &str) -> Result<Response, Error> {
        let call = container("archive_get", Method::GET, id, "/archive")?.query("path", path);
        self.send(call.timeouts(Timeouts::PerReadAndWrite))
            .map_err(|error| self.unless_container_gone(id, error))
    }

    /// The error of a call for a container. While the container is being removed, an engine answers such calls with all kinds of
    /// errors; they are then replaced by one for which [`Error::is_object_gone`] is true.
    fn unless_container_gone(&self, id: &str, error: Error) -> Error {
        if !matches!(error, Error::Status { .. }) || error.is_object_gone() {
            return error;
        }
        match self.container_inspect(id) {
            Ok(found) if ["removing", "dead"].contains(&found.state.status.as_str()) => {
                Error::Status {
                    call: "container_inspect",
                    status: 409,
                    message: format!("container {id} is marked for removal"),
                }
            }
            Err(gone) if gone.is_object_gone() => gone,
            Ok(_) | Err(_) => error,
        }
    }

    /// `HEAD /containers/{id}/archive?path=`; None if the path does not exist.
    pub fn archive_stat(&self, id: &str, path: &str) -> Result<Option<PathStat>, Error> {
        let call = container("archive_stat", Method::HEAD, id, "/archive")?;
        let response = match self.send(call.query("path", path)) {
            // A response to HEAD has no message, so ask whether it is the container that is missing, or is about to be: its files
            // go before it.
            Err(error @ Error::Status { status, .. }) => {
                let state = self.container_inspect(id)?.state;
                return match (state.status.as_str(), status) {
                    ("removing" | "dead", _) => Err(Error::Status {
                        call: "archive_stat",
                        status: 404,
                        message: format!("No such container: {id} is being removed"),
                    }),
                    (_, 404) => Ok(None),
                    _ => Err(error),
                };
            }
            other => other?,
        };
        path_stat(&response).map(Some).ok_or(Error::Malformed {
            call: "archive_stat",
            detail: "no X-Docker-Container-Path-Stat that can be understood".into(),
        })
    }
}

/// What the engine says of the path, beside its archive.
fn path_stat(response: &Response) -> Option<PathStat> {
    let header = response.header("x-docker-container-path-stat")?;
    let json = BASE64_STANDARD.decode(header).ok()?;
    serde_json::from_slice(&json).ok()
}

/// A call of an endpoint below `/containers/{id}`.
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

fn log_call<'a>(call: &'static str, id: &str) -> Result<Call<'a>, Error> {
    Ok(container(call, Method::GET, id, "/logs")?
        .query("stdout", "1")
        .query("stderr", "1")
        .query("timestamps", "1"))
}

impl From<BodyStream> for Attached {
    fn from(stream: BodyStream) -> Self {
        Self {
            stream: Box::new(stream),
        }
    }
}
