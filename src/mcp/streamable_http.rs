//! The Streamable HTTP transport, both eras on one path: sessions up to 2025-11-25, stateless from 2026-07-28 on.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use super::client::ClientState;
use super::context::CallContext;
use super::jsonrpc::{self, Code, Error, Message, Payload, Rejection, Request};
use super::mirrored_headers as headers;
use super::outgoing::ChannelSender;
use super::pending::{Accepted, PendingResponses, Waited};
use super::post;
use super::protocol::{Era, Revision};
use super::server::{Mcp, Served};
use super::session::Session;
use crate::http::{self, Reply};
use serde_json::Value;
use std::sync::Arc;

const SESSION_HEADER: &str = "Mcp-Session-Id";
/// Messages that may wait for a slow reader.
const CAPACITY: usize = 64;

/// Answers a request to `/mcp`. GET is refused: the server sends nothing outside of replies to a POST.
pub fn answer(mcp: &Mcp, request: http::Request) -> Reply {
    match request.method.as_str() {
        "POST" => post(mcp, request),
        "DELETE" => delete(mcp, &request),
        _ => post::not_allowed("POST, DELETE"),
    }
}

/// Ends the session that the `Mcp-Session-Id` header names.
fn delete(mcp: &Mcp, http: &http::Request) -> Reply {
    let Some(id) = http.header("mcp-session-id") else {
        return post::problem(
            400,
            "session_id_missing",
            "the Mcp-Session-Id header is missing",
        );
    };
    let sessions = mcp.http_sessions();
    match sessions.find(id) {
        Some(_) => {
            sessions.end(id);
            Reply::empty(204)
        }
        None => no_session(None),
    }
}

/// A POST whose body has been read.
struct Post<'a> {
    mcp: &'a Mcp,
    http: http::Request,
    accepted: Accepted,
}

fn post(mcp: &Mcp, mut http: http::Request) -> Reply {
    let Some(accepted) = Accepted::from_header(http.header("accept")) else {
        let detail = "accept application/json and text/event-stream";
        return post::problem(406, "not_acceptable", detail);
    };
    let payload = match post::payload(&mut http) {
        Ok(payload) => payload,
        Err(reply) => return reply,
    };
    let post = Post {
        mcp,
        http,
        accepted,
    };
    match payload {
        Payload::One(Ok(Message::Request(request))) => post.request(request),
        Payload::One(Ok(other)) => post.notification(&other),
        Payload::One(Err(rejected)) => post::refused(&rejected),
        Payload::Batch(messages) => post.batch(messages),
    }
}

/// The client that a POST belongs to.
enum Client {
    /// The client of a session. It cancels calls by notification; a disconnect cancels nothing.
    Session(Arc<ClientState>),
    /// A request without a session. Nothing but its connection could cancel its calls, so a disconnect does.
    Sessionless(Arc<ClientState>),
}

impl Client {
    fn state(&self) -> &Arc<ClientState> {
        match self {
            Self::Session(state) | Self::Sessionless(state) => state,
        }
    }
}

impl Post<'_> {
    /// Serves one request of either era.
    fn request(&self, request: Request) -> Reply {
        let era = headers::revision_of_request(&self.http, &request)
            .and_then(|revision| Era::of(&request, revision));
        let checked = era.and_then(|era| match era {
            Era::Stateless => headers::check(&self.http, &request).map(|()| era),
            Era::Handshake => Ok(era),
        });
        let era = match checked {
            Ok(era) => era,
            Err(error) => {
                let response = jsonrpc::response(&request.id, Err(error));
                return Reply::json(400, &response);
            }
        };
        let is_new = request.method == "initialize" && self.http.header("mcp-session-id").is_none();
        let client = match era {
            Era::Stateless => Some(Client::Sessionless(self.mcp.new_client())),
            Era::Handshake if is_new => return self.initialize(request),
            Era::Handshake => self.client(),
        };
        let Some(client) = client else {
            return no_session(Some(&request));
        };
        self.answer_one(request, era, &client)
    }

    /// Serves `initialize`, which opens a session.
    fn initialize(&self, request: Request) -> Reply {
        let client = self.mcp.new_client();
        let id = match self.open_session(&client) {
            Ok(id) => id,
            Err(why) => return post::problem(503, "no_session", &why),
        };
        self.answer_one(request, Era::Handshake, &Client::Session(client))
            .with_header(SESSION_HEADER, id)
    }

    /// Opens a session and returns its id. Errors, in words: no randomness, or too many busy sessions.
    fn open_session(&self, client: &Arc<ClientState>) -> Result<String, String> {
        let id = crate::random_id::unguessable().map_err(|error| error.to_string())?;
        let session = Session::new(id.clone(), Arc::clone(client));
        self.mcp
            .http_sessions()
            .add_in_place_of_oldest(Arc::new(session))
            .map_err(|_| "there are too many busy sessions".to_owned())?;
        Ok(id)
    }

    /// The session's client, or a new one if the POST names no session. `None`: the session does not exist.
    fn client(&self) -> Option<Client> {
        let Some(id) = self.http.header("mcp-session-id") else {
            return Some(Client::Sessionless(self.mcp.new_client()));
        };
        let session = self.mcp.http_sessions().find(id)?;
        Some(Client::Session(Arc::clone(&session.client)))
    }

    /// Serves a batch, if the session or the header allows one. Its answer is an array, also for a single message; each
    /// invalid message has an error of its own in it.
    fn batch(&self, messages: Vec<Result<Message, Rejection>>) -> Reply {
        let header = match headers::revision(&self.http) {
            Ok(revision) => revision,
            Err(error) => return post::refused(&Rejection { id: None, error }),
        };
        let Some(client) = self.client() else {
            return no_session(None);
        };
        let revision = client.state().revision().or(header);
        if !revision.is_some_and(Revision::has_batches) {
            return post::refused(&Rejection::batch_not_supported());
        }
        let waited = self.exchange(&client, |context| self.mcp.serve_batch(messages, context));
        match waited {
            Waited::Responses(responses) if responses.is_empty() => Reply::empty(202),
            Waited::Responses(responses) => Reply::json(200, &responses),
            Waited::Stream(reply) => reply,
            Waited::Disconnected => Reply::empty(499),
        }
    }

    /// Handles a notification, or ignores a response: 202, without a body.
    fn notification(&self, message: &Message) -> Reply {
        if let Err(error) = headers::revision(&self.http) {
            return post::refused(&Rejection { id: None, error });
        }
        let Some(client) = self.client() else {
            return no_session(None);
        };
        if let Message::Notification(notification) = message
            && let Some(id) = notification.cancelled_request()
        {
            client.state().calls.cancel(&id);
        }
        Reply::empty(202)
    }

    /// Serves one request.
    fn answer_one(&self, request: Request, era: Era, client: &Client) -> Reply {
        let serve = |context: &CallContext| vec![self.mcp.serve(request, Ok(era), context)];
        match self.exchange(client, serve) {
            Waited::Responses(responses) => match responses.first() {
                Some(response) => Reply::json(status(response, era), response),
                // The client cancelled the request, which then gets no response.
                None => Reply::empty(202),
            },
            Waited::Stream(reply) => reply,
            Waited::Disconnected => Reply::empty(499),
        }
    }

    /// Serves messages with `serve`, and waits for the responses of the calls that it started, or for the time to stream
    /// them. What `serve` has answered at once never passes through the channel of the calls, which nobody empties yet.
    fn exchange(&self, client: &Client, serve: impl FnOnce(&CallContext) -> Vec<Served>) -> Waited {
        let settings = self.mcp.settings();
        let (sender, messages) = ChannelSender::new(CAPACITY);
        let mut pending = PendingResponses {
            ready: Vec::new(),
            messages,
            missing: 0,
            disconnected: self.http.cancel.clone(),
            keep_alive: settings.keep_alive,
            cancel_on_drop: match client {
                Client::Session(_) => None,
                Client::Sessionless(state) => Some(Arc::clone(&state.calls)),
            },
        };
        let context = CallContext::new(client.state(), Arc::new(sender))
            .with_body(self.http.body_memory.clone())
            .with_answer(self.http.answer_memory.clone());
        for served in serve(&context) {
            match served {
                Served::Answered(response) => pending.ready.push(response),
                Served::Started => pending.missing += 1,
                Served::Silent => {}
            }
        }
        // The calls hold the other clones of the sender: the channel disconnects after the last of them.
        drop(context);
        pending.wait(self.accepted, settings.stream_after)
    }
}

/// The HTTP status of a JSON response. Only the stateless era maps errors to a status.
fn status(response: &Value, era: Era) -> u16 {
    let code = response.pointer("/error/code").and_then(Value::as_i64);
    match code {
        Some(code) if era == Era::Stateless && code == Code::MethodNotFound as i64 => 404,
        Some(code) if era == Era::Stateless && code != Code::Internal as i64 => 400,
        _ => 200,
    }
}

/// 404, from which clients conclude that they must `initialize` again.
fn no_session(request: Option<&Request>) -> Reply {
    let rejected = Rejection {
        id: request.map(|request| request.id.clone()),
        error: Error::new(
            Code::SessionNotFound,
            "Session not found: initialize opens one",
        ),
    };
    Reply::json(404, &jsonrpc::rejection(&rejected))
}
