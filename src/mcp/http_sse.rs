//! The HTTP+SSE transport: `GET /sse` opens a session and its event stream; `POST /messages` sends a message to the
//! server, whose responses appear on the stream.
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use super::context::CallContext;
use super::outgoing::MessageSender;
use super::post;
use super::server::Mcp;
use super::session::{self, Session};
use super::sse_session::{EventStream, QueueLimits, StopSignals};
use crate::http::{EVENT_STREAM, Reply, Request};
use std::io;
use std::sync::Arc;

/// Answers `GET /sse`: the event stream of a new session. Any other method: 405, from which clients conclude that this
/// is not Streamable HTTP.
pub fn open(mcp: &Mcp, request: &Request) -> Reply {
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
    let stop = StopSignals {
        disconnected: request.cancel.clone(),
        draining: request.draining.clone(),
    };
    let path_prefix = request.path_prefix();
    Reply::stream(EVENT_STREAM, move |writer| {
        stream.write(writer, &path_prefix, &stop)
    })
}

/// Registers a session under the id that the client chose, if that is allowed and free, else under a random one.
fn register(mcp: &Mcp, request: &Request) -> io::Result<EventStream> {
    let chosen = session_id(request)
        .filter(|id| mcp.settings().client_session_ids && session::may_be_chosen(id));
    if let Some(id) = chosen
        && let Ok(stream) = try_register(mcp, id.to_owned(), request)
    {
        return Ok(stream);
    }
    try_register(mcp, crate::random_id::unguessable()?, request)
}

fn try_register(mcp: &Mcp, id: String, request: &Request) -> io::Result<EventStream> {
    let settings = mcp.settings();
    let session = Session::new(id, mcp.new_client());
    let limits = QueueLimits {
        messages: settings.queue_messages,
        bytes: settings.queue_bytes,
        memory: request.answer_memory.clone(),
    };
    EventStream::open(mcp.sse_sessions(), session, limits, settings.keep_alive)
}

/// Answers `POST /messages?sessionId=…`: 202 at once; responses go to the session's event stream.
pub fn post(mcp: &Mcp, mut request: Request) -> Reply {
    if request.method != "POST" {
        return post::not_allowed("POST");
    }
    let Some(id) = session_id(&request) else {
        let detail = "the sessionId parameter is missing; GET /sse names the address to post to";
        return post::problem(400, "session_id_missing", detail);
    };
    let found = mcp.sse_sessions().find(id);
    let Some(session) = found.filter(|session| !session.has_ended()) else {
        let detail = "there is no such session; GET /sse opens one";
        return post::problem(404, "session_not_found", detail);
    };
    let payload = match post::payload(&mut request) {
        Ok(payload) => payload,
        Err(reply) => return reply,
    };
    let sender: Arc<dyn MessageSender> = session.clone();
    let context = CallContext::new(session.client(), sender).with_body(request.take_body_memory());
    match mcp.receive(payload, &context) {
        Ok(()) => Reply::bytes(202, "text/plain; charset=utf-8", b"Accepted".to_vec()),
        Err(rejected) => post::refused(&rejected),
    }
}

fn session_id(request: &Request) -> Option<&str> {
    request
        .query("sessionId")
        .or_else(|| request.query("session_id"))
        .filter(|id| !id.is_empty())
}
