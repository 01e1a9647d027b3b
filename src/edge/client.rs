//! One client's socket, shared by the reader of its body, the relay of the response, and whatever closes it.

use super::minimum_rate::MinimumRate;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A connected client.
pub(crate) struct Client {
    socket: TcpStream,
    write_stall_timeout: Duration,
    // Prevents a `100 Continue` in the middle of the final response.
    response_begun: Mutex<bool>,
    body_ended: AtomicBool,
    status: AtomicU16,
}

impl Client {
    /// Takes an accepted socket. Errors: the client has left.
    pub(super) fn new(socket: TcpStream, write_stall_timeout: Duration) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(write_stall_timeout))?;
        enable_keepalive(&socket)?;
        Ok(Self {
            socket,
            write_stall_timeout,
            response_begun: Mutex::new(false),
            body_ended: AtomicBool::new(false),
            status: AtomicU16::new(0),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The minimum rate at which this client must take one response.
    pub(super) fn minimum_rate(&self) -> MinimumRate {
        MinimumRate::new(self.write_stall_timeout)
    }

    pub(super) fn set_body_ended(&self) {
        self.body_ended.store(true, Ordering::Release);
    }

    /// Whether the whole body has been read: what the client sends from then on does not belong to its request.
    pub(super) fn is_body_ended(&self) -> bool {
        self.body_ended.load(Ordering::Acquire)
    }

    /// The status of the response; 0 before it was begun.
    pub(super) fn status(&self) -> u16 {
        self.status.load(Ordering::Acquire)
    }

    /// Sends `100 Continue`, unless the final response was begun.
    pub(super) fn send_continue(&self) -> io::Result<()> {
        let begun = self
            .response_begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *begun {
            return Ok(());
        }
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n", &mut self.minimum_rate())
    }

    /// Sends the first bytes of the final response, with the whole status line. Errors: as [`Client::send`], or
    /// `AlreadyExists` if a response was begun before: a second one would be read as a part of the first.
    pub(super) fn begin_response(&self, bytes: &[u8], rate: &mut MinimumRate) -> io::Result<()> {
        let mut begun = self
            .response_begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *begun, true) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        drop(begun);
        let status = bytes
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        self.status.store(status.unwrap_or(500), Ordering::Release);
        self.send(bytes, rate)
    }

    /// Sends bytes; blocks until the kernel has taken all of them. Errors: the client has left, stalls, or is too slow in
    /// all (`TimedOut`).
    pub(super) fn send(&self, mut bytes: &[u8], rate: &mut MinimumRate) -> io::Result<()> {
        while !bytes.is_empty() {
            let started = Instant::now();
            match (&self.socket).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    crate::metrics::HTTP_SENT_BYTES.add(count);
                    bytes = &bytes[count..];
                    rate.record(count, started.elapsed())?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Shuts the connection down in both directions. Threads that read or write it return at once.
    pub(super) fn shut_down(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Without keep-alive probes a client that vanished without a FIN (power or network failure) would hold its run or stream
/// for ever.
fn enable_keepalive(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}
