//! What the two HTTP transports share: reading a posted message, refusing it, and writing a message as an event.

use super::jsonrpc::{self, Payload, Refusal, Rejection};
use crate::http::{BodyError, Reply, Request, ServerSentEvent};
use crate::problem::Problem;

/// Reads and parses the JSON body. Blocks until the body has arrived. Errors: the reply to send instead (400, 408, 413,
/// 415 or 429).
pub(super) fn payload(request: &mut Request) -> Result<Payload, Reply> {
    if request.media_type().as_deref() != Some("application/json") {
        let detail = "send the message as Content-Type: application/json";
        return Err(problem(415, "unsupported_media_type", detail));
    }
    let body = request.read_body().map_err(Reply::from)?;
    let memory = request.body_memory.as_ref();
    let payload = jsonrpc::parse(&body, memory).map_err(|refusal| match refusal {
        Refusal::Message(rejected) => refused(&rejected),
        Refusal::OutOfMemory => Reply::from(BodyError::OutOfMemory),
    })?;
    // The values are counted now, and the text is dropped.
    if let Some(memory) = memory {
        memory.shrink(body.len() as u64);
    }
    Ok(payload)
}

/// The reply to an invalid message: 400 with a JSON-RPC error.
pub(super) fn refused(rejected: &Rejection) -> Reply {
    Reply::json(400, &jsonrpc::rejection(rejected))
}

/// The reply to an error of the transport, which has no JSON-RPC code: a problem (RFC 9457).
pub(super) fn problem(status: u16, code: &str, detail: &str) -> Reply {
    Reply::problem(&Problem::new(status, code, detail))
}

/// The reply to an HTTP method that the path does not support: 405 with `Allow`.
pub(super) fn not_allowed(allow: &str) -> Reply {
    let detail = format!("this path takes {allow}");
    problem(405, "method_not_allowed", &detail).with_header("Allow", allow)
}

/// The bytes of the server-sent event that carries a message.
pub(super) fn event(message: &serde_json::Value) -> Vec<u8> {
    let event = ServerSentEvent {
        id: None,
        event: "message",
        data: message,
    };
    event.encode()
}
