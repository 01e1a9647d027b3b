//! The tiny_http server behind the edge. No client ever connects to it: it gets one normalized head without a body per
//! connection, one at a time, over a Unix socket that only this user can open.

use super::socket_directory::{self, socket_name};
use crate::edge::Head;
use crate::random_id;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with,
};
use std::fs::{remove_dir, remove_file, rename};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often to check whether tiny_http has refused a head. It usually takes 0.2 ms to parse one.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long tiny_http may take to parse a head.
const PARSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a head waits until those before it are forwarded.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of the server waits for a head that is being forwarded.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The field by which a request of tiny_http is recognized as the one that was forwarded.
const ID_FIELD: &str = "x-edge-id";
/// Fields about the client's connection (RFC 9110 §7.6.1) or the framing of its body, with which the edge deals.
const CONNECTION_FIELDS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Credentials, which the guard has checked.
const CREDENTIALS: [&str; 2] = ["authorization", "proxy-authorization"];

/// A tiny_http server that is replaced when it does anything unexpected.
pub(super) struct InnerServer {
    directory: PathBuf,
    place: Mutex<Place>,
    /// Notified when the place is free.
    freed: Condvar,
}

/// The place of the server that runs.
enum Place {
    /// `None` after an unexpected result.
    Free(Option<TinyServer>),
    /// A thread forwards a head.
    Taken,
}

/// The right to forward heads. Dropping it frees the place.
struct Turn<'a> {
    inner: &'a InnerServer,
    /// Present only while nothing unexpected has happened: after that, or after a panic, a server may hold another client's
    /// request, and must never respond again.
    running: Option<TinyServer>,
}

/// One tiny_http server on a socket of its own. No other handle of its listening socket exists, so that connections break when
/// its accept thread ends, as it does for lack of a thread or a descriptor.
struct TinyServer {
    server: Option<tiny_http::Server>,
    /// Connects to the listening socket, which ends tiny_http's accept thread. Made at the start, since no descriptor may be left
    /// at the end.
    waker: OwnedFd,
    path: PathBuf,
}

/// A request that was forwarded to tiny_http.
pub(super) struct ForwardedRequest {
    /// The request as tiny_http parsed it; its writer writes the response.
    pub(super) parsed: tiny_http::Request,
    /// The client's side of the inner connection, from which the response is read.
    pub(super) connection: UnixStream,
}

impl InnerServer {
    /// Makes the private directory and the first server in it. Errors: no directory, no socket.
    pub(super) fn start() -> io::Result<Self> {
        let directory = socket_directory::create()?;
        let first = TinyServer::start(&directory)?;
        Ok(Self {
            directory,
            place: Mutex::new(Place::Free(Some(first))),
            freed: Condvar::new(),
        })
    }

    /// Forwards one head to tiny_http. Blocks while other heads are forwarded. Errors: no descriptors or threads, too many heads
    /// before this one, or two servers in a row did something unexpected.
    pub(super) fn forward(&self, head: &Head) -> io::Result<ForwardedRequest> {
        let mut turn = self.turn(TURN_TIMEOUT)?;
        for _ in 0..2 {
            let running = match turn.running.take() {
                Some(running) => running,
                None => TinyServer::start(&self.directory)?,
            };
            let connection = match UnixStream::connect(&running.path) {
                Ok(connection) => connection,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                // No descriptors are left; the server is unaffected.
                Err(error) => {
                    turn.running = Some(running);
                    return Err(error);
                }
            };
            match running.forward(head, &connection) {
                Ok(parsed) => {
                    turn.running = Some(running);
                    return Ok(ForwardedRequest { parsed, connection });
                }
                Err(error) => log::warn!("replacing the inner server: {error}"),
            }
        }
        Err(io::Error::other("the inner server does not answer"))
    }

    /// Blocks until the place is free. Error: it is not within this time.
    fn turn(&self, timeout: Duration) -> io::Result<Turn<'_>> {
        let is_taken = |place: &mut Place| matches!(place, Place::Taken);
        let (mut place, _) = self
            .freed
            .wait_timeout_while(self.lock(), timeout, is_taken)
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *place, Place::Taken) {
            Place::Free(running) => Ok(Turn {
                inner: self,
                running,
            }),
            Place::Taken => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "too many requests wait for the inner server",
            )),
        }
    }

    /// Stops the server and removes its socket and directory.
    pub(super) fn close(&self) {
        if let Ok(mut turn) = self.turn(CLOSE_TIMEOUT) {
            turn.running.take();
        }
        if let Err(error) = remove_dir(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", self.directory.display());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.inner.lock() = Place::Free(self.running.take());
        self.inner.freed.notify_one();
    }
}

impl Drop for InnerServer {
    fn drop(&mut self) {
        self.close();
    }
}

impl TinyServer {
    /// Errors: no descriptors or threads.
    fn start(directory: &Path) -> io::Result<Self> {
        let bound = directory.join(socket_name());
        let mut starting = Self {
            server: None,
            waker: socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                None,
            )?,
            path: bound.clone(),
        };
        let listener = UnixListener::bind(&bound)?;
        // So that tiny_http does not remove it before the waker is used.
        let renamed = directory.join(socket_name());
        rename(&bound, &renamed)?;
        starting.path = renamed;
        // It panics without a thread.
        let start = || tiny_http::Server::from_listener(listener, None).map_err(io::Error::other);
        let started = catch_unwind(AssertUnwindSafe(start));
        starting.server = Some(started.map_err(|_| io::Error::other("no thread"))??);
        Ok(starting)
    }

    fn forward(&self, head: &Head, mut connection: &UnixStream) -> io::Result<tiny_http::Request> {
        let server = self.server.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let id = random_id::unique();
        connection.set_write_timeout(Some(PARSE_TIMEOUT))?;
        connection.write_all(&normalized(head, &id))?;
        let request = receive(server, connection)?;
        let is_same = request
            .headers()
            .iter()
            .any(|h| h.field.equiv(ID_FIELD) && h.value.as_str() == id);
        match is_same {
            true => Ok(request),
            false => Err(io::Error::other("somebody else's request came back")),
        }
    }
}

/// The next request of this server, which should be the one that was written to `connection`.
fn receive(server: &tiny_http::Server, connection: &UnixStream) -> io::Result<tiny_http::Request> {
    let deadline = Instant::now() + PARSE_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(request) = server.recv_timeout(POLL_INTERVAL)? {
            return Ok(request);
        }
        // tiny_http answers a head that it refuses, and closes the connection if it panics. Either way it will not return
        // this request.
        let mut byte = [0u8; 1];
        match recv(connection, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => return Err(io::Error::other("a head was refused")),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "a head was not taken",
    ))
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        // From here on the accept thread ends at the next connection.
        self.server.take();
        if let Ok(address) = SocketAddrUnix::new(&self.path) {
            // Fails only if that thread has ended.
            let _ = connect(&self.waker, &address);
        }
        let _ = remove_file(&self.path);
    }
}

/// The head in the form that tiny_http gets: without framing, with `Connection: close`, and without the client's fields.
/// Handlers get those from the edge: tiny_http refuses values with bytes above 0x7F, which clients may send.
fn normalized(head: &Head, id: &str) -> Vec<u8> {
    format!(
        "{} {} HTTP/1.{}\r\nconnection: close\r\n{ID_FIELD}: {id}\r\n\r\n",
        head.method, head.raw_target, head.minor
    )
    .into_bytes()
}

/// The fields of a request that its handler gets.
pub(super) fn visible_fields(fields: Vec<(String, String)>) -> Vec<(String, String)> {
    let is_visible = |name: &str| {
        !CONNECTION_FIELDS.contains(&name) && !CREDENTIALS.contains(&name) && name != ID_FIELD
    };
    fields
        .into_iter()
        .filter(|(name, _)| is_visible(name))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "inner_tests.rs"]
mod tests;
