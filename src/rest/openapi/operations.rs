//! Every endpoint in OpenAPI's terms. To add one, describe it here and route it in `app`; a test compares the two.

use super::describe::{Content, Operation, Schemas, in_header, in_path, in_query};
use super::{examples, runs};
use crate::rest::policy::PolicyAnswer;
use crate::rest::runs::RunBody;
use crate::rest::volume::{VolumeContent, VolumeCreated};
use crate::runner::{Health, RunPlan, RunRequest, RunResult, VolumeRequest};
use serde_json::{Value, json};

/// All of them, in the order in which they are shown.
pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let mut operations = vec![run(schemas)];
    operations.extend(runs::all(schemas));
    operations.extend(volumes(schemas));
    operations.extend(service(schemas));
    operations.extend(pages());
    operations
}

fn run(schemas: &mut Schemas) -> Operation {
    Operation::new("POST", "/run", "run", "Run a container once")
        .tag("runs")
        .details(
            "Runs the image with these files, variables and limits, waits for its end, and answers with its output, its \
             exit code and the volumes that were asked back. A client that hangs up cancels its run.",
        )
        .parameter(in_query(
            "dry_run",
            "With `1`: check the request and answer with what it would do, and do nothing.",
            json!({"enum": ["0", "1", "false", "true"]}),
        ))
        .parameter(in_header(
            "Prefer",
            "`respond-async`: answer 202 at once; `wait=N`: answer 202 after N seconds, unless the result is there.",
            json!({"enum": ["respond-async", "wait=1"]}),
        ))
        .parameter(in_header(
            "Idempotency-Key",
            "The same key with the same body is the same run; with another body it is refused.",
            json!({"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}),
        ))
        .takes(schemas.request::<RunRequest>(), examples::run_requests())
        .answers(
            200,
            "The container ended, whatever its exit code; or what a dry run would do.",
            Content::json(
                json!({"anyOf": [schemas.answer::<RunResult>(), schemas.answer::<RunPlan>()]}),
                examples::run_results(),
            ),
        )
        .also(200, Content::text("text/event-stream", runs::EVENTS))
        .also(200, Content::text("application/x-ndjson", runs::LINES))
        .answers(
            202,
            "It was accepted, and will be run.",
            Content::json(
                schemas.answer::<RunBody<'static>>(),
                json!({"queued": {"value": runs::queued()}}),
            ),
        )
        .problems(&[404, 409, 429, 502, 504])
}

fn volumes(schemas: &mut Schemas) -> [Operation; 3] {
    [
        Operation::new("POST", "/volume", "writeVolume", "Create and fill a named volume")
            .tag("volumes")
            .details(
                "Creates a volume, or writes over one that this service created. A volume that could not be filled is \
                 removed again.",
            )
            .takes(schemas.request::<VolumeRequest>(), examples::volume_requests())
            .answers(
                200,
                "The volume holds what was sent.",
                Content::json(schemas.answer::<VolumeCreated>(), examples::volume_created()),
            )
            .links(200, volume_links())
            .problems(&[409, 502]),
        Operation::new("GET", "/volume/{name}", "readVolume", "Read a named volume")
            .tag("volumes")
            .parameter(volume_name())
            .answers(
                200,
                "Its content, as a directory that can be posted again.",
                Content::json(schemas.answer::<VolumeContent>(), examples::volume_content()),
            )
            .problems(&[404, 413, 422, 502]),
        Operation::new("DELETE", "/volume/{name}", "removeVolume", "Remove a named volume")
            .tag("volumes")
            .parameter(volume_name())
            .response(204, json!({"description": "It is gone."}))
            .problems(&[404, 409, 422, 502]),
    ]
}

fn volume_links() -> Value {
    let link = |id: &str| json!({"operationId": id, "parameters": {"name": "$request.body#/name"}});
    json!({"read": link("readVolume"), "remove": link("removeVolume")})
}

fn volume_name() -> Value {
    in_path(
        "name",
        "The volume's name. Only volumes that this service created are reached.",
        json!({"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"}),
        "inputs",
    )
}

fn pages() -> [Operation; 3] {
    let redirect = json!({
        "description": "To /docs.",
        "headers": {"Location": {
            "description": "Where the documentation is.", "required": true, "schema": {"const": "docs"},
        }},
    });
    [
        Operation::new("GET", "/docs", "docs", "Read and try this API in a browser")
            .tag("service")
            .open()
            .answers(200, "A page.", Content::text("text/html", "<!doctype html>…")),
        Operation::new("GET", "/docs/{file}", "docsFile", "What the page loads")
            .tag("service")
            .open()
            .parameter(in_path(
                "file",
                "Its name.",
                json!({"enum": ["swagger-ui-bundle.js", "swagger-ui.css", "start.js"]}),
                "start.js",
            ))
            .response(
                200,
                json!({"description": "The file.", "content": {
                    "text/javascript": {"schema": {"type": "string"}, "examples": {"script": {"value": "…"}}},
                    "text/css": {"schema": {"type": "string"}, "examples": {"style": {"value": "…"}}},
                }}),
            )
            .problems(&[404]),
        Operation::new("GET", "/", "root", "Find the documentation")
            .tag("service")
            .open()
            .response(307, redirect),
    ]
}

fn service(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::new("GET", "/health", "health", "Ask whether the engine answers")
            .tag("service")
            .details("Answers within 2 s, whatever the load.")
            .open()
            .answers(
                200,
                "It does.",
                Content::json(schemas.answer::<Health>(), examples::health()),
            ),
        Operation::new("GET", "/policy", "policy", "Read what callers may ask for")
            .tag("service")
            .answers(
                200,
                "Defaults, maxima and what may be named.",
                Content::json(schemas.answer::<PolicyAnswer>(), examples::policy()),
            ),
        Operation::new("GET", "/metrics", "metrics", "Read what the service counts")
            .tag("service")
            .details("In Prometheus' text format.")
            .answers(
                200,
                "Every metric.",
                Content::text("text/plain", examples::METRICS),
            ),
        Operation::new("GET", "/openapi.json", "openapi", "Read this document")
            .tag("service")
            .open()
            .answers(
                200,
                "OpenAPI 3.1.",
                Content::json(json!({"type": "object"}), examples::openapi()),
            ),
    ]
}
