//! Copies the response from the inner server to the client and watches the client meanwhile: when the client leaves, the
//! request's cancel fires. Has a thread of its own, because a handler may neither read nor write for minutes.

use super::client::Client;
use super::minimum_rate::MinimumRate;
use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

const STACK_BYTES: usize = 128 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;
/// After this number of pieces without a pause the client's socket is polled again.
const MAX_PIECES_PER_POLL: usize = 64;
/// A client that sends more than this after its request is not waiting for a response.
const MAX_STRAY_BYTES: usize = 64 * 1024;
/// How often to check whether the body has been read. Until then, what the client sends belongs to the body's reader.
const BODY_POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// On Linux a FIN is reported even behind bytes that are still unread; elsewhere, once they are read.
#[cfg(target_os = "linux")]
const PEER_FINISHED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const PEER_FINISHED: PollFlags = PollFlags::empty();

/// The state of one relay thread.
pub(crate) struct Relay {
    client: Arc<Client>,
    response: UnixStream,
    cancel: Cancel,
    rate: MinimumRate,
    stray_bytes: usize,
    is_watching: bool,
    has_begun: bool,
}

/// What [`poll`] reported of each side.
struct Ready {
    client: PollFlags,
    response: PollFlags,
}

/// How far copying got.
enum Progress {
    /// The response is complete.
    Complete,
    /// Nothing more is there to copy yet.
    Waiting,
}

impl Relay {
    /// Starts the thread, which copies what arrives on `response` until it ends. Errors: no thread.
    pub(super) fn spawn(
        client: Arc<Client>,
        response: UnixStream,
        cancel: Cancel,
    ) -> io::Result<thread::JoinHandle<()>> {
        let relay = Self {
            rate: client.minimum_rate(),
            client,
            response,
            cancel,
            stray_bytes: 0,
            is_watching: true,
            has_begun: false,
        };
        thread::Builder::new()
            .name("edge-relay".into())
            .stack_size(STACK_BYTES)
            .spawn(move || relay.run())
    }

    // Returning closes the inner connection, so that a handler that is still writing gets an error.
    fn run(mut self) {
        if let Err(error) = self.copy_all() {
            log::debug!("the client left before the end of its answer: {error}");
            self.cancel.fire();
        }
    }

    fn copy_all(&mut self) -> io::Result<()> {
        loop {
            let ready = self.poll()?;
            let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            if ready.client.intersects(broken) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if !ready.client.is_empty() {
                self.read_stray_bytes()?;
            }
            if !ready.response.is_empty()
                && let Progress::Complete = self.copy_available()?
            {
                return Ok(());
            }
        }
    }

    /// Blocks until the client or the response is ready.
    fn poll(&self) -> io::Result<Ready> {
        let body_ended = self.client.is_body_ended();
        let mut interest = PEER_FINISHED;
        interest.set(PollFlags::IN, body_ended);
        let timeout = (self.is_watching && !body_ended).then_some(&BODY_POLL_INTERVAL);
        let mut both = [
            PollFd::new(&self.response, PollFlags::IN),
            PollFd::new(self.client.socket(), interest),
        ];
        let polled = if self.is_watching { 2 } else { 1 };
        match poll(&mut both[..polled], timeout) {
            Ok(_) => Ok(Ready {
                client: both[1].revents(),
                response: both[0].revents(),
            }),
            Err(Errno::INTR) => Ok(Ready {
                client: PollFlags::empty(),
                response: PollFlags::empty(),
            }),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads what the client sent after its request. A half-close counts as leaving: nearly every client that stops
    /// sending has gone, and one that has not still gets its (cancelled) response.
    fn read_stray_bytes(&mut self) -> io::Result<()> {
        if !self.client.is_body_ended() {
            self.stop_watching();
            return Ok(());
        }
        let mut stray = [0u8; 4 * 1024];
        match recv(self.client.socket(), &mut stray, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.stop_watching(),
            Ok((_, count)) => {
                // Pipelined requests are discarded: only the first is answered, with `Connection: close`.
                self.stray_bytes += count;
                if self.stray_bytes > MAX_STRAY_BYTES {
                    self.stop_watching();
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// The client has left: cancels its request and stops polling its socket.
    fn stop_watching(&mut self) {
        self.is_watching = false;
        self.cancel.fire();
    }

    /// Copies what is there, without waiting for more.
    fn copy_available(&mut self) -> io::Result<Progress> {
        // Allocated for each wake-up, so that an idle stream has no buffer.
        let mut buffer = vec![0u8; BUFFER_BYTES];
        for _ in 0..MAX_PIECES_PER_POLL {
            match recv(&self.response, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(Progress::Complete),
                Ok((_, count)) => self.send(&buffer[..count])?,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Progress::Waiting)
    }

    fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return self.client.send(piece, &mut self.rate);
        }
        self.client.begin_response(piece, &mut self.rate)
    }
}
