//! What `/messages` and `/mcp` have in common: reading a posted message, and refusing.

use super::jsonrpc::{self, Payload, Rejection};
use crate::http::{Reply, Request, ServerSentEvent};
use crate::problem::Problem;

/// Reads the JSON body. Errors: the answer to give instead.
pub(super) fn payload(request: &mut Request) -> Result<Payload, Reply> {
    if !is_json(request.header("content-type")) {
        let detail = "send the message as Content-Type: application/json";
        return Err(problem(415, "unsupported_media_type", detail));
    }
    let body = request.read_body().map_err(|error| error.to_reply())?;
    jsonrpc::parse(&body).map_err(|rejected| refused(&rejected))
}

/// The answer to a message that could not be understood.
pub(super) fn refused(rejected: &Rejection) -> Reply {
    Reply::json(400, &jsonrpc::rejection(rejected))
}

/// An error of the transport rather than of the protocol.
pub(super) fn problem(status: u16, code: &str, detail: &str) -> Reply {
    Reply::problem(&Problem::new(status, code, detail))
}

/// The answer to a method that the path does not take.
pub(super) fn not_allowed(allow: &str) -> Reply {
    let detail = format!("this path takes {allow}");
    problem(405, "method_not_allowed", &detail).with_header("Allow", allow)
}

/// The server-sent event that carries a message.
pub(super) fn event(message: &serde_json::Value) -> Vec<u8> {
    let event = ServerSentEvent {
        id: None,
        event: "message",
        data: message,
    };
    event.encode()
}

fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
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
