//! The request body, read straight from the client: decoded, capped, under a stall deadline and a slowest pace.

use super::body_budget::BodyReservation;
use super::chunked::Chunked;
use super::client::Client;
use super::head::Framing;
use super::minimum_rate::MinimumRate;
use std::fmt;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gathers chunk-size lines; larger reads bypass it.
const CHUNK_BUFFER_BYTES: usize = 8 * 1024;

/// A fault of a body that is neither the socket's nor malformed framing. Travels inside an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// More bytes than allowed.
    TooLarge {
        /// How many are.
        limit_bytes: u64,
    },
    /// No byte within the stall deadline, or too few in all.
    TimedOut,
    /// Other bodies take up the memory that there is for them.
    NoRoom,
}

impl BodyFault {
    /// The fault inside an error, if one is.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge { .. } => "the request body is larger than the limit",
            Self::TimedOut => "the request body did not arrive in time",
            Self::NoRoom => "there is no memory for the request body just now",
        })
    }
}

impl std::error::Error for BodyFault {}

impl From<BodyFault> for io::Error {
    fn from(fault: BodyFault) -> Self {
        let kind = match fault {
            BodyFault::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            BodyFault::TimedOut => io::ErrorKind::TimedOut,
            BodyFault::NoRoom => io::ErrorKind::OutOfMemory,
        };
        Self::new(kind, fault)
    }
}

/// The reader that a handler gets.
pub(crate) struct Body {
    source: BufReader<Chain<Cursor<Vec<u8>>, Upload>>,
    progress: Progress,
    client: Arc<Client>,
    room: BodyReservation,
    expects_continue: bool,
}

enum Progress {
    Fixed { left_bytes: u64 },
    Chunked(Chunked),
}

/// What a body is made of.
pub(super) struct BodyPlan {
    pub(super) framing: Framing,
    /// What came together with the head.
    pub(super) beginning: Vec<u8>,
    pub(super) limit_bytes: u64,
    pub(super) stall: Duration,
    pub(super) room: BodyReservation,
    pub(super) expects_continue: bool,
}

impl Body {
    /// The body of the request that `client` just sent the head of.
    pub(super) fn new(client: Arc<Client>, plan: BodyPlan) -> io::Result<Self> {
        let buffer_bytes = match plan.framing {
            Framing::Chunked => CHUNK_BUFFER_BYTES,
            Framing::Absent | Framing::Length(_) => 0,
        };
        let progress = match plan.framing {
            Framing::Absent => Progress::Fixed { left_bytes: 0 },
            Framing::Length(length) => Progress::Fixed { left_bytes: length },
            Framing::Chunked => Progress::Chunked(Chunked::new(plan.limit_bytes)),
        };
        client.socket().set_read_timeout(Some(plan.stall))?;
        // A client that has begun to send no longer waits for our leave.
        let expects_continue = plan.expects_continue && plan.beginning.is_empty();
        let upload = Upload {
            client: Arc::clone(&client),
            pace: MinimumRate::new(plan.stall),
        };
        let body = Self {
            source: BufReader::with_capacity(
                buffer_bytes,
                Cursor::new(plan.beginning).chain(upload),
            ),
            progress,
            client,
            room: plan.room,
            expects_continue,
        };
        body.note_end();
        Ok(body)
    }

    fn has_ended(&self) -> bool {
        match &self.progress {
            Progress::Fixed { left_bytes } => *left_bytes == 0,
            Progress::Chunked(chunked) => chunked.has_ended(),
        }
    }

    fn note_end(&self) {
        if self.has_ended() {
            self.client.body_has_ended();
        }
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.has_ended() || into.is_empty() {
            return Ok(0);
        }
        if std::mem::take(&mut self.expects_continue) {
            self.client.send_continue()?;
        }
        let count = match &mut self.progress {
            Progress::Fixed { left_bytes } => read_fixed(&mut self.source, left_bytes, into)?,
            Progress::Chunked(chunked) => chunked.read(&mut self.source, into)?,
        };
        self.note_end();
        if !self.room.grow(count as u64) {
            return Err(BodyFault::NoRoom.into());
        }
        Ok(count)
    }
}

fn read_fixed(
    source: &mut impl BufRead,
    left_bytes: &mut u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let most = usize::try_from(*left_bytes).map_or(into.len(), |left| left.min(into.len()));
    let count = source.read(&mut into[..most])?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left_bytes -= count as u64;
    Ok(count)
}

/// The socket, with deadlines.
struct Upload {
    client: Arc<Client>,
    pace: MinimumRate,
}

impl Read for Upload {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let timed_out = |_| io::Error::from(BodyFault::TimedOut);
        match self.client.socket().read(into) {
            Ok(count) => {
                crate::metrics::HTTP_RECEIVED_BYTES.add(count);
                self.pace
                    .note(count, started.elapsed())
                    .map_err(timed_out)?;
                Ok(count)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(BodyFault::TimedOut.into()),
            Err(e) => Err(e),
        }
    }
}
