//! `GET /openapi.json`: an OpenAPI 3.1 document of all endpoints. `endpoints` lists them, with `examples` and `problems`, and
//! builds each as an `operation`; `schemas` derives the schemas from the Rust types of requests and answers.

mod endpoints;
mod examples;
mod operation;
mod problems;
mod schemas;

use crate::http::{Reply, Request};
use operation::Operation;
use schemas::Schemas;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// The document, built once per process. Behind a proxy that adds a path prefix, it names the prefix.
pub fn get(request: &Request) -> Reply {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    let plain = DOCUMENT.get_or_init(document);
    let reply = match request.path_prefix() {
        prefix if prefix.is_empty() => Reply::json(200, plain),
        prefix => {
            let mut document = plain.clone();
            document["servers"] = json!([{"url": prefix}]);
            Reply::json(200, &document)
        }
    };
    reply.with_header("Vary", "X-Forwarded-Prefix")
}

/// Builds the document.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let operations = endpoints::all(&mut schemas);
    let responses = problems::responses(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "oneoff-docker-runner",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [
            {"name": "runs", "description": "Containers that run once."},
            {"name": "volumes", "description": "Named volumes, which outlive runs."},
            {"name": "service", "description": "The service itself."},
        ],
        "security": [{"bearerToken": []}],
        "paths": paths(operations),
        "components": {
            "schemas": schemas.into_definitions(),
            "responses": responses,
            "securitySchemes": {"bearerToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "The server's AUTH_TOKEN. Not needed where none is configured.",
            }},
        },
    })
}

const DESCRIPTION: &str = "\
One request runs one container once and answers with exactly what it printed, wrote and exited with. What the container \
does is an answer, never an error: a non-zero exit code comes with status 200.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Every answer carries `X-Request-Id`: the \
client's own, where it sent one.

Bodies are JSON in UTF-8, also with `Content-Encoding: gzip`. A whole number may be written with a fraction of zero (`64.0`). A \
path may end in a slash.";

fn paths(operations: Vec<Operation>) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let item = paths
            .entry(operation.path)
            .or_insert_with(|| Value::Object(Map::new()));
        let method = operation.method.to_ascii_lowercase();
        item[method] = operation.into_value();
    }
    Value::Object(paths)
}
