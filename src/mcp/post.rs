//! What the two HTTP transports share: reading a posted message, refusing it, and writing a message as an event.

use super::jsonrpc::{self, Code, Error, Payload, Refusal, Rejection};
use crate::http::{BodyError, Reply, Request, ServerSentEvent};
use crate::problem::Problem;
use serde_json::Value;

/// Longest event, in bytes. The Python SDK drops the whole connection at 1 MiB.
const LONGEST_EVENT: usize = 900_000;

/// Reads and parses the JSON body. Blocks until the body has arrived. Errors: the reply to send instead (400, 408, 413,
/// 415 or 429).
pub(super) fn payload(request: &mut Request) -> Result<Payload, Reply> {
    request
        .require_json()
        .map_err(|problem| Reply::problem(&problem))?;
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

/// The bytes of the server-sent event that carries a message. A response that is too long for an event becomes an error, and
/// a notification that is too long a comment.
pub(super) fn event(message: &Value) -> Vec<u8> {
    let event = encode(message);
    if event.len() <= LONGEST_EVENT {
        return event;
    }
    let size = event.len();
    log::warn!("a message of {size} bytes is too long for an event");
    if message.get("id").is_none() {
        return format!(": a notification of {size} bytes was left out\n\n").into_bytes();
    }
    let what = format!("the response has {size} bytes; an event has at most {LONGEST_EVENT}");
    encode(&jsonrpc::failed_response(
        message,
        &Error::new(Code::Internal, what),
    ))
}

fn encode(message: &Value) -> Vec<u8> {
    let event = ServerSentEvent {
        id: None,
        event: "message",
        data: message,
    };
    event.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_event_is_longer_than_clients_accept() {
        let long = "x".repeat(LONGEST_EVENT);
        let response = json!({"jsonrpc": "2.0", "id": 7, "result": {"text": long}});
        let notification = json!({"jsonrpc": "2.0", "method": "m", "params": {"text": long}});
        let (answered, told) = (event(&response), event(&notification));
        assert!(answered.len() < 1000 && told.len() < 1000);
        let answered = String::from_utf8_lossy(&answered);
        assert!(answered.contains("\"id\":7") && answered.contains("-32603"));
        assert!(told.starts_with(b":"), "a comment, which clients ignore");
    }
}
