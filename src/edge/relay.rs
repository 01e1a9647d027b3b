//! Carries the answer from the inner server to the client, and watches the client meanwhile: when it leaves, the
//! request's cancel fires. Runs on a thread of its own, for the handler may neither read nor write for minutes.

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
/// After this many pieces in a row the client is looked at again.
const PIECES_IN_A_ROW: usize = 64;
/// A client that sends more than this after its request is not waiting for an answer.
const MAX_STRAY_BYTES: usize = 64 * 1024;
/// How soon the end of the body is noticed: until then, what the client sends is the body reader's.
const BODY_TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A FIN shows even behind bytes that nobody has read yet. Elsewhere it shows once they are read.
#[cfg(target_os = "linux")]
const PEER_FINISHED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const PEER_FINISHED: PollFlags = PollFlags::empty();

/// A relay at work.
pub(crate) struct Relay {
    client: Arc<Client>,
    answer: UnixStream,
    cancel: Cancel,
    pace: MinimumRate,
    stray_bytes: usize,
    is_watching: bool,
    has_begun: bool,
}

/// What copying came to.
enum Copied {
    /// The answer is complete.
    All,
    /// There may be more later.
    SoFar,
}

impl Relay {
    /// Starts to carry what arrives on `answer`. Errors: no thread to be had.
    pub(super) fn spawn(
        client: Arc<Client>,
        answer: UnixStream,
        cancel: Cancel,
    ) -> io::Result<thread::JoinHandle<()>> {
        let relay = Self {
            pace: client.pace(),
            client,
            answer,
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

    // Returning drops the inner connection, so whoever still writes the answer learns that it is in vain.
    fn run(mut self) {
        if let Err(error) = self.carry() {
            log::debug!("the client left before the end of its answer: {error}");
            self.cancel.fire();
        }
    }

    fn carry(&mut self) -> io::Result<()> {
        loop {
            let (client, answer) = self.wait()?;
            if client.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if !client.is_empty() {
                self.watch()?;
            }
            if !answer.is_empty()
                && let Copied::All = self.copy()?
            {
                return Ok(());
            }
        }
    }

    /// Waits until the client or the answer has something to say.
    fn wait(&self) -> io::Result<(PollFlags, PollFlags)> {
        let body_ended = self.client.is_body_ended();
        let mut interest = PEER_FINISHED;
        interest.set(PollFlags::IN, body_ended);
        let timeout = (self.is_watching && !body_ended).then_some(&BODY_TICK);
        let mut both = [
            PollFd::new(&self.answer, PollFlags::IN),
            PollFd::new(self.client.socket(), interest),
        ];
        let polled = if self.is_watching { 2 } else { 1 };
        match poll(&mut both[..polled], timeout) {
            Ok(_) => Ok((both[1].revents(), both[0].revents())),
            Err(Errno::INTR) => Ok((PollFlags::empty(), PollFlags::empty())),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Looks at what the client sent after its request. A half-close counts as leaving: nearly every client that
    /// stops sending has gone, and one that has not gets its (cancelled) answer.
    fn watch(&mut self) -> io::Result<()> {
        if !self.client.is_body_ended() {
            self.give_up_on_client();
            return Ok(());
        }
        let mut stray = [0u8; 4 * 1024];
        match recv(self.client.socket(), &mut stray, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.give_up_on_client(),
            Ok((_, count)) => {
                // Pipelined requests are dropped: the first is answered, and `Connection: close` says why.
                self.stray_bytes += count;
                if self.stray_bytes > MAX_STRAY_BYTES {
                    self.give_up_on_client();
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn give_up_on_client(&mut self) {
        self.is_watching = false;
        self.cancel.fire();
    }

    fn copy(&mut self) -> io::Result<Copied> {
        // Allocated per wake-up: an idle stream then costs no buffer.
        let mut buffer = vec![0u8; BUFFER_BYTES];
        for _ in 0..PIECES_IN_A_ROW {
            match recv(&self.answer, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(Copied::All),
                Ok((_, count)) => self.send(&buffer[..count])?,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Copied::SoFar)
    }

    fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return self.client.send(piece, &mut self.pace);
        }
        self.client.begin_answer(piece, &mut self.pace)
    }
}
