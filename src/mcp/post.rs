//! What `/messages` and `/mcp` have in common: reading a posted message, and refusing.

use super::jsonrpc::{self, Payload, Rejection};
use crate::http::{Reply, Request};
use crate::problem::Problem;

/// Reads the JSON body. Errors: the answer to give instead.
pub(super) fn payload(request: &mut Request) -> Result<Payload, Reply> {
    if request.media_type().as_deref() != Some("application/json") {
        let detail = "send the message as Content-Type: application/json";
        return Err(problem(415, "unsupported_media_type", detail));
    }
    let body = request.read_body().map_err(Reply::from)?;
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

/// One SSE event with a message.
pub(super) fn event(message: &serde_json::Value) -> Vec<u8> {
    format!("event: message\ndata: {message}\n\n").into_bytes()
}

/// A comment that keeps proxies from closing an idle stream.
pub(super) const KEEP_ALIVE: &[u8] = b": keepalive\n\n";
