//! Byte streams to the engine: Unix or TCP sockets, with or without TLS, with deadlines for reads and writes. Knows nothing
//! of HTTP; both `transport` and `stdin` use it.
use super::host::Host;
use super::tls;
use crossbeam_channel::bounded;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use rustls::ClientConnection;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

// TCP keepalive, so that a reader does not block for ever after the engine's machine has disappeared.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 4;

/// Address of the engine, with its TLS settings loaded.
#[derive(Clone)]
pub(super) struct Endpoint {
    host: Host,
    tls: Option<TlsSettings>,
}

#[derive(Clone)]
struct TlsSettings {
    config: Arc<rustls::ClientConfig>,
    server_name: rustls::pki_types::ServerName<'static>,
}

/// Which step of connecting failed.
#[derive(Debug)]
pub(super) enum DialError {
    /// The host name cannot be resolved.
    Resolve(io::Error),
    /// The socket did not connect.
    Connect(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) | Self::Connect(error) | Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DialError {}

impl Endpoint {
    /// Reads the PEM files for TLS. Does not connect.
    pub(super) fn new(host: Host) -> Result<Self, String> {
        let tls = match &host {
            Host::Unix(_) | Host::Tcp { .. } => None,
            Host::Tls {
                authority,
                cert_path,
                verify,
            } => Some(TlsSettings {
                config: tls::client_config(cert_path, *verify)?,
                server_name: tls::server_name(authority)?,
            }),
        };
        Ok(Self { host, tls })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Connects the socket, without TLS. Blocks until `deadline` at most.
    pub(super) fn dial(&self, deadline: Instant) -> Result<Socket, DialError> {
        let fd = match &self.host {
            Host::Unix(path) => dial_unix(path, deadline).map_err(DialError::Connect)?,
            Host::Tcp { authority } | Host::Tls { authority, .. } => {
                let addresses = resolve(authority, deadline).map_err(DialError::Resolve)?;
                dial_tcp(&addresses, deadline).map_err(DialError::Connect)?
            }
        };
        Ok(Socket::new(fd))
    }

    /// Does the TLS handshake if this endpoint uses TLS. Blocks until `deadline` at most.
    pub(super) fn handshake(
        &self,
        mut socket: Socket,
        deadline: Instant,
    ) -> Result<Stream, DialError> {
        let Some(TlsSettings {
            config,
            server_name,
        }) = &self.tls
        else {
            return Ok(Stream::Plain(socket));
        };
        let mut session = ClientConnection::new(Arc::clone(config), server_name.clone())
            .map_err(|error| DialError::Tls(io::Error::new(ErrorKind::InvalidData, error)))?;
        socket.set_read_deadline(Some(deadline));
        socket.set_write_deadline(Some(deadline));
        session.complete_io(&mut socket).map_err(DialError::Tls)?;
        Ok(Stream::Tls(Box::new(session), socket))
    }
}

fn dial_unix(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let address = SocketAddrUnix::new(path)?;
    let fd = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The send timeout also bounds connect, which blocks while the backlog of an engine that hangs is full.
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(remaining(deadline)?))?;
    loop {
        match connect(&fd, &address) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            outcome => {
                outcome?;
                sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, None)?;
                return Ok(fd);
            }
        }
    }
}

/// Looks a host name up. The system's lookup has no timeout, so it runs on a thread that is abandoned at the deadline.
fn resolve(authority: &str, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = authority.parse() {
        return Ok(vec![address]);
    }
    let (sender, answer) = bounded(1);
    let name = authority.to_owned();
    std::thread::Builder::new()
        .name("resolve".into())
        .spawn(move || {
            let _ = sender.send(name.to_socket_addrs().map(Iterator::collect));
        })?;
    answer
        .recv_deadline(deadline)
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

fn dial_tcp(addresses: &[SocketAddr], deadline: Instant) -> io::Result<OwnedFd> {
    let mut failure = io::Error::from(ErrorKind::NotFound);
    for (index, address) in addresses.iter().enumerate() {
        // The remaining time is divided among the addresses not yet tried.
        let share = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, remaining(deadline)? / share) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                sockopt::set_socket_keepalive(&stream, true)?;
                sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
                sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
                sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
                return Ok(stream.into());
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Time until the deadline; `TimedOut` if it has passed.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    // The kernel rounds down to microseconds and takes 0 as "no timeout".
    Ok(left.max(Duration::from_micros(1)))
}

/// A connected socket. A read or write that is not done by its deadline fails with `TimedOut`.
pub(super) struct Socket {
    fd: Arc<OwnedFd>,
    read: SocketTimeout,
    write: SocketTimeout,
}

#[derive(Default)]
struct SocketTimeout {
    deadline: Option<Instant>,
    // Whether the socket has a timeout set, which must be removed when there is no deadline any more.
    is_set: bool,
}

impl SocketTimeout {
    /// Sets the socket's timeout to the time that is left until the deadline.
    fn apply(&mut self, fd: &OwnedFd, which: sockopt::Timeout) -> io::Result<()> {
        let timeout = self.deadline.map(remaining).transpose()?;
        if timeout.is_some() || self.is_set {
            sockopt::set_socket_timeout(fd, which, timeout)?;
            self.is_set = timeout.is_some();
        }
        Ok(())
    }
}

impl Socket {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd: Arc::new(fd),
            read: SocketTimeout::default(),
            write: SocketTimeout::default(),
        }
    }

    pub(super) fn set_read_deadline(&mut self, deadline: Option<Instant>) {
        self.read.deadline = deadline;
    }

    pub(super) fn set_write_deadline(&mut self, deadline: Option<Instant>) {
        self.write.deadline = deadline;
    }

    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Whether it is connected and has nothing to read.
    fn is_idle(&self) -> bool {
        let mut byte = [0; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(&self.fd, &mut byte, flags)
            .is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.read.apply(&self.fd, sockopt::Timeout::Recv)?;
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) => return Ok(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            self.write.apply(&self.fd, sockopt::Timeout::Send)?;
            match rustix::net::send(&self.fd, buffer, SendFlags::NOSIGNAL) {
                Ok(count) => return Ok(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn timed_out(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::AGAIN => ErrorKind::TimedOut.into(),
        other => other.into(),
    }
}

/// A connected socket, after the TLS handshake if there is one.
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<ClientConnection>, Socket),
}

impl Stream {
    pub(super) fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) | Self::Tls(_, socket) => socket,
        }
    }

    /// The descriptor, to shut the socket down from another thread.
    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        match self {
            Self::Plain(socket) | Self::Tls(_, socket) => &socket.fd,
        }
    }

    /// Whether the connection can be used for another request: not closed by the engine, and nothing to read.
    pub(super) fn is_idle(&mut self) -> bool {
        // Over TLS, unread bytes may be a session ticket. Not reusing such a connection costs one handshake.
        self.socket().is_idle()
    }

    /// Whether the engine has neither sent anything nor closed the connection. Never blocks. Unlike [`Stream::is_idle`], over TLS
    /// what is not data of the engine's, such as a session ticket, does not count.
    pub(super) fn is_quiet(&mut self) -> bool {
        let (session, socket) = match self {
            Self::Plain(socket) => return socket.is_idle(),
            Self::Tls(session, socket) => (session, socket),
        };
        loop {
            match session.reader().read(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return false,
            }
            if socket.is_idle() {
                return true;
            }
            // At least one byte, or the end, is there, so that this does not block.
            let has_more = matches!(session.read_tls(socket), Ok(1..));
            if !has_more || session.process_new_packets().is_err() {
                return false;
            }
        }
    }

    /// Closes the write half; reading stays possible.
    pub(super) fn close_write(&mut self) -> io::Result<()> {
        if let Self::Tls(session, socket) = self {
            session.send_close_notify();
            flush_tls(session, socket)?;
        }
        Ok(rustix::net::shutdown(&self.socket().fd, Shutdown::Write)?)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(session, socket) => read_tls(session, socket, buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buffer),
            Self::Tls(session, socket) => {
                let count = session.writer().write(buffer)?;
                flush_tls(session, socket)?;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unlike `rustls::Stream`, continues to read after a write has failed, because an engine that refuses an upload responds
/// and closes.
fn read_tls(
    session: &mut ClientConnection,
    socket: &mut Socket,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match session.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
        session.read_tls(socket)?;
        let processed = session.process_new_packets();
        // May be an alert or a key update. If it cannot be sent, the bytes that were read are still valid.
        let _ = flush_tls(session, socket);
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
}

fn flush_tls(session: &mut ClientConnection, socket: &mut Socket) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}
