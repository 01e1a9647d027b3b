//! The endpoints of asynchronous runs in OpenAPI's terms.

use super::describe::{Content, Operation, Schemas, in_path, in_query};
use crate::rest::runs::{RunBody, RunList};
use serde_json::{Value, json};

/// What a stream of events looks like as server-sent events.
pub(super) const EVENTS: &str = "event: stdout\ndata: {\"data\":\"Hello, World!\\n\"}\n\n";
/// The same as lines of JSON.
pub(super) const LINES: &str = "{\"event\":\"stdout\",\"data\":\"Hello, World!\\n\"}\n";

/// All of them.
pub(super) fn all(schemas: &mut Schemas) -> [Operation; 4] {
    let list = schemas.answer::<RunList<'static>>();
    let run = schemas.answer::<RunBody<'static>>();
    [
        Operation::new("GET", "/runs", "listRuns", "List asynchronous runs")
            .tag("runs")
            .details("Newest first, without their results.")
            .parameter(in_query(
                "state",
                "Only runs that stand so.",
                json!({"enum": ["queued", "pulling", "running", "finished"]}),
            ))
            .parameter(in_query(
                "limit",
                "How many at most.",
                json!({"type": "integer", "minimum": 1, "maximum": 1000}),
            ))
            .answers(
                200,
                "The runs.",
                Content::json(list, json!({"one": {"value": {"runs": [queued()]}}})),
            )
            .problems(&[422]),
        Operation::new("GET", "/runs/{id}", "getRun", "See how an asynchronous run stands")
            .tag("runs")
            .parameter(id())
            .answers(
                200,
                "How it stands, with its result once it is finished.",
                Content::json(run.clone(), json!({"queued": {"value": queued()}})),
            )
            .problems(&[404]),
        Operation::new("DELETE", "/runs/{id}", "cancelRun", "Cancel an asynchronous run")
            .tag("runs")
            .parameter(id())
            .answers(
                200,
                "It was finished already, and is forgotten now.",
                Content::json(run.clone(), json!({"queued": {"value": queued()}})),
            )
            .answers(
                202,
                "It is being cancelled; what it printed is kept.",
                Content::json(run, json!({"queued": {"value": queued()}})),
            )
            .problems(&[404]),
        Operation::new("GET", "/runs/{id}/events", "runEvents", "Watch an asynchronous run")
            .tag("runs")
            .details("Every event from the start (or behind `Last-Event-ID`), then those to come, to the result.")
            .parameter(id())
            .answers(
                200,
                "The events.",
                Content::text("text/event-stream", EVENTS),
            )
            .also(200, Content::text("application/x-ndjson", LINES))
            .problems(&[404]),
    ]
}

/// A run that was just accepted.
pub(super) fn queued() -> Value {
    json!({
        "id": "5f2b6c0d9e8a4f7bb1c3d5e7f9a0b2c4", "state": "queued", "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": null, "finished_at": null, "result": null, "error": null,
    })
}

fn id() -> Value {
    in_path(
        "id",
        "The run's id.",
        json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
        "5f2b6c0d9e8a4f7bb1c3d5e7f9a0b2c4",
    )
}
