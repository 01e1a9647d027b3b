//! The definitions that `tools/list` returns: names, titles, descriptions for a model, schemas and annotations, in a
//! fixed order.

use super::arguments::{CancelRequest, ListRequest, LogsRequest, StatusRequest, VolumeName};
use super::decode::DecodedVolume;
use super::structured::{Images, LogPage, RunBriefs, VolumeCreated};
use super::{conformance, schema};
use crate::runner::{Health, RunRequest, RunResult, VolumeRequest};
use serde_json::{Value, json};

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Runs a container once, or accepts a detached run.
    RunContainer,
    /// State and result of a detached run.
    RunStatus,
    /// Output of a detached run.
    RunLogs,
    /// Cancels a detached run, or forgets a finished one.
    CancelRun,
    /// Lists the detached runs.
    ListRuns,
    /// Creates and fills a named volume.
    CreateVolume,
    /// Reads a named volume.
    ReadVolume,
    /// Lists the engine's images.
    ListImages,
    /// Asks the engine for its version.
    DockerHealth,
}

impl Tool {
    /// Every tool, in the order of `tools/list`.
    pub(crate) const ALL: [Self; 9] = [
        Self::RunContainer,
        Self::RunStatus,
        Self::RunLogs,
        Self::CancelRun,
        Self::ListRuns,
        Self::CreateVolume,
        Self::ReadVolume,
        Self::ListImages,
        Self::DockerHealth,
    ];

    /// The wire name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RunContainer => "run_container",
            Self::RunStatus => "run_status",
            Self::RunLogs => "run_logs",
            Self::CancelRun => "cancel_run",
            Self::ListRuns => "list_runs",
            Self::CreateVolume => "create_volume",
            Self::ReadVolume => "read_volume",
            Self::ListImages => "list_images",
            Self::DockerHealth => "docker_health",
        }
    }

    /// The tool with this wire name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    fn title(self) -> &'static str {
        match self {
            Self::RunContainer => "Run a container once",
            Self::RunStatus => "State of a detached run",
            Self::RunLogs => "What a detached run printed",
            Self::CancelRun => "Cancel a detached run",
            Self::ListRuns => "List detached runs",
            Self::CreateVolume => "Create a volume",
            Self::ReadVolume => "Read a volume",
            Self::ListImages => "List images",
            Self::DockerHealth => "Docker health",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::RunContainer => RUN_CONTAINER,
            Self::RunStatus => RUN_STATUS,
            Self::RunLogs => RUN_LOGS,
            Self::CancelRun => CANCEL_RUN,
            Self::ListRuns => LIST_RUNS,
            Self::CreateVolume => CREATE_VOLUME,
            Self::ReadVolume => READ_VOLUME,
            Self::ListImages => LIST_IMAGES,
            Self::DockerHealth => DOCKER_HEALTH,
        }
    }

    fn input(self) -> Value {
        match self {
            Self::RunContainer => run_input(),
            Self::RunStatus => open(schema::input::<StatusRequest>(), &["id"]),
            Self::RunLogs => open(schema::input::<LogsRequest>(), &["id"]),
            Self::CancelRun => open(schema::input::<CancelRequest>(), &["id"]),
            Self::ListRuns => open(schema::input::<ListRequest>(), &[]),
            Self::CreateVolume => open(schema::input::<VolumeRequest>(), &["name"]),
            Self::ReadVolume => open(schema::input::<VolumeName>(), &["name"]),
            Self::ListImages | Self::DockerHealth => schema::nothing(),
        }
    }

    fn output(self) -> Value {
        match self {
            Self::RunContainer => run_or_accepted(),
            Self::RunStatus | Self::CancelRun => run_state(),
            Self::RunLogs => schema::output::<LogPage>(),
            Self::ListRuns => schema::output::<RunBriefs>(),
            Self::CreateVolume => schema::output::<VolumeCreated>(),
            Self::ReadVolume => schema::output::<DecodedVolume>(),
            Self::ListImages => schema::output::<Images>(),
            Self::DockerHealth => schema::output::<Health>(),
        }
    }

    fn annotations(self) -> Value {
        match self {
            // It may write to named volumes, and has network access by default.
            Self::RunContainer => json!({"readOnlyHint": false, "destructiveHint": true,
                "idempotentHint": false, "openWorldHint": true}),
            // It overwrites the content of an existing volume.
            Self::CreateVolume => json!({"readOnlyHint": false, "destructiveHint": true,
                "idempotentHint": true, "openWorldHint": false}),
            // A second call deletes the result that the first one kept.
            Self::CancelRun => json!({"readOnlyHint": false, "destructiveHint": true,
                "idempotentHint": false, "openWorldHint": false}),
            Self::RunStatus
            | Self::RunLogs
            | Self::ListRuns
            | Self::ReadVolume
            | Self::ListImages
            | Self::DockerHealth => json!({"readOnlyHint": true, "destructiveHint": false,
                "idempotentHint": true, "openWorldHint": false}),
        }
    }

    fn definition(self) -> Value {
        let mut annotations = self.annotations();
        annotations["title"] = json!(self.title());
        json!({
            "name": self.name(),
            "title": self.title(),
            "description": self.description(),
            "inputSchema": self.input(),
            "outputSchema": self.output(),
            "annotations": annotations,
        })
    }
}

/// Which tools are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Toolset {
    /// The tools of this service.
    #[default]
    Own,
    /// The same, followed by the tools of the conformance suite.
    WithConformance,
}

/// The `tools` of `tools/list`.
pub(crate) fn definitions(toolset: Toolset) -> Vec<Value> {
    let own = Tool::ALL.into_iter().map(Tool::definition);
    match toolset {
        Toolset::Own => own.collect(),
        Toolset::WithConformance => own.chain(conformance::definitions()).collect(),
    }
}

/// Adds the required members, and allows unknown members at the top level: some clients (n8n) add members to the
/// arguments and validate them against this schema. The server itself refuses unknown members with a clear message.
fn open(mut schema: Value, required: &[&str]) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("additionalProperties");
        schema.insert("required".into(), json!(required));
    }
    schema
}

fn run_input() -> Value {
    let mut schema = open(schema::input::<RunRequest>(), &["image"]);
    let members = &mut schema["properties"];
    members["pull_policy"]["description"] = json!(
        "When to pull the image; `missing` (only when the engine does not have it) unless said otherwise."
    );
    members["pull_policy"]["default"] = json!("missing");
    members["entrypoint"]["description"] =
        json!("Entry point, replacing the image's; an empty list resets it.");
    members["image"]["examples"] = json!(["alpine:latest", "python:3.13-slim"]);
    members["detach"] = json!({
        "type": "boolean", "default": false,
        "description": "Do not wait: give back the run's id at once, and let it go on by itself (run_status, run_logs, \
            cancel_run). For whatever takes longer than a minute.",
    });
    members["command"]["examples"] = json!([["sh", "-c", "echo hello"]]);
    schema
}

fn run_output() -> Value {
    let mut schema = schema::output::<RunResult>();
    let mut volume = schema::output::<DecodedVolume>();
    volume["type"] = json!(["object", "null"]);
    schema["properties"]["volumes"]["additionalProperties"] = volume;
    schema
}

/// The schema of a run's result, or with `detach` of the accepted run.
fn run_or_accepted() -> Value {
    let mut schema = run_output();
    schema["properties"]["state"] = json!({"type": "string", "enum": ["queued", "pulling", "running", "finished"],
        "description": "With `detach`, and instead of all else but `id`: how far the run has come."});
    schema["properties"]["created_at"] =
        json!({"type": "string", "description": "With `detach`: when the run was accepted."});
    schema["required"] = json!(["id"]);
    schema
}

/// The schema of a detached run's state.
fn run_state() -> Value {
    let text = |description: &str| json!({"type": ["string", "null"], "description": description});
    let mut result = run_output();
    result["type"] = json!(["object", "null"]);
    result["description"] = json!("What run_container would have given; null before the end.");
    json!({
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The run's id."},
            "state": {"type": "string", "enum": ["queued", "pulling", "running", "finished"],
                "description": "How far it has come."},
            "created_at": {"type": "string", "description": "When it was accepted (RFC 3339)."},
            "started_at": text("When its container started."),
            "finished_at": text("When its result was there."),
            "result": result,
            "error": text("Why there is no result though it has finished."),
        },
        "required": ["id", "state", "created_at", "started_at", "finished_at", "result", "error"],
    })
}

const RUN_CONTAINER: &str = "\
Run one Docker container to completion and get its exit code, stdout, stderr and files back. The container is removed \
afterwards, so nothing survives between calls except named volumes.

Use it to run code or command line tools in isolation. `command` is a list of words (no shell) or one string that is \
split like a shell would, without pipes or redirections; for those use [\"sh\", \"-c\", \"…\"].

Give it files as text through `volumes`, keyed by absolute path in the container, and set `response: true` on those you \
want back. Add `:ro` to a path to make it read-only.

Example, a script in and a result file out:
{\"image\": \"python:3.13-slim\", \"command\": [\"python\", \"/app/main.py\"], \"volumes\": {
  \"/app/main.py:ro\": {\"type\": \"file\", \"text\": \"open('/out/answer.txt', 'w').write(str(6 * 7))\"},
  \"/out\": {\"type\": \"directory\", \"response\": true}}}
gives back volumes./out.files = {\"answer.txt\": \"42\"}.

Several text files: {\"type\": \"directory\", \"files\": {\"src/a.txt\": \"…\", \"b.txt\": \"…\"}}. Binary content is base64 in \
`content` (a tar.gz for a directory). A non-zero exit code comes back as an error result with everything that was \
printed; `reason` says why the container ended. `timeout_secs` kills it; set `network` to \"none\" when it needs none. \
For what takes longer than a minute, set `detach` to true and ask run_status later.";

const RUN_STATUS: &str = "\
The state of a run that run_container started with `detach: true`: queued, pulling, running, or finished with its whole \
result. With `wait_secs` it waits for the end, so there is no need to ask again and again; keep it below your own time \
limit for a call (30 is safe).

Example: {\"id\": \"3f2a…\", \"wait_secs\": 30}";

const RUN_LOGS: &str = "\
What a detached run printed so far. Pass the `cursor` of one answer to the next to get only what is new; with \
`wait_secs` it waits for something new. Nothing follows once `state` is finished and `has_more` is false.

Example: {\"id\": \"3f2a…\", \"cursor\": \"…\", \"wait_secs\": 10}";

const CANCEL_RUN: &str = "\
End a detached run: its container is killed and removed, or never starts; what it printed is given back. A run that has \
finished is returned once more and then forgotten, which a run is after a while in any case.

Example: {\"id\": \"3f2a…\"}";

const LIST_RUNS: &str = "\
The detached runs that are remembered, newest first, without their output: those that wait or go on, and those that \
finished a while ago.

Example: {\"state\": \"running\"}";

const CREATE_VOLUME: &str = "\
Create a named Docker volume and fill it, to share files between several run_container calls. A volume of this name \
that was made here before is written over.

Example: {\"name\": \"dataset\", \"files\": {\"train.csv\": \"a,b\\n1,2\\n\"}}; then mount it with \
run_container's volumes: {\"/data:ro\": {\"type\": \"volume\", \"name\": \"dataset\"}}. `content` takes a base64 tar.gz \
instead of `files`.";

const READ_VOLUME: &str = "\
Read the content of a named volume that create_volume made: text files as text under `files`, keyed by relative path; \
when some are not text, the whole as base64 tar.gz in `content`.

Example: {\"name\": \"dataset\"}";

const LIST_IMAGES: &str = "\
List the images that the Docker engine already has; these run without a pull. Takes no arguments: {}";

const DOCKER_HEALTH: &str = "\
Check that the Docker engine answers, and get its version. Takes no arguments: {}. Use it when run_container reports \
that the engine is unreachable.";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_found_by_its_name_and_has_a_complete_definition() {
        for (tool, definition) in Tool::ALL.into_iter().zip(definitions(Toolset::Own)) {
            assert_eq!(Tool::from_name(tool.name()), Some(tool));
            assert_eq!(definition["name"], tool.name());
            for member in ["title", "description", "annotations"] {
                assert!(!definition[member].is_null(), "{member} of {tool:?}");
            }
            for member in ["inputSchema", "outputSchema"] {
                assert_eq!(definition[member]["type"], "object", "{member} of {tool:?}");
            }
        }
        assert!(Tool::from_name("RUN_CONTAINER").is_none());
    }

    #[test]
    fn the_example_of_run_container_is_json() {
        let start = RUN_CONTAINER.find("{\"image\"").unwrap();
        let end = RUN_CONTAINER.find("\ngives back").unwrap();
        let example: Value = serde_json::from_str(&RUN_CONTAINER[start..end]).unwrap();
        assert!(example["volumes"]["/out"]["response"].as_bool().unwrap());
    }
}
