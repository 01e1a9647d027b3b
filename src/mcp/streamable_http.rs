//! The Streamable HTTP transport, both eras on one path: sessions up to 2025-11-25, stateless from 2026-07-28 on.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use super::exchange::{Answer, Exchange, Hangup, accepts};
use super::http_sse::{cancelled, no_batches};
use super::jsonrpc::{self, Code, Error, Message, Payload, Rejection, Request as Asked};
use super::protocol::{self, Era, META_VERSION, Revision};
use super::session::{Credential, Session};
use super::{Caller, Mcp, post};
use crate::http::{Reply, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::sync::Arc;

const SESSION_HEADER: &str = "Mcp-Session-Id";

/// Answers a request to `/mcp`.
pub(super) fn answer(mcp: &Mcp, request: Request) -> Reply {
    match request.method.as_str() {
        "POST" => post(mcp, request),
        "DELETE" => delete(mcp, &request),
        // Nothing is ever sent unasked, so there is no stream to GET.
        _ => post::not_allowed("POST, DELETE"),
    }
}

fn delete(mcp: &Mcp, request: &Request) -> Reply {
    let Some(id) = request.header("mcp-session-id") else {
        return post::problem(
            400,
            "session_id_missing",
            "the Mcp-Session-Id header is missing",
        );
    };
    let sessions = &mcp.shared.sessions;
    match sessions.find(id, &Credential::of(request)) {
        Some(_) => {
            sessions.end(id);
            Reply::empty(204)
        }
        None => no_session(None),
    }
}

fn post(mcp: &Mcp, mut request: Request) -> Reply {
    let wanted = accepts(request.header("accept"));
    if wanted.is_none() {
        let detail = "accept application/json and text/event-stream";
        return post::problem(406, "not_acceptable", detail);
    }
    match post::payload(&mut request) {
        Ok(Payload::One(Ok(Message::Request(asked)))) => ask(mcp, &request, asked),
        Ok(Payload::One(Ok(other))) => tell(mcp, &request, &[other]),
        Ok(Payload::One(Err(rejected))) => post::refused(&rejected),
        Ok(Payload::Batch(items)) => batch(mcp, &request, items),
        Err(reply) => reply,
    }
}

/// One request of either era.
fn ask(mcp: &Mcp, request: &Request, asked: Asked) -> Reply {
    let declared = match declared(request, &asked) {
        Ok(declared) => declared,
        Err(error) => return refusal(&asked, error),
    };
    match Era::of(&asked, declared) {
        Err(error) => refusal(&asked, error),
        Ok(Era::Stateless) => match check_headers(request, &asked) {
            Ok(()) => exchange(mcp, request, vec![asked], Terms::stateless(mcp, declared)),
            Err(error) => refusal(&asked, error),
        },
        Ok(Era::Handshake) => handshake(mcp, request, asked, declared),
    }
}

fn handshake(mcp: &Mcp, request: &Request, asked: Asked, declared: Option<Revision>) -> Reply {
    if asked.method == "initialize" && request.header("mcp-session-id").is_none() {
        return initialize(mcp, request, asked);
    }
    match terms(mcp, request, declared) {
        Some(terms) => exchange(mcp, request, vec![asked], terms),
        None => no_session(Some(&asked)),
    }
}

fn initialize(mcp: &Mcp, request: &Request, asked: Asked) -> Reply {
    let credential = Credential::of(request);
    let caller = mcp.stranger(None);
    let opened = crate::random_id::unguessable().map_err(|error| error.to_string());
    let opened = opened.and_then(|id| {
        let session = Session::new(id.clone(), credential, caller.clone());
        let added = mcp
            .shared
            .sessions
            .add_in_place_of_oldest(Arc::new(session));
        added
            .map(|()| id)
            .map_err(|_| "there are too many busy sessions".to_owned())
    });
    let id = match opened {
        Ok(id) => id,
        Err(why) => return post::problem(503, "no_session", &why),
    };
    let terms = Terms {
        caller,
        hangup: Hangup::Ignored,
    };
    exchange(mcp, request, vec![asked], terms).with_header(SESSION_HEADER, id)
}

/// Whose request it is, and what a hang-up means.
struct Terms {
    caller: Caller,
    hangup: Hangup,
}

impl Terms {
    /// A request on its own: nobody but its connection could cancel it, so a hang-up does.
    fn stateless(mcp: &Mcp, declared: Option<Revision>) -> Self {
        Self {
            caller: mcp.stranger(declared),
            hangup: Hangup::Cancels,
        }
    }
}

/// The terms of a handshake-era request: its session's, or nobody's. `None`: the session does not exist.
fn terms(mcp: &Mcp, request: &Request, declared: Option<Revision>) -> Option<Terms> {
    let Some(id) = request.header("mcp-session-id") else {
        return Some(Terms::stateless(mcp, declared));
    };
    let session = mcp.shared.sessions.find(id, &Credential::of(request))?;
    Some(Terms {
        caller: session.caller.clone(),
        hangup: Hangup::Ignored,
    })
}

fn batch(mcp: &Mcp, request: &Request, items: Vec<Result<Message, Rejection>>) -> Reply {
    let declared = match header_revision(request) {
        Ok(declared) => declared,
        Err(error) => return post::refused(&Rejection { id: None, error }),
    };
    let Some(terms) = terms(mcp, request, declared) else {
        return no_session(None);
    };
    let agreed = terms.caller.peer.revision().or(declared);
    if !agreed.is_some_and(Revision::has_batches) {
        return post::refused(&no_batches());
    }
    let mut asked = Vec::new();
    let mut told = Vec::new();
    for item in items {
        match item {
            Ok(Message::Request(request)) => asked.push(request),
            Ok(other) => told.push(other),
            Err(rejected) => return post::refused(&rejected),
        }
    }
    let accepted = tell(mcp, request, &told);
    match asked.is_empty() {
        true => accepted,
        false => exchange(mcp, request, asked, terms),
    }
}

/// Notifications and responses: 202, without a body.
fn tell(mcp: &Mcp, request: &Request, messages: &[Message]) -> Reply {
    if let Err(error) = header_revision(request) {
        return post::refused(&Rejection { id: None, error });
    }
    let Some(terms) = terms(mcp, request, None) else {
        return no_session(None);
    };
    for message in messages {
        if let Message::Notification(told) = message
            && let Some(id) = cancelled(told)
        {
            terms.caller.calls.withdraw(&id);
        }
    }
    Reply::empty(202)
}

fn exchange(mcp: &Mcp, request: &Request, asked: Vec<Asked>, mut terms: Terms) -> Reply {
    terms.caller.room = request.body_reservation.clone();
    let stateless = asked
        .iter()
        .any(|asked| Era::of(asked, terms.caller.declared) != Ok(Era::Handshake));
    let mut exchange = Exchange::new(mcp, request, asked.len());
    exchange.hangup(terms.hangup, &terms.caller.calls);
    let several = asked.len() > 1;
    let outlet = exchange.outlet();
    for asked in asked {
        mcp.serve(asked, &terms.caller, Arc::clone(&outlet));
    }
    drop(outlet);
    match exchange.wait() {
        Answer::Whole(responses) if several => Reply::json(200, &responses),
        Answer::Whole(responses) => match responses.first() {
            Some(response) => Reply::json(status(response, stateless), response),
            // Withdrawn: there is nothing to say.
            None => Reply::empty(202),
        },
        Answer::Stream(reply) => reply,
        Answer::Gone => Reply::empty(499),
    }
}

/// The status that a JSON response has: the stateless revision says errors with it, earlier ones do not.
fn status(response: &Value, stateless: bool) -> u16 {
    let code = response.pointer("/error/code").and_then(Value::as_i64);
    match code {
        Some(code) if stateless && code == Code::MethodNotFound as i64 => 404,
        Some(code) if stateless && code != Code::Internal as i64 => 400,
        _ => 200,
    }
}

fn refusal(asked: &Asked, error: Error) -> Reply {
    Reply::json(400, &jsonrpc::response(&asked.id, Err(error)))
}

fn no_session(asked: Option<&Asked>) -> Reply {
    let rejected = Rejection {
        id: asked.map(|asked| asked.id.clone()),
        error: Error::new(
            Code::SessionNotFound,
            "Session not found: initialize opens one",
        ),
    };
    Reply::json(404, &jsonrpc::rejection(&rejected))
}

/// What the `MCP-Protocol-Version` header declares. Errors: it contradicts the body, or we do not speak it.
fn declared(request: &Request, asked: &Asked) -> Result<Option<Revision>, Error> {
    let header = request.header("mcp-protocol-version").map(str::trim);
    let meta = protocol::meta(&asked.params).and_then(|meta| meta.get(META_VERSION));
    if let Some(Value::String(body)) = meta {
        let needed = Revision::from_name(body).is_some_and(Revision::is_stateless);
        if header.map_or(needed, |header| header != body) {
            return Err(mismatch("MCP-Protocol-Version", header));
        }
    }
    header_revision(request)
}

/// The revision that the `MCP-Protocol-Version` header names. Errors: we do not speak it.
fn header_revision(request: &Request) -> Result<Option<Revision>, Error> {
    let name = request.header("mcp-protocol-version").map(str::trim);
    name.map(|name| Revision::from_name(name).ok_or_else(|| protocol::unsupported(name)))
        .transpose()
}

/// Compares the headers that a stateless request mirrors its body in.
fn check_headers(request: &Request, asked: &Asked) -> Result<(), Error> {
    let method = request.header("mcp-method").map(str::trim);
    if method != Some(asked.method.as_str()) {
        return Err(mismatch("Mcp-Method", method));
    }
    let Some(Value::String(name)) = asked.params.get("name") else {
        return Ok(());
    };
    let header = request.header("mcp-name").map(str::trim);
    let decoded = header.map(decode);
    match asked.method == "tools/call" && decoded.as_deref() != Some(name) {
        true => Err(mismatch("Mcp-Name", header)),
        false => Ok(()),
    }
}

/// The value of a header that may be wrapped as `=?base64?…?=`.
fn decode(value: &str) -> String {
    let wrapped = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let bytes = wrapped.and_then(|text| STANDARD.decode(text).ok());
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) => text,
        _ => value.to_owned(),
    }
}

fn mismatch(header: &str, found: Option<&str>) -> Error {
    let what = match found {
        Some(_) => format!("Header mismatch: {header} does not match the body"),
        None => format!("Header mismatch: {header} is missing"),
    };
    Error::new(Code::HeaderMismatch, what)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn wrapped_header_values_are_unwrapped() {
        for (value, expected) in [
            ("run_container", "run_container"),
            ("=?base64?cnVu?=", "run"),
            ("=?base64?!?=", "=?base64?!?="),
            ("=?BASE64?cnVu?=", "=?BASE64?cnVu?="),
        ] {
            assert_eq!(decode(value), expected);
        }
    }
}
