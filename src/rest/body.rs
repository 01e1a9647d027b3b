//! Reads a JSON body: a JSON media type, and what `json` accepts.

use crate::http::{BodyError, Reply, Request};
use crate::json;
use crate::problem::Problem;
use serde_json::Value;

/// Reads the request's body as JSON. What the values take is added to the body's memory, from which the text's is given back.
/// Errors: the reply to give, with status 400, 408, 413, 415 or 429.
pub(super) fn json(request: &mut Request) -> Result<Value, Box<Reply>> {
    let refused = |problem: &Problem| Box::new(Reply::problem(problem));
    require_json(request).map_err(|problem| refused(&problem))?;
    let body = request
        .read_body()
        .map_err(|error| Box::new(Reply::from(error)))?;
    let memory = request.body_memory.as_ref();
    let value = json::parse(&body, memory).map_err(|error| match error {
        json::Error::OutOfMemory => Box::new(Reply::from(BodyError::OutOfMemory)),
        json::Error::Syntax(why) => refused(&bad_json(format!("the body is not JSON: {why}"))),
        json::Error::Refused(why) => refused(&bad_json(format!("the body is refused: {why}"))),
    })?;
    if let Some(memory) = memory {
        memory.shrink(body.len() as u64);
    }
    Ok(value)
}

fn bad_json(detail: String) -> Problem {
    Problem::new(400, "bad_json", detail)
}

/// Refuses other media types. A web page of another origin can send a form or plain text without a preflight, but no JSON.
fn require_json(request: &Request) -> Result<(), Box<Problem>> {
    let Some(media_type) = request.media_type() else {
        return Ok(());
    };
    let suffixed = media_type.starts_with("application/") && media_type.ends_with("+json");
    if media_type == "application/json" || suffixed {
        return Ok(());
    }
    let detail =
        "expected Content-Type: application/json (curl: -H 'Content-Type: application/json')";
    let problem = Problem::new(415, "unsupported_media_type", detail);
    Err(Box::new(problem))
}
