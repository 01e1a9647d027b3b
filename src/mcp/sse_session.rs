//! A session of the HTTP+SSE transport: its queue of events, and the stream that writes them to the client.

use super::client::ClientState;
use super::outgoing::MessageSender;
use super::post;
use super::session::{HasSession, Registry, Session};
use crate::cancel::Cancel;
use crate::http::{KEEP_ALIVE, ServerSentEvent, StreamWriter};
use crate::memory::Reservation;
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often a draining stream checks whether its calls have ended.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A session with an event stream. Sends messages by queueing them for the stream; never blocks.
#[derive(Debug)]
pub(super) struct SseSession {
    session: Session,
    queue: Sender<Vec<u8>>,
    queued_bytes: AtomicUsize,
    limit_bytes: usize,
    /// The memory of the queued events.
    memory: Option<Reservation>,
    ended: Cancel,
}

/// Limits of an [`SseSession`]'s queue.
#[derive(Clone, Debug)]
pub(super) struct QueueLimits {
    /// Maximum number of queued events.
    pub messages: usize,
    /// Maximum size of all queued events.
    pub bytes: usize,
    /// The memory that queued events are taken from.
    pub memory: Option<Reservation>,
}

/// The other end of an [`SseSession`]: its events, to be written to the client. Dropping it ends the session and
/// removes it from the registry.
pub(super) struct EventStream {
    registry: Arc<Registry<SseSession>>,
    session: Arc<SseSession>,
    events: Receiver<Vec<u8>>,
    keep_alive: Duration,
}

/// When an [`EventStream`] stops.
pub(super) struct StopSignals {
    /// Fires when the client has left: stops at once.
    pub disconnected: Cancel,
    /// Fires when the server drains: stops when the running calls have ended.
    pub draining: Cancel,
}

impl HasSession for SseSession {
    fn session(&self) -> &Session {
        &self.session
    }
}

impl MessageSender for SseSession {
    fn notify(&self, notification: Value) {
        self.push(post::event(&notification));
    }
    fn respond(&self, response: Value) {
        self.push(post::event(&response));
    }
    /// One item of the queue, so that no batch is too large for it.
    fn respond_all(&self, responses: Vec<Value>) {
        let events: Vec<u8> = responses.iter().flat_map(post::event).collect();
        if !events.is_empty() {
            self.push(events);
        }
    }
}

impl SseSession {
    /// The client's state.
    pub(super) fn client(&self) -> &Arc<ClientState> {
        &self.session.client
    }

    /// Whether the session has ended, though the registry may still contain it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_fired()
    }

    /// Ends the stream and cancels the session's calls.
    pub(super) fn end(&self) {
        self.ended.fire();
        self.session.client.calls.close();
    }

    /// Queues one or more events. If the queue is full, or the memory budget used up, the session ends: no run waits for a slow
    /// reader.
    fn push(&self, event: Vec<u8>) {
        let size = event.len();
        let before = self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let memory = self.memory.as_ref();
        let has_memory = memory.is_none_or(|memory| memory.grow(size as u64));
        if !has_memory || before + size > self.limit_bytes || self.queue.try_send(event).is_err() {
            self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            if let Some(memory) = memory.filter(|_| has_memory) {
                memory.shrink(size as u64);
            }
            if !self.ended.is_fired() {
                log::warn!(
                    "MCP session {} does not keep up and is ended",
                    self.session.id
                );
            }
            self.end();
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.session.end();
        self.registry.end(&self.session.session.id);
        log::debug!("MCP session {} is gone", self.session.session.id);
    }
}

impl EventStream {
    /// Registers a session. Errors: its id is in use, or the registry is full.
    pub(super) fn open(
        registry: &Arc<Registry<SseSession>>,
        session: Session,
        limits: QueueLimits,
        keep_alive: Duration,
    ) -> io::Result<Self> {
        let (queue, events) = bounded(limits.messages);
        let session = Arc::new(SseSession {
            session,
            queue,
            queued_bytes: AtomicUsize::new(0),
            limit_bytes: limits.bytes,
            memory: limits.memory,
            ended: Cancel::new(),
        });
        registry
            .add(Arc::clone(&session))
            .map_err(|_| io::Error::other("the id is taken, or there are too many sessions"))?;
        log::debug!("MCP session {} is open", session.session.id);
        Ok(Self {
            registry: Arc::clone(registry),
            session,
            events,
            keep_alive,
        })
    }

    /// Writes events until the client leaves, the session ends, or the server drains and the calls have ended. Errors:
    /// the client cannot be written to.
    /// The first one says that messages are to be posted below `path_prefix`.
    pub(super) fn write(
        self,
        writer: &mut StreamWriter<'_>,
        path_prefix: &str,
        stop: &StopSignals,
    ) -> io::Result<()> {
        let id = &self.session.session.id;
        let address = format!("{path_prefix}/messages?sessionId={id}");
        let endpoint = ServerSentEvent {
            id: None,
            event: "endpoint",
            data: &address,
        };
        writer.send(&endpoint.encode())?;
        while !stop.draining.is_fired() {
            crossbeam_channel::select! {
                recv(self.events) -> event => match event {
                    Ok(event) => self.send(writer, &event)?,
                    Err(_) => return Ok(()),
                },
                recv(stop.disconnected.done()) -> _ => return Ok(()),
                recv(self.session.ended.done()) -> _ => return Ok(()),
                recv(stop.draining.done()) -> _ => break,
                default(self.keep_alive) => writer.send(KEEP_ALIVE)?,
            }
        }
        self.drain(writer, &stop.disconnected)
    }

    /// Writes events until the calls have ended and their responses are written.
    fn drain(&self, writer: &mut StreamWriter<'_>, disconnected: &Cancel) -> io::Result<()> {
        while !disconnected.is_fired() && !self.session.has_ended() {
            match self.events.recv_timeout(DRAIN_POLL) {
                Ok(event) => self.send(writer, &event)?,
                Err(_) if self.session.client().calls.is_idle() && self.events.is_empty() => break,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn send(&self, writer: &mut StreamWriter<'_>, event: &[u8]) -> io::Result<()> {
        let sent = writer.send(event);
        self.session
            .queued_bytes
            .fetch_sub(event.len(), Ordering::Relaxed);
        if let Some(memory) = &self.session.memory {
            memory.shrink(event.len() as u64);
        }
        sent
    }
}
