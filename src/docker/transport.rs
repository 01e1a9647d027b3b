//! Runs ureq's HTTP over our own sockets. The only file that uses `ureq::unversioned`, whose API may change in a minor
//! version.
use super::call::CALL_TIMEOUT;
use super::socket::{DialError, Endpoint, Stream};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Agent, Error, Timeout};

const BUFFER: usize = 64 * 1024;
// Less than BUFFER, because a head must fit into the buffer.
const MAX_HEAD: usize = 32 * 1024;
const MAX_IDLE_AGE: Duration = Duration::from_secs(15);

/// An agent for one engine that keeps at most `idle` unused connections.
pub(super) fn agent(endpoint: &Endpoint, idle: usize) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("oneoff-docker-runner/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections(idle)
        .max_idle_connections_per_host(idle)
        .max_idle_age(MAX_IDLE_AGE)
        .build();
    Agent::with_parts(config, EngineConnector(endpoint.clone()), NoLookup)
}

/// Resolves nothing: [`Endpoint`] does its own lookups, and a Unix socket needs none.
#[derive(Debug)]
struct NoLookup;

impl Resolver for NoLookup {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

struct EngineConnector(Endpoint);

impl Connector for EngineConnector {
    type Out = EngineTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let failed = |error: DialError| Error::Other(Box::new(error));
        let deadline = deadline(details.timeout).unwrap_or_else(|| Instant::now() + CALL_TIMEOUT);
        let socket = self.0.dial(deadline).map_err(failed)?;
        let interrupt = Arc::new(Interrupt(Arc::downgrade(socket.descriptor())));
        let handle = Arc::downgrade(&interrupt);
        (details.register_shutdown)(handle)?;
        Ok(Some(EngineTransport {
            stream: self.0.handshake(socket, deadline).map_err(failed)?,
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            refused: false,
            _interrupt: interrupt,
        }))
    }
}

impl fmt::Debug for EngineConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EngineConnector")
            .field(self.0.host())
            .finish()
    }
}

/// Lets `Agent::shutdown` end a call that blocks on the engine.
struct Interrupt(Weak<OwnedFd>);

impl ShutdownHandle for Interrupt {
    fn shutdown(&self) {
        if let Some(fd) = self.0.upgrade() {
            // Fails only if it is closed already.
            let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
        }
    }
}

struct EngineTransport {
    stream: Stream,
    buffers: LazyBuffers,
    // The engine has stopped reading the request.
    refused: bool,
    _interrupt: Arc<Interrupt>,
}

impl fmt::Debug for EngineTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineTransport").finish_non_exhaustive()
    }
}

impl Transport for EngineTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.refused {
            return Ok(());
        }
        let timeout = timeout.for_write();
        self.stream.socket().set_write_deadline(deadline(timeout));
        match self.stream.write_all(&self.buffers.output()[..amount]) {
            Ok(()) => Ok(()),
            // An engine that refuses an upload responds and closes without reading the rest. The response says more
            // than a broken pipe, so it is read next; if there is none, that read fails.
            Err(error) if is_closed(error.kind()) => {
                self.refused = true;
                Ok(())
            }
            Err(error) => Err(timed_out(error, timeout.reason)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.socket().set_read_deadline(deadline(timeout));
        let count = self
            .stream
            .read(self.buffers.input_append_buf())
            .map_err(|error| timed_out(error, timeout.reason))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        !self.refused && self.stream.is_idle()
    }
}

fn deadline(timeout: NextTimeout) -> Option<Instant> {
    (!timeout.after.is_not_happening()).then(|| Instant::now() + *timeout.after)
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn timed_out(error: std::io::Error, reason: Timeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}
