//! The listening socket: accepts, seats each client on a thread of its own, and never stops before it is told to.

use super::body_budget::BodyBudget;
use super::client::Client;
use super::connection::{self, Admitted};
use super::connections::Connections;
use super::guard::Policy;
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
use std::time::Duration;

/// Handlers run on these threads; address space only, untouched pages cost nothing.
const REQUEST_STACK_BYTES: usize = 1024 * 1024;
/// The standard library's 128 makes clients of a burst wait a second for their SYN to be sent again.
const BACKLOG: i32 = 4_096;
/// How long to wait when there are no descriptors left.
const OUT_OF_DESCRIPTORS_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// How long cancelled requests may take to end before their connections are cut, and then to notice that.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
const CUT_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) head: Duration,
    pub(crate) body_stall: Duration,
    pub(crate) write_stall: Duration,
}

/// What the edge is told at start.
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) route_of: fn(&str) -> &'static str,
    pub(crate) policy: Policy,
    pub(crate) deadlines: Deadlines,
    pub(crate) body_memory_bytes: u64,
}

/// Serves one admitted request on the calling thread, the answer's relay included.
pub(crate) type Service = Arc<dyn Fn(Admitted) + Send + Sync>;

/// What every connection needs to know.
pub(super) struct Shared {
    pub(super) route_of: fn(&str) -> &'static str,
    pub(super) policy: Policy,
    pub(super) deadlines: Deadlines,
    pub(super) rooms: Arc<BodyBudget>,
    pub(super) service: Service,
    pub(super) draining: Cancel,
}

/// An open edge.
pub(crate) struct Edge {
    address: SocketAddr,
    seats: Arc<Connections>,
    draining: Cancel,
    /// Dropping it ends the acceptor.
    stop: Option<UnixStream>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Edge {
    /// Binds and accepts. Errors: the address cannot be bound, or no thread.
    pub(crate) fn start(settings: Settings, service: Service) -> io::Result<Self> {
        let listener = TcpListener::bind((settings.host.as_str(), settings.port))?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = UnixStream::pair()?;
        let seats = Connections::for_this_process();
        let draining = Cancel::new();
        let acceptor = Acceptor {
            listener,
            stopped,
            seats: Arc::clone(&seats),
            is_failing: false,
            shared: Arc::new(Shared {
                route_of: settings.route_of,
                policy: settings.policy,
                deadlines: settings.deadlines,
                rooms: BodyBudget::new(settings.body_memory_bytes),
                service,
                draining: draining.clone(),
            }),
        };
        let acceptor = thread::Builder::new()
            .name("edge-accept".into())
            .spawn(move || acceptor.run())?;
        Ok(Self {
            address,
            seats,
            draining,
            stop: Some(stop),
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening at once, lets requests finish for `grace`, cancels the rest and finally cuts them off.
    pub(crate) fn stop(&mut self, grace: Duration) {
        self.stop.take();
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        let _ = acceptor.join();
        self.draining.fire();
        self.seats.cut_idle();
        if self.seats.wait_empty(grace) == 0 {
            return;
        }
        self.seats.cancel_all();
        if self.seats.wait_empty(CANCEL_PATIENCE) == 0 {
            return;
        }
        self.seats.cut_all();
        let stuck = self.seats.wait_empty(CUT_PATIENCE);
        if stuck > 0 {
            log::error!("{stuck} requests did not end though they were cancelled");
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

struct Acceptor {
    listener: TcpListener,
    stopped: UnixStream,
    seats: Arc<Connections>,
    shared: Arc<Shared>,
    /// Whether the last attempt failed: one line in the log is enough for a series.
    is_failing: bool,
}

impl Acceptor {
    // Returning closes the listening socket.
    fn run(mut self) {
        while !self.is_stopped(None) {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.is_failing = false;
                    self.seat(socket);
                }
                Err(e) => self.survive(&e),
            }
        }
    }

    /// Waits for a client, or for as long as given. True when it is time to stop.
    fn is_stopped(&self, pause: Option<&Timespec>) -> bool {
        let mut both = [
            PollFd::new(&self.stopped, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        let polled = if pause.is_some() { 1 } else { 2 };
        let _ = poll(&mut both[..polled], pause);
        !both[0].revents().is_empty()
    }

    /// No failure to accept is final: descriptors come back, aborted connections concern only their clients.
    fn survive(&mut self, error: &io::Error) {
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

    fn seat(&self, socket: TcpStream) {
        let client = match Client::new(socket, self.shared.deadlines.write_stall) {
            Ok(client) => Arc::new(client),
            Err(error) => return log::debug!("a client left before it was seated: {error}"),
        };
        let Some(seat) = self.seats.take(Arc::clone(&client)) else {
            return turn_away(&client);
        };
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new()
            .name("edge-request".into())
            .stack_size(REQUEST_STACK_BYTES)
            .spawn(move || connection::serve(&shared, &seat));
        if let Err(error) = spawned {
            log::warn!("no thread for a connection: {error}");
            turn_away(&client);
        }
    }
}

/// The answer when there is no seat left.
pub(super) fn too_many_connections() -> Refusal {
    Refusal::new(
        503,
        "too_many_connections",
        "all connections are taken; try again in a moment",
    )
}

/// Answers without a thread and without waiting. What the client already sent is read away, or it would get a RST
/// instead of the answer.
fn turn_away(client: &Client) {
    let body = too_many_connections().to_problem().to_json();
    let fields = [
        ("Content-Type".to_owned(), PROBLEM_JSON.to_owned()),
        ("Retry-After".to_owned(), "1".to_owned()),
    ];
    let Ok(mut answer) = write_head(503, &fields, Delimiter::Length(body.len() as u64)) else {
        return;
    };
    answer.extend_from_slice(&body);
    let socket = client.socket();
    let mut scrap = [0u8; 4 * 1024];
    for _ in 0..16 {
        if !matches!(recv(socket, &mut scrap, RecvFlags::DONTWAIT), Ok((_, 1..))) {
            break;
        }
    }
    let _ = send(socket, &answer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = socket.shutdown(Shutdown::Write);
}
