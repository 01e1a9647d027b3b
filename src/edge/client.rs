//! One client's socket, as those who share it see it: the body's reader, the relay of the answer, and the closer.

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
    write_stall: Duration,
    // Guards against an interim answer in the middle of the final one.
    answer_started: Mutex<bool>,
    body_ended: AtomicBool,
    status: AtomicU16,
}

impl Client {
    /// Takes over an accepted socket.
    pub(super) fn new(socket: TcpStream, write_stall: Duration) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(write_stall))?;
        probe_when_idle(&socket)?;
        Ok(Self {
            socket,
            write_stall,
            answer_started: Mutex::new(false),
            body_ended: AtomicBool::new(false),
            status: AtomicU16::new(0),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// A budget of waiting for this client to take an answer.
    pub(super) fn pace(&self) -> MinimumRate {
        MinimumRate::new(self.write_stall)
    }

    pub(super) fn body_has_ended(&self) {
        self.body_ended.store(true, Ordering::Release);
    }

    /// Whether the request was read whole, so that any further byte or EOF is news.
    pub(super) fn is_body_ended(&self) -> bool {
        self.body_ended.load(Ordering::Acquire)
    }

    /// The status of the answer that was begun; 0 before that.
    pub(super) fn status(&self) -> u16 {
        self.status.load(Ordering::Acquire)
    }

    /// Asks the client to send its body, unless it is being answered already.
    pub(super) fn send_continue(&self) -> io::Result<()> {
        let started = self
            .answer_started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *started {
            return Ok(());
        }
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n", &mut self.pace())
    }

    /// Sends the first bytes of the final answer: its status line at least. Errors: as [`Client::send`], or there is
    /// an answer already, and a second one would be taken for a part of it.
    pub(super) fn begin_answer(&self, bytes: &[u8], pace: &mut MinimumRate) -> io::Result<()> {
        let mut started = self
            .answer_started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *started, true) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        drop(started);
        let status = bytes
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        self.status.store(status.unwrap_or(500), Ordering::Release);
        self.send(bytes, pace)
    }

    /// Sends bytes. Errors: the client is gone, stalls, or is too slow in all (`TimedOut`).
    pub(super) fn send(&self, mut bytes: &[u8], pace: &mut MinimumRate) -> io::Result<()> {
        while !bytes.is_empty() {
            let started = Instant::now();
            match (&self.socket).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    crate::metrics::HTTP_SENT_BYTES.add(count);
                    bytes = &bytes[count..];
                    pace.note(count, started.elapsed())?;
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

    /// Cuts the connection: whoever reads or writes it returns at once.
    pub(super) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A peer that vanished without a FIN (power, network) must not hold a run or a stream for ever.
fn probe_when_idle(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}
