//! The HTTP+SSE transport: `GET /sse` opens a session whose thread writes what `POST /messages` causes.
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use super::jsonrpc::{self, Code, Error, Id, Message, Notification, Payload, Rejection};
use super::outlet::Outlet;
use super::session::{self, Addressed, Credential, Registry, Session};
use super::{Caller, Mcp, post};
use crate::cancel::Cancel;
use crate::http::{BodyReservation, Reply, Request, StreamWriter};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often a draining session looks whether its calls are done.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A session with an open stream.
#[derive(Debug)]
pub(super) struct SseSession {
    session: Session,
    queue: Sender<Vec<u8>>,
    queued_bytes: AtomicUsize,
    limit_bytes: usize,
    ended: Cancel,
}

impl Addressed for SseSession {
    fn session(&self) -> &Session {
        &self.session
    }
}

impl SseSession {
    /// Queues one event. A queue that is full ends the session: its reader is too slow, and no run may wait for it.
    fn push(&self, message: &Value) {
        let event = post::event(message);
        let size = event.len();
        let before = self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > self.limit_bytes || self.queue.try_send(event).is_err() {
            self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            if !self.ended.is_fired() {
                log::warn!(
                    "MCP session {} does not keep up and is ended",
                    self.session.id
                );
            }
            self.end();
        }
    }

    /// Ends the stream and cancels its calls.
    pub(super) fn end(&self) {
        self.ended.fire();
        self.session.caller.calls.close();
    }
}

impl Outlet for SseSession {
    fn notify(&self, notification: Value) {
        self.push(&notification);
    }
    fn respond(&self, response: Value) {
        self.push(&response);
    }
}

/// A session in the registry for as long as this lives: its stream, written or not.
struct Stream {
    registry: Arc<Registry<SseSession>>,
    session: Arc<SseSession>,
    events: Receiver<Vec<u8>>,
    keep_alive: Duration,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.session.end();
        self.registry.end(&self.session.session.id);
        log::debug!("MCP session {} is gone", self.session.session.id);
    }
}

/// `GET /sse`.
pub(super) fn open(mcp: &Mcp, request: &Request) -> Reply {
    if request.method != "GET" {
        return post::not_allowed("GET");
    }
    let stream = match register(mcp, request) {
        Ok(stream) => stream,
        Err(error) => {
            log::warn!("no MCP session could be opened: {error}");
            return post::problem(503, "no_session", "no session could be opened");
        }
    };
    let (gone, draining) = (request.cancel.clone(), request.draining.clone());
    Reply::stream("text/event-stream", move |writer| {
        stream.write(writer, &gone, &draining)
    })
}

fn register(mcp: &Mcp, request: &Request) -> io::Result<Stream> {
    let credential = Credential::of(request);
    let chosen = session_id(request)
        .filter(|id| mcp.settings().client_session_ids && session::may_be_chosen(id));
    if let Some(id) = chosen
        && let Ok(stream) = try_register(mcp, id.to_owned(), credential.clone())
    {
        return Ok(stream);
    }
    try_register(mcp, crate::random_id::unguessable()?, credential)
}

fn try_register(mcp: &Mcp, id: String, credential: Credential) -> io::Result<Stream> {
    let settings = mcp.settings();
    let (queue, events) = bounded(settings.queue_messages);
    let session = Arc::new(SseSession {
        session: Session::new(id, credential, mcp.stranger(None)),
        queue,
        queued_bytes: AtomicUsize::new(0),
        limit_bytes: settings.queue_bytes,
        ended: Cancel::new(),
    });
    let registry = Arc::clone(&mcp.shared.streams);
    registry
        .add(Arc::clone(&session))
        .map_err(|_| io::Error::other("the id is taken, or there are too many sessions"))?;
    log::debug!("MCP session {} is open", session.session.id);
    Ok(Stream {
        registry,
        session,
        events,
        keep_alive: settings.keep_alive,
    })
}

impl Stream {
    /// Writes events until the client leaves, the session ends, or the server drains and the calls are done.
    fn write(
        self,
        writer: &mut StreamWriter<'_>,
        gone: &Cancel,
        draining: &Cancel,
    ) -> io::Result<()> {
        let endpoint = format!(
            "event: endpoint\ndata: /messages?sessionId={}\n\n",
            self.session.session.id
        );
        writer.send(endpoint.as_bytes())?;
        while !draining.is_fired() {
            crossbeam_channel::select! {
                recv(self.events) -> event => match event {
                    Ok(event) => self.send(writer, &event)?,
                    Err(_) => return Ok(()),
                },
                recv(gone.done()) -> _ => return Ok(()),
                recv(self.session.ended.done()) -> _ => return Ok(()),
                recv(draining.done()) -> _ => break,
                default(self.keep_alive) => writer.send(post::KEEP_ALIVE)?,
            }
        }
        self.drain(writer, gone)
    }

    fn drain(&self, writer: &mut StreamWriter<'_>, gone: &Cancel) -> io::Result<()> {
        while !gone.is_fired() && !self.session.ended.is_fired() {
            match self.events.recv_timeout(DRAIN_POLL) {
                Ok(event) => self.send(writer, &event)?,
                Err(_) if self.session.session.caller.calls.is_idle() && self.events.is_empty() => {
                    break;
                }
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
        sent
    }
}

/// `POST /messages?sessionId=…`: 202 at once; answers go to the session's stream.
pub(super) fn post(mcp: &Mcp, mut request: Request) -> Reply {
    if request.method != "POST" {
        return post::not_allowed("POST");
    }
    let Some(id) = session_id(&request) else {
        let detail = "the sessionId parameter is missing; GET /sse tells the address to post to";
        return post::problem(400, "session_id_missing", detail);
    };
    let found = mcp.shared.streams.find(id, &Credential::of(&request));
    let Some(stream) = found.filter(|stream| !stream.ended.is_fired()) else {
        let detail = "there is no such session; GET /sse opens one";
        return post::problem(404, "session_not_found", detail);
    };
    let payload = match post::payload(&mut request) {
        Ok(payload) => payload,
        Err(reply) => return reply,
    };
    let room = request.take_body_reservation();
    match payload {
        Payload::One(Ok(message)) => accept(mcp, &stream, message, &room),
        Payload::One(Err(rejected)) => return post::refused(&rejected),
        Payload::Batch(items) => {
            let agreed = stream.session.caller.peer.revision();
            if !agreed.is_some_and(super::protocol::Revision::has_batches) {
                return post::refused(&no_batches());
            }
            for item in items {
                match item {
                    Ok(message) => accept(mcp, &stream, message, &room),
                    Err(rejected) => stream.push(&jsonrpc::rejection(&rejected)),
                }
            }
        }
    }
    Reply::bytes(202, "text/plain; charset=utf-8", b"Accepted".to_vec())
}

/// The answer to an array where the revision has none.
pub(super) fn no_batches() -> Rejection {
    let what = "Invalid request: only revision 2025-03-26 has batches, and it was not agreed on";
    Rejection {
        id: None,
        error: Error::new(Code::InvalidRequest, what),
    }
}

fn accept(mcp: &Mcp, stream: &Arc<SseSession>, message: Message, room: &Option<BodyReservation>) {
    match message {
        Message::Request(asked) => {
            let outlet: Arc<dyn Outlet> = Arc::clone(stream) as _;
            let caller = Caller {
                room: room.clone(),
                ..stream.session.caller.clone()
            };
            mcp.serve(asked, &caller, outlet);
        }
        Message::Notification(told) => {
            if let Some(id) = cancelled(&told) {
                stream.session.caller.calls.withdraw(&id);
            }
        }
        Message::Response => {}
    }
}

/// The request that a `notifications/cancelled` withdraws.
pub(super) fn cancelled(told: &Notification) -> Option<Id> {
    match told.method.as_str() {
        "notifications/cancelled" => told.params.get("requestId").and_then(Id::take),
        _ => None,
    }
}

fn session_id(request: &Request) -> Option<&str> {
    request
        .query("sessionId")
        .or_else(|| request.query("session_id"))
        .filter(|id| !id.is_empty())
}
