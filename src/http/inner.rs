//! The tiny_http server behind the edge. It never meets a client: it sees one canonical, bodiless head per connection,
//! over a socket that only this user can reach, and one head at a time.

use super::socket_directory::{self, socket_name};
use crate::edge::Head;
use crate::random_id;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::fs::{remove_dir, remove_file};
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A head takes 0.2 ms; after this time we look whether it was lost, and after that one it was.
const GLANCE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);
const ID_FIELD: &str = "x-edge-id";
/// Fields that concern the client's connection or the body, which stay with the edge, and credentials, which the
/// guard has dealt with.
const KEPT_BACK: [&str; 13] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    ID_FIELD,
];

/// The inner server, replaced whenever it does anything unexpected.
pub(super) struct Inner {
    directory: PathBuf,
    /// Empty while a thread exchanges a head, and after a surprise.
    running: Mutex<Option<Running>>,
}

/// One tiny_http server.
struct Running {
    server: Option<tiny_http::Server>,
    /// A second handle of its listening socket: shutting that down ends the accept thread even when no descriptor is
    /// left to connect with.
    listener: UnixListener,
    path: PathBuf,
}

/// A request as tiny_http read it, and the other end of the connection it will be answered on.
pub(super) struct Exchange {
    pub(super) request: tiny_http::Request,
    pub(super) answer: UnixStream,
}

impl Inner {
    /// Makes the private directory and the first server in it.
    pub(super) fn start() -> io::Result<Self> {
        let directory = socket_directory::create()?;
        let inner = Self {
            running: Mutex::new(None),
            directory,
        };
        let first = Running::start(&inner.directory)?;
        *inner.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(inner)
    }

    /// Passes one head through tiny_http. Errors: no descriptors, or two surprises in a row.
    pub(super) fn exchange(&self, head: &Head) -> io::Result<Exchange> {
        let mut slot = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            // Taken out, and put back only when all went well: a server that surprised us (or panicked) may hold
            // somebody else's request, and must never answer again.
            let running = match slot.take() {
                Some(running) => running,
                None => Running::start(&self.directory)?,
            };
            let answer = match UnixStream::connect(&running.path) {
                Ok(answer) => answer,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                // We are out of descriptors, and the server has seen nothing of it.
                Err(error) => {
                    *slot = Some(running);
                    return Err(error);
                }
            };
            match running.exchange(head, &answer) {
                Ok(request) => {
                    *slot = Some(running);
                    return Ok(Exchange { request, answer });
                }
                Err(surprise) => log::warn!("replacing the inner server: {surprise}"),
            }
        }
        Err(io::Error::other("the inner server does not answer"))
    }

    /// Stops the server and removes everything of it from the file system.
    pub(super) fn close(&self) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Err(error) = remove_dir(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", self.directory.display());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Running {
    fn start(directory: &Path) -> io::Result<Self> {
        let path = directory.join(socket_name());
        let listener = UnixListener::bind(&path)?;
        let handle = listener.try_clone()?;
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        Ok(Self {
            server: Some(server),
            listener: handle,
            path,
        })
    }

    fn exchange(&self, head: &Head, mut answer: &UnixStream) -> io::Result<tiny_http::Request> {
        let server = self.server.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let id = random_id::unique();
        answer.set_write_timeout(Some(PATIENCE))?;
        answer.write_all(&canonical(head, &id))?;
        let request = receive(server, answer)?;
        let is_ours = request
            .headers()
            .iter()
            .any(|h| h.field.equiv(ID_FIELD) && h.value.as_str() == id);
        match is_ours {
            true => Ok(request),
            false => Err(io::Error::other("somebody else's request came back")),
        }
    }
}

/// The next request of this server, which is the one whose connection we hold the other end of.
fn receive(server: &tiny_http::Server, answer: &UnixStream) -> io::Result<tiny_http::Request> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(request) = server.recv_timeout(GLANCE)? {
            return Ok(request);
        }
        // A server that refused the head has answered it, and one that panicked has closed it: either would
        // never hand it out.
        let mut byte = [0u8; 1];
        match recv(answer, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => return Err(io::Error::other("a head was refused")),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "a head was not taken",
    ))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        self.server.take();
        let _ = remove_file(&self.path);
    }
}

/// The head as tiny_http gets it: nothing left to interpret, and closed after this one request.
fn canonical(head: &Head, id: &str) -> Vec<u8> {
    let mut text = format!(
        "{} {} HTTP/1.{}\r\n",
        head.method, head.raw_target, head.minor
    );
    for (name, value) in &head.fields {
        if !KEPT_BACK.contains(&name.as_str()) {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
    }
    text.push_str(&format!("connection: close\r\n{ID_FIELD}: {id}\r\n\r\n"));
    text.into_bytes()
}

/// The fields of a request that its handler may see.
pub(super) fn visible_fields(request: &tiny_http::Request) -> Vec<(String, String)> {
    request
        .headers()
        .iter()
        .map(|h| (h.field.as_str().as_str(), h.value.as_str()))
        .filter(|(name, _)| !KEPT_BACK.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "inner_tests.rs"]
mod tests;
