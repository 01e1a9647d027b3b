//! The problem responses, one shared Response Object per status.

use super::schemas::Schemas;
use crate::problem::{Fault, PROBLEM_JSON, Problem, reason_phrase};
use serde_json::{Map, Value, json};

/// One status, and an example of a problem with it.
struct ProblemExample {
    status: u16,
    /// When this status is sent.
    when: &'static str,
    code: &'static str,
    detail: &'static str,
}

const PROBLEMS: &[ProblemExample] = &[
    ProblemExample {
        status: 400,
        when: "The request cannot be understood.",
        code: "bad_json",
        detail: "the body is not JSON: expected value at line 1 column 2",
    },
    ProblemExample {
        status: 401,
        when: "No bearer token, or not the right one.",
        code: "unauthorized",
        detail: "a bearer token is required: `Authorization: Bearer …`",
    },
    ProblemExample {
        status: 403,
        when: "The server's policy does not allow it, or the registry refuses.",
        code: "image_not_allowed",
        detail: "this image is not allowed here; allowed: alpine:*",
    },
    ProblemExample {
        status: 404,
        when: "Nothing of this name exists.",
        code: "image_not_found",
        detail: "No such image: alpine:nothing",
    },
    ProblemExample {
        status: 408,
        when: "The body did not arrive in time.",
        code: "body_timeout",
        detail: "the body did not arrive in time",
    },
    ProblemExample {
        status: 409,
        when: "It is in use, or not this service's.",
        code: "volume_in_use",
        detail: "a container uses this volume",
    },
    ProblemExample {
        status: 413,
        when: "The body, or what was asked for, is too large.",
        code: "body_too_large",
        detail: "the request body is larger than the limit of 536870912 bytes (RUNNER_MAX_BODY_BYTES)",
    },
    ProblemExample {
        status: 415,
        when: "The body is not JSON by its type.",
        code: "unsupported_media_type",
        detail: "expected Content-Type: application/json (curl: -H 'Content-Type: application/json')",
    },
    ProblemExample {
        status: 422,
        when: "The request breaks the rules, every fault named; or the container cannot start as asked.",
        code: "invalid_request",
        detail: "body.image: required: an image reference such as \"alpine:latest\"",
    },
    ProblemExample {
        status: 429,
        when: "Every slot is busy and the queue is full, the memory budget is used up, or another limit is reached; the detail names it.",
        code: "queue_full",
        detail: "every slot is busy and the queue is full (RUNNER_MAX_CONCURRENT_RUNS, RUNNER_QUEUE_LENGTH); try again in 1 s",
    },
    ProblemExample {
        status: 502,
        when: "The engine or a registry failed.",
        code: "engine_error",
        detail: "the engine answered container_create with 500: no space left on device",
    },
    ProblemExample {
        status: 503,
        when: "The engine cannot be reached, or this service is short of something or stopping, or has just started and may \
               still have to learn of this run (`not_known_yet`), or was restarted before it had delivered a run's stdin \
               (`stdin_lost`).",
        code: "engine_unreachable",
        detail: "the engine does not answer at unix:///var/run/docker.sock",
    },
    ProblemExample {
        status: 504,
        when: "The image was not pulled in time.",
        code: "pull_timeout",
        detail: "the image was not pulled within 600 s",
    },
];

/// A reference to the shared Response Object of this status.
pub(super) fn reference(status: u16) -> Value {
    json!({"$ref": format!("#/components/responses/Problem{status}")})
}

/// `components/responses`.
pub(super) fn responses(schemas: &mut Schemas) -> Value {
    let schema = schemas.response::<Problem>();
    let response = |example: &ProblemExample| {
        let &ProblemExample {
            status,
            when,
            code,
            detail,
        } = example;
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
