//! The listening socket: accepts clients, serves each on a thread of its own, and keeps accepting until it is stopped.

use super::client::Client;
use super::config::ServerConfig;
use super::connection::{self, ConnectionContext, Service};
use super::connections::Connections;
use super::refusal::Refusal;
use super::response_head::{Delimiter, write_head};
use crate::cancel::Cancel;
use crate::problem::PROBLEM_JSON;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Handlers run on these threads. Only address space: pages that are never touched use no memory.
const REQUEST_STACK_BYTES: usize = 1024 * 1024;
/// With the standard library's backlog of 128, clients of a burst wait a second until their SYN is sent again.
const BACKLOG: i32 = 4_096;
/// How long to wait when no descriptors are left.
const OUT_OF_DESCRIPTORS_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// A listening server. Dropping it stops it at once.
pub(crate) struct Edge {
    address: SocketAddr,
    connections: Arc<Connections>,
    draining: Cancel,
    /// Dropping it ends the acceptor.
    stop: Option<UnixStream>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Edge {
    /// Binds and accepts. Errors: the address cannot be bound, or no thread.
    pub(crate) fn start(config: ServerConfig, service: Service) -> io::Result<Self> {
        let listener = TcpListener::bind((unbracketed(&config.host), config.port))?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = UnixStream::pair()?;
        let connections = Connections::for_this_process();
        let draining = Cancel::new();
        let acceptor = Acceptor {
            listener,
            stopped,
            connections: Arc::clone(&connections),
            is_failing: false,
            context: Arc::new(ConnectionContext {
                config,
                service,
                draining: draining.clone(),
            }),
        };
        let acceptor = thread::Builder::new()
            .name("edge-accept".into())
            .spawn(move || acceptor.run())?;
        Ok(Self {
            address,
            connections,
            draining,
            stop: Some(stop),
            acceptor: Some(acceptor),
        })
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, then blocks until all requests have finished, at most until `deadline`.
    pub(crate) fn drain(&mut self, deadline: Instant) {
        self.stop.take();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.draining.fire();
        self.connections.shut_down_idle();
        self.connections.wait_until_empty(deadline);
    }

    /// Cancels every request. Does not wait for their end.
    pub(crate) fn cancel(&self) {
        self.connections.cancel_all();
    }

    /// Blocks until all requests have ended, at most until `deadline`. Then shuts the connections of the others down.
    pub(crate) fn close(&self, deadline: Instant) {
        let stuck = self.connections.wait_until_empty(deadline);
        if stuck > 0 {
            self.connections.shut_down_all();
            log::error!("{stuck} requests did not end though they were cancelled");
        }
    }
}

/// An IPv6 address without the brackets that it has in a URL; any other host as it is.
fn unbracketed(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host)
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.drain(Instant::now());
        self.cancel();
        self.connections.shut_down_all();
    }
}

struct Acceptor {
    listener: TcpListener,
    stopped: UnixStream,
    connections: Arc<Connections>,
    context: Arc<ConnectionContext>,
    /// Whether the last attempt failed. Only the first failure of a series is logged.
    is_failing: bool,
}

impl Acceptor {
    // Returning closes the listening socket.
    fn run(mut self) {
        while !self.is_stopped(None) {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.is_failing = false;
                    self.serve(socket);
                }
                Err(e) => self.handle_failure(&e),
            }
        }
    }

    /// Blocks until a client comes or, with a pause, until that is over. Returns whether the server is to stop.
    fn is_stopped(&self, pause: Option<&Timespec>) -> bool {
        let mut both = [
            PollFd::new(&self.stopped, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        let polled = if pause.is_some() { 1 } else { 2 };
        let _ = poll(&mut both[..polled], pause);
        !both[0].revents().is_empty()
    }

    /// No failure to accept is final: descriptors become free, and an aborted connection concerns its client only.
    fn handle_failure(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted => {}
            _ => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::warn!("cannot accept connections just now: {error}");
                }
                self.is_stopped(Some(&OUT_OF_DESCRIPTORS_PAUSE));
            }
        }
    }

    /// Serves a client on a new thread, or refuses it if there is no permit or no thread.
    fn serve(&self, socket: TcpStream) {
        let client = match Client::new(socket, self.context.config.write_stall_timeout) {
            Ok(client) => Arc::new(client),
            Err(error) => return log::debug!("a client left before it was seated: {error}"),
        };
        let Some(permit) = self.connections.acquire(Arc::clone(&client)) else {
            return refuse(&client);
        };
        let context = Arc::clone(&self.context);
        let spawned = thread::Builder::new()
            .name("edge-request".into())
            .stack_size(REQUEST_STACK_BYTES)
            .spawn(move || connection::serve(&context, &permit));
        if let Err(error) = spawned {
            log::warn!("no thread for a connection: {error}");
            refuse(&client);
        }
    }
}

/// Sends 503 without a thread and without blocking. Reads first what the client has sent, because closing with unread bytes
/// would send a RST instead of the response.
fn refuse(client: &Client) {
    let body = Refusal::too_many_connections().to_problem().to_json();
    let fields = [
        ("Content-Type".to_owned(), PROBLEM_JSON.to_owned()),
        ("Retry-After".to_owned(), "1".to_owned()),
    ];
    let Ok(mut response) = write_head(503, &fields, Delimiter::Length(body.len() as u64)) else {
        return;
    };
    response.extend_from_slice(&body);
    let socket = client.socket();
    let mut discarded = [0u8; 4 * 1024];
    for _ in 0..16 {
        let read = recv(socket, &mut discarded, RecvFlags::DONTWAIT);
        if !matches!(read, Ok((_, 1..))) {
            break;
        }
    }
    let _ = send(socket, &response, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = socket.shutdown(Shutdown::Write);
}
