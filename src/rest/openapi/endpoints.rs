//! The OpenAPI operation of every endpoint. To add one, describe it here and route it in `app`; a test compares the two.

use super::examples;
use super::operation::{Content, Operation, header_parameter, path_parameter, query_parameter};
use super::schemas::Schemas;
use crate::rest::images::ImageList;
use crate::rest::policy::PolicyAnswer;
use crate::rest::run_body::{RunBody, RunList};
use crate::rest::volume::{VolumeContent, VolumeCreated};
use crate::runner::{Health, RunPlan, RunRequest, RunResult, VolumeRequest};
use serde_json::{Value, json};

/// All operations, in the order in which the documentation shows them.
pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let mut operations = vec![run(schemas)];
    operations.extend(runs(schemas));
    operations.extend(volumes(schemas));
    operations.extend(service(schemas));
    operations.extend(pages());
    operations
}

fn run(schemas: &mut Schemas) -> Operation {
    Operation::new("POST", "/run", "run", "Run a container once")
        .tag("runs")
        .description(
            "Runs the image with these files, variables and limits, waits for its end, and answers with its output, its \
             exit code and the volumes that were asked back. A client that hangs up cancels its run.",
        )
        .parameter(header_parameter(
            "Prefer",
            "`respond-async`: 202 at once; `wait=N`: the answer if it is there within N seconds, else 202 (RFC 7240).",
            json!({"type": "string", "examples": ["respond-async", "wait=1"]}),
        ))
        .parameter(header_parameter(
            "Idempotency-Key",
            "The same key with the same request is the same asynchronous run; with another request: 422.",
            json!({"type": "string", "minLength": 1, "maxLength": 255}),
        ))
        .parameter(query_parameter(
            "dry_run",
            "With `1`: check the request and answer with what it would do, and do nothing.",
            json!({"enum": ["0", "1", "false", "true"]}),
        ))
        .request_body(schemas.request::<RunRequest>(), examples::run_requests())
        .response(
            200,
            "The container ended, whatever its exit code; or what a dry run would do.",
            Content::json(
                json!({"anyOf": [schemas.response::<RunResult>(), schemas.response::<RunPlan>()]}),
                examples::run_results(),
            ),
        )
        .or_event_stream(200)
        .response(
            202,
            "The run continues; its state is at `Location`.",
            run_body(schemas),
        )
        .headers(202, accepted_headers())
        .links(202, run_links())
        .problems(&[404, 409, 429, 502, 504])
}

fn accepted_headers() -> Value {
    json!({
        "Location": {"description": "The run.", "required": true, "schema": {"type": "string", "pattern": "/runs/[^/]+$"}},
        "Preference-Applied": {"description": "The preferences of `Prefer` that were applied.", "schema": {"type": "string"}},
    })
}

fn run_links() -> Value {
    let link = |id: &str| json!({"operationId": id, "parameters": {"id": "$response.body#/id"}});
    json!({"state": link("runState"), "events": link("runEvents"), "cancel": link("cancelRun")})
}

fn run_id() -> Value {
    path_parameter(
        "id",
        "The run's id.",
        json!({"type": "string", "minLength": 1}),
        examples::RUN_ID,
    )
}

fn runs(schemas: &mut Schemas) -> [Operation; 5] {
    [
        list_runs(schemas),
        run_state(schemas),
        cancel_run(schemas),
        run_events(),
        all_events(),
    ]
}

fn all_events() -> Operation {
    Operation::new("GET", "/events", "events", "Watch everything")
        .tag("runs")
        .description(
            "Server-sent events for a page that shows what goes on: `status`, then `snapshot`, `runs` and `complete` with all runs, \
             and then `status` and `runs` as they change. A reader that falls behind gets everything again.",
        )
        .response(200, "Events.", Content::text("text/event-stream", examples::EVENTS))
}

fn list_runs(schemas: &mut Schemas) -> Operation {
    Operation::new("GET", "/runs", "listRuns", "List what runs and what ran")
        .tag("runs")
        .description(
            "Asynchronous runs for as long as their results are kept; plain runs, whose callers wait, while they go on, and the \
             last 200 that ended.",
        )
        .parameter(query_parameter(
            "kind",
            "Only runs of this kind.",
            json!({"enum": ["plain", "async"]}),
        ))
        .parameter(query_parameter(
            "state",
            "Only runs in this state.",
            json!({"enum": ["queued", "pulling", "running", "finished"]}),
        ))
        .parameter(query_parameter(
            "limit",
            "How many at most; 100 unless said otherwise.",
            json!({"type": "integer", "minimum": 1, "maximum": 1000}),
        ))
        .response(
            200,
            "Newest first, without their results.",
            Content::json(schemas.response::<RunList>(), examples::run_list()),
        )
        .problems(&[422, 503])
}

fn run_state(schemas: &mut Schemas) -> Operation {
    let summary = "Read the state of a run";
    let description = "Its state, and its result once it has ended. The result of a plain run is its caller's only.";
    Operation::new("GET", "/runs/{id}", "runState", summary)
        .tag("runs")
        .parameter(run_id())
        .response(200, description, run_body(schemas))
        .problems(&[404])
}

fn cancel_run(schemas: &mut Schemas) -> Operation {
    let summary = "Cancel a run";
    let deleted = "It had finished, and is forgotten; with `cancel_only` it stays.";
    Operation::new("DELETE", "/runs/{id}", "cancelRun", summary)
        .tag("runs")
        .parameter(run_id())
        .parameter(query_parameter(
            "cancel_only",
            "A run that has finished stays as it is.",
            json!({"enum": ["1", "0", "true", "false"]}),
        ))
        .response(200, deleted, run_body(schemas))
        .response(
            202,
            "It is being cancelled; unless its command has ended already, and only its files are being read.",
            run_body(schemas),
        )
        .problems(&[404, 422])
}

fn run_events() -> Operation {
    let summary = "Watch a run";
    Operation::new("GET", "/runs/{id}/events", "runEvents", summary)
        .tag("runs")
        .description(
            "Its events from the start, or after `Last-Event-ID`, and then live, to its end. Of a plain run the last events are \
             kept, and only while it goes on.",
        )
        .parameter(run_id())
        .parameter(header_parameter(
            "Last-Event-ID",
            "The id of the last event that was received.",
            json!({"type": "string"}),
        ))
        .response_object(200, json!({"description": "Events.", "content": {}}))
        .or_event_stream(200)
        .problems(&[404, 422])
}

fn run_body(schemas: &mut Schemas) -> Content {
    Content::json(schemas.response::<RunBody>(), examples::run_states())
}

fn volumes(schemas: &mut Schemas) -> [Operation; 3] {
    [
        Operation::new("POST", "/volume", "writeVolume", "Create and fill a named volume")
            .tag("volumes")
            .description(
                "Creates a volume, or writes over one that this service created. A volume that could not be filled is \
                 removed again.",
            )
            .request_body(schemas.request::<VolumeRequest>(), examples::volume_requests())
            .response(
                200,
                "The volume holds what was sent.",
                Content::json(schemas.response::<VolumeCreated>(), examples::volume_created()),
            )
            .links(200, volume_links())
            .problems(&[409, 429, 502]),
        Operation::new("GET", "/volume/{name}", "readVolume", "Read a named volume")
            .tag("volumes")
            .parameter(volume_name())
            .response(
                200,
                "Its content, as a directory that can be posted again.",
                Content::json(schemas.response::<VolumeContent>(), examples::volume_content()),
            )
            .problems(&[404, 409, 413, 422, 429, 502]),
        Operation::new("DELETE", "/volume/{name}", "removeVolume", "Remove a named volume")
            .tag("volumes")
            .parameter(volume_name())
            .response_object(204, json!({"description": "It is gone."}))
            .problems(&[404, 409, 422, 502]),
    ]
}

fn volume_links() -> Value {
    let link = |id: &str| json!({"operationId": id, "parameters": {"name": "$request.body#/name"}});
    json!({"read": link("readVolume"), "remove": link("removeVolume")})
}

fn volume_name() -> Value {
    path_parameter(
        "name",
        "The volume's name. Only volumes that this service created are reached.",
        json!({"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]+$"}),
        "inputs",
    )
}

fn pages() -> [Operation; 4] {
    let files = json!({"description": "The file.", "content": {
        "text/javascript": {"schema": {"type": "string"}, "examples": {"script": {"value": "…"}}},
        "text/css": {"schema": {"type": "string"}, "examples": {"style": {"value": "…"}}},
    }});
    [
        Operation::new("GET", "/docs", "docs", "Read and try this API in a browser")
            .tag("service")
            .without_authentication()
            .response(
                200,
                "A page.",
                Content::text("text/html", "<!doctype html>…"),
            ),
        Operation::new("GET", "/docs/{file}", "docsFile", "What the page loads")
            .tag("service")
            .without_authentication()
            .parameter(path_parameter(
                "file",
                "Its name.",
                json!({"enum": ["swagger-ui-bundle.js", "swagger-ui.css", "start.js"]}),
                "start.js",
            ))
            .response_object(200, files.clone())
            .problems(&[404]),
        Operation::new("GET", "/", "page", "Watch and run containers in a browser")
            .tag("service")
            .without_authentication()
            .response(
                200,
                "A page.",
                Content::text("text/html", "<!doctype html>…"),
            ),
        Operation::new("GET", "/page/{file}", "pageFile", "What that page loads")
            .tag("service")
            .without_authentication()
            .parameter(path_parameter(
                "file",
                "Its name.",
                json!({"enum": crate::rest::page::file_names()}),
                "main.js",
            ))
            .response_object(200, files)
            .problems(&[404]),
    ]
}

fn service(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        Operation::new("GET", "/health", "health", "Ask whether the engine answers")
            .tag("service")
            .description("Answers within 2 s, whatever the load.")
            .without_authentication()
            .response(
                200,
                "It does.",
                Content::json(schemas.response::<Health>(), examples::health()),
            ),
        Operation::new("GET", "/policy", "policy", "Read what callers may ask for")
            .tag("service")
            .response(
                200,
                "Defaults, maxima and what may be named.",
                Content::json(schemas.response::<PolicyAnswer>(), examples::policy()),
            ),
        Operation::new("GET", "/images", "images", "List the engine's images")
            .tag("service")
            .response(
                200,
                "What runs without a pull.",
                Content::json(schemas.response::<ImageList>(), examples::images()),
            )
            .problems(&[502]),
        Operation::new("GET", "/metrics", "metrics", "Read what the service counts")
            .tag("service")
            .description("In Prometheus' text format.")
            .response(
                200,
                "Every metric.",
                Content::text("text/plain", examples::METRICS),
            ),
        Operation::new("GET", "/openapi.json", "openapi", "Read this document")
            .tag("service")
            .without_authentication()
            .response(
                200,
                "OpenAPI 3.1.",
                Content::json(json!({"type": "object"}), examples::openapi()),
            ),
    ]
}
