//! Reads a JSON body: a JSON media type, and what `json` accepts.

use super::problems::problem;
use crate::http::{BodyError, Reply, Request};
use crate::json;
use crate::problem::{Fault, Problem};
use crate::runner::Error;
use serde_json::Value;

/// Reads the request's body as JSON. What the values take is added to the body's memory, from which the text's is given back.
/// Errors: the reply to give, with status 400, 408, 413, 415, 422 or 429.
pub(super) fn json(request: &mut Request) -> Result<Value, Box<Reply>> {
    let refused = |problem: &Problem| Box::new(Reply::problem(problem));
    request
        .require_json()
        .map_err(|problem| refused(&problem))?;
    let body = request
        .read_body()
        .map_err(|error| Box::new(Reply::from(error)))?;
    let memory = request.body_memory.as_ref();
    let value = json::parse(&body, memory).map_err(|error| match error {
        json::Error::OutOfMemory => Box::new(Reply::from(BodyError::OutOfMemory)),
        json::Error::Syntax(why) => refused(&bad_json(format!("the body is not JSON: {why}"))),
        // Only an object has fields.
        json::Error::OutOfRange { path } if body.trim_ascii_start().starts_with(b"{") => {
            let mut loc = vec!["body".to_owned()];
            loc.extend(path);
            let msg = json::OUT_OF_RANGE.to_owned();
            refused(&problem(&Error::Invalid(vec![Fault { loc, msg }])))
        }
        error @ json::Error::OutOfRange { .. } => {
            refused(&bad_json(format!("the body is refused: {error}")))
        }
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
