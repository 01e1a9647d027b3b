//! The error answers, one shared description per status.

use super::operation::Schemas;
use crate::problem::{Fault, PROBLEM_JSON, Problem, reason_phrase};
use serde_json::{Map, Value, json};

/// Status, when it is answered, and the code and detail of an example.
const PROBLEMS: &[(u16, &str, &str, &str)] = &[
    (
        400,
        "The request cannot be understood.",
        "bad_json",
        "the body is not JSON: expected value at line 1 column 2",
    ),
    (
        401,
        "No bearer token, or not the right one.",
        "unauthorized",
        "a bearer token is required: `Authorization: Bearer …`",
    ),
    (
        403,
        "The server's policy does not allow it, or the registry refuses.",
        "image_not_allowed",
        "this image is not allowed here; allowed: alpine:*",
    ),
    (
        404,
        "There is no such thing.",
        "image_not_found",
        "No such image: alpine:nothing",
    ),
    (
        408,
        "The body did not arrive in time.",
        "body_timeout",
        "the body did not arrive in time",
    ),
    (
        409,
        "It is in use, or not this service's.",
        "volume_in_use",
        "a container uses this volume",
    ),
    (
        413,
        "The body, or what was asked for, is too large.",
        "body_too_large",
        "the request body is larger than the limit of 536870912 bytes (RUNNER_MAX_BODY_BYTES)",
    ),
    (
        415,
        "The body is not JSON by its type.",
        "unsupported_media_type",
        "expected Content-Type: application/json (curl: -H 'Content-Type: application/json')",
    ),
    (
        422,
        "The request breaks the rules, every fault named; or the container cannot start as asked.",
        "invalid_request",
        "body.image: required: an image reference such as \"alpine:latest\"",
    ),
    (
        429,
        "Every slot is busy and the queue is full.",
        "queue_full",
        "every slot is busy and the queue is full; try again in 1 s",
    ),
    (
        502,
        "The engine or a registry failed.",
        "engine_error",
        "the engine answered container_create with 500: no space left on device",
    ),
    (
        503,
        "The engine cannot be reached, or this service is short of something or stopping.",
        "engine_unreachable",
        "the engine does not answer at unix:///var/run/docker.sock",
    ),
    (
        504,
        "The image was not pulled in time.",
        "pull_timeout",
        "the image was not pulled within 600 s",
    ),
];

/// A reference to the shared description of this status.
pub(super) fn reference(status: u16) -> Value {
    json!({"$ref": format!("#/components/responses/Problem{status}")})
}

/// `components/responses`.
pub(super) fn responses(schemas: &mut Schemas) -> Value {
    let schema = schemas.answer::<Problem>();
    let response = |&(status, when, code, detail): &(u16, &str, &str, &str)| {
        let mut problem = Problem::new(status, code, detail);
        if status == 422 {
            problem.errors = vec![Fault {
                loc: vec!["body".into(), "image".into()],
                msg: "required: an image reference such as \"alpine:latest\"".into(),
            }];
        }
        let mut response = json!({
            "description": format!("{}. {when}", reason_phrase(status)),
            "content": {PROBLEM_JSON: {"schema": schema, "example": problem}},
        });
        if let Some(headers) = headers(status) {
            response["headers"] = headers;
        }
        (format!("Problem{status}"), response)
    };
    Value::Object(PROBLEMS.iter().map(response).collect::<Map<_, _>>())
}

fn headers(status: u16) -> Option<Value> {
    let (name, description, schema) = match status {
        401 => (
            "WWW-Authenticate",
            "How to authenticate.",
            json!({"const": "Bearer"}),
        ),
        429 => (
            "Retry-After",
            "When to come back, in seconds.",
            json!({"type": "integer", "minimum": 0}),
        ),
        _ => return None,
    };
    Some(json!({name: {"description": description, "required": true, "schema": schema}}))
}
