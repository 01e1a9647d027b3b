//! What the two HTTP transports share: reading a posted message, refusing it, and writing a message as an event.

use super::jsonrpc::{self, Payload, Rejection};
use crate::http::{Reply, Request, ServerSentEvent};
use crate::problem::Problem;

/// Reads and parses the JSON body. Blocks until the body has arrived. Errors: the reply to send instead (400, 408, 413,
/// 415 or 429).
pub(super) fn payload(request: &mut Request) -> Result<Payload, Reply> {
    if !is_json(request.header("content-type")) {
        let detail = "send the message as Content-Type: application/json";
        return Err(problem(415, "unsupported_media_type", detail));
    }
    let body = request.read_body().map_err(|error| error.to_reply())?;
    jsonrpc::parse(&body).map_err(|rejected| refused(&rejected))
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

/// Whether a `Content-Type` is JSON; a missing one is not.
fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_application_json_is_json() {
        for (value, expected) in [
            (Some("application/json"), true),
            (Some("Application/JSON ; charset=utf-8"), true),
            (Some("text/plain"), false),
            (Some("application/jsonx"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (None, false),
        ] {
            assert_eq!(is_json(value), expected, "{value:?}");
        }
    }
}
