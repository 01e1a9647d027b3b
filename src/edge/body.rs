//! Reads the request body from the client: without its framing, limited in size, with a stall deadline and a minimum rate.

use super::body_error::BodyError;
use super::chunked::Chunked;
use super::client::Client;
use super::head::Framing;
use super::minimum_rate::MinimumRate;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Buffer for chunk-size lines; larger reads bypass it.
const CHUNK_BUFFER_BYTES: usize = 8 * 1024;

/// The reader of one request body. Its errors convert to [`BodyError`].
pub(super) struct Body {
    source: BufReader<Chain<Cursor<Vec<u8>>, SocketReader>>,
    decoder: Decoder,
    client: Arc<Client>,
    /// Whether to send `100 Continue` before the first read.
    expects_continue: bool,
}

enum Decoder {
    Fixed { left_bytes: u64 },
    Chunked(Chunked),
}

/// What [`Body::new`] needs to know of the request and its limits.
pub(super) struct BodyOptions {
    pub(super) framing: Framing,
    /// The first bytes of the body, which were read together with the head.
    pub(super) start: Vec<u8>,
    pub(super) limit_bytes: u64,
    pub(super) stall_timeout: Duration,
    pub(super) expects_continue: bool,
}

impl Body {
    /// The body of the request whose head `client` has just sent. Errors: the client has left.
    pub(super) fn new(client: Arc<Client>, options: BodyOptions) -> io::Result<Self> {
        let buffer_bytes = match options.framing {
            Framing::Chunked => CHUNK_BUFFER_BYTES,
            Framing::Absent | Framing::Length(_) => 0,
        };
        let decoder = match options.framing {
            Framing::Absent => Decoder::Fixed { left_bytes: 0 },
            Framing::Length(length) => Decoder::Fixed { left_bytes: length },
            Framing::Chunked => Decoder::Chunked(Chunked::new(options.limit_bytes)),
        };
        client
            .socket()
            .set_read_timeout(Some(options.stall_timeout))?;
        // A client that has begun to send its body no longer waits for `100 Continue`.
        let expects_continue = options.expects_continue && options.start.is_empty();
        let socket = SocketReader {
            client: Arc::clone(&client),
            rate: MinimumRate::new(options.stall_timeout),
        };
        let body = Self {
            source: BufReader::with_capacity(
                buffer_bytes,
                Cursor::new(options.start).chain(socket),
            ),
            decoder,
            client,
            expects_continue,
        };
        body.note_end();
        Ok(body)
    }

    fn has_ended(&self) -> bool {
        match &self.decoder {
            Decoder::Fixed { left_bytes } => *left_bytes == 0,
            Decoder::Chunked(chunked) => chunked.has_ended(),
        }
    }

    fn note_end(&self) {
        if self.has_ended() {
            self.client.set_body_ended();
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
        let count = match &mut self.decoder {
            Decoder::Fixed { left_bytes } => read_fixed(&mut self.source, left_bytes, into)?,
            Decoder::Chunked(chunked) => chunked.read(&mut self.source, into)?,
        };
        self.note_end();
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

/// Reads the client's socket. Errors: the socket's, or [`BodyError::TimedOut`].
struct SocketReader {
    client: Arc<Client>,
    rate: MinimumRate,
}

impl Read for SocketReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let timed_out = |_| io::Error::from(BodyError::TimedOut);
        match self.client.socket().read(into) {
            Ok(count) => {
                crate::metrics::HTTP_RECEIVED_BYTES.add(count);
                self.rate
                    .record(count, started.elapsed())
                    .map_err(timed_out)?;
                Ok(count)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(BodyError::TimedOut.into()),
            Err(e) => Err(e),
        }
    }
}
