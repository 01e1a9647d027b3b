//! The MCP server in memory: no engine, no socket, no process. `tests/mcp_live.rs` tests a live server.
#![allow(clippy::unwrap_used, clippy::panic)]

mod http_sse;
mod messages;
mod mutations;
mod stdio;
mod streamable_http;

use super::client::ClientState;
use super::context::CallContext;
use super::outgoing::{ChannelSender, Outgoing};
use super::protocol::Revision;
use super::tools::{Backend, ToolCall, ToolOutcome};
use super::*;
use crate::cancel::Cancel;
use crate::http::{Reply, ReplyBody, Request as HttpRequest, StreamWriter};
use crate::problem::Fault;
use crate::runner::{
    CollectedVolume, Encoding, Error, Event, Health, Image, InitHealth, InitMode, Phase, Piece,
    Reason, RunKind, RunLimit, RunLogs, RunResult, RunState, RunStates, ShownCommand, Sink,
    Timings, Usage,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

impl Mcp {
    /// Shuts the server down; its calls end at once when they are cancelled.
    pub(super) fn close(&self) {
        self.shut_down(std::time::Instant::now() + Duration::from_secs(15));
    }
}

/// The result of a run that exited.
pub(super) fn sample_run(stdout: &str, stderr: &str, exit_code: i64) -> RunResult {
    RunResult {
        id: "run1".into(),
        status: match exit_code {
            0 => "success".into(),
            code => format!("error: {code}"),
        },
        exit_code: Some(exit_code),
        reason: Reason::Exited,
        signal: None,
        stdout: stdout.into(),
        stderr: stderr.into(),
        stdout_omitted_bytes: None,
        stderr_omitted_bytes: None,
        volumes: BTreeMap::new(),
        execution_time: 0.5,
        image_digest: "sha256:0".into(),
        oom_killed: false,
        usage: Usage::default(),
        warnings: Vec::new(),
        timings: Timings::default(),
        memory: None,
    }
}

/// A detached run; its id says which state it is in.
fn detached(id: &str) -> RunState {
    let outcome = match id {
        "finished" => Some(Ok(sample_run("hello\n", "", 0))),
        "fails" => Some(Ok(sample_run("", "no\n", 1))),
        "broken" => Some(Err(Error::ImageNotFound("no such image: x".into()))),
        _ => None,
    };
    let phase = match (Phase::from_word(id), &outcome) {
        (_, Some(_)) => Phase::Finished,
        (phase, None) => phase.unwrap_or(Phase::Running),
    };
    let moment = || "2026-01-01T00:00:00.000Z".to_owned();
    RunState {
        kind: RunKind::Asynchronous,
        order: 0,
        image: "x".into(),
        command: ShownCommand::default(),
        end: None,
        id: id.into(),
        phase,
        created_at: moment(),
        started_at: (phase != Phase::Queued).then(moment),
        finished_at: outcome.as_ref().map(|_| moment()),
        output_encoding: Encoding::Utf8,
        outcome: outcome.map(Arc::new),
    }
}

/// A backend in memory: the image's name says what a run does, a run's id which state it is in.
struct Memory;

impl Memory {
    fn run(request: &Value, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        match request["image"].as_str().unwrap_or_default() {
            "" => Err(Error::Invalid(vec![
                fault("image", "required"),
                fault("colour", "unknown field"),
            ])),
            "forever" => {
                sink.event(Event::Stdout(b"waiting\n".to_vec()));
                let _ = cancel.done().recv();
                let mut run = sample_run("waiting\n", "", 137);
                (run.reason, run.exit_code) = (Reason::Cancelled, None);
                run.status = "error: cancelled".into();
                Ok(run)
            }
            "fails" => Ok(sample_run("", "no\n", 1)),
            "large" => Ok(sample_run(&"y\n".repeat(1 << 20), "", 0)),
            "gone" => Err(Error::ImageNotFound("no such image: gone".into())),
            _ => {
                sink.event(Event::Started);
                let mut run = sample_run("hello\n", "", 0);
                run.warnings.push("no swap limit".into());
                let content = "NDI=".to_owned();
                let left = CollectedVolume {
                    kind: "file",
                    content: Some(content),
                    detail: None,
                };
                run.volumes = BTreeMap::from([("/out".into(), Some(left)), ("/none".into(), None)]);
                Ok(run)
            }
        }
    }

    fn submit(request: &Value) -> Result<RunState, Error> {
        match request["image"].as_str() {
            Some("gone") => Err(Error::QueueFull {
                limit: RunLimit::Queue,
                retry_after_secs: 1,
            }),
            _ => Ok(detached("queued")),
        }
    }

    fn state(id: &str) -> Result<RunState, Error> {
        match id {
            "none" => Err(Error::NotFound {
                code: "run_not_found",
                detail: "no such run".into(),
            }),
            id => Ok(detached(id)),
        }
    }

    fn logs(id: &str, cursor: Option<&str>) -> RunLogs {
        let piece = |number: u64| Piece {
            event: Event::Stdout(vec![1; 32 * 1024]),
            cursor: format!("life-{number}"),
        };
        RunLogs {
            state: detached(id),
            output_encoding: Encoding::Utf8,
            pieces: (1..=8).map(piece).collect(),
            cursor: Some("life-9".into()),
            has_more: false,
            skipped_events: 0,
            is_from_start: cursor.is_some(),
        }
    }

    fn cancel_run(id: &str) -> Result<ToolOutcome, Error> {
        let state = Self::state(id)?;
        Ok(match state.outcome {
            Some(_) => ToolOutcome::Forgotten(state),
            None => ToolOutcome::Cancelled(state),
        })
    }

    fn runs(wanted: Option<Phase>, limit: usize) -> Vec<RunState> {
        let all = ["queued", "running", "finished", "fails", "broken"].map(detached);
        let wanted = all
            .into_iter()
            .filter(|run| wanted.is_none_or(|wanted| run.phase == wanted));
        wanted.take(limit).collect()
    }

    fn image() -> Image {
        Image {
            id: "sha256:1".into(),
            tags: vec!["alpine:latest".into()],
            digests: Vec::new(),
            size_bytes: 5_000_000,
            created: 1,
        }
    }
}

impl Backend for Memory {
    fn check_run(&self, _: Value) -> Result<(), Error> {
        Err(Error::Invalid(vec![fault("colour", "unknown field")]))
    }

    fn execute(
        &self,
        call: ToolCall,
        cancel: &Cancel,
        sink: &dyn Sink,
    ) -> Result<ToolOutcome, Error> {
        Ok(match call {
            ToolCall::Run(request) => ToolOutcome::Run {
                result: Box::new(Self::run(&request, cancel, sink)?),
                encoding: Encoding::Utf8,
            },
            ToolCall::Submit(request) => ToolOutcome::Submitted(Self::submit(&request)?),
            ToolCall::RunStatus { id, .. } => ToolOutcome::Status(Self::state(&id)?),
            ToolCall::RunLogs { id, cursor, .. } => {
                ToolOutcome::Logs(Self::logs(&id, cursor.as_deref()))
            }
            ToolCall::CancelRun { id } => Self::cancel_run(&id)?,
            ToolCall::ListRuns { state, limit } => ToolOutcome::Runs(RunStates {
                states: Self::runs(state, limit),
                is_complete: true,
            }),
            ToolCall::CreateVolume(request) => ToolOutcome::VolumeCreated {
                detail: format!(
                    "volume {} was created",
                    request["name"].as_str().unwrap_or_default()
                ),
            },
            ToolCall::ReadVolume { .. } => {
                return Err(Error::NotFound {
                    code: "volume_not_found",
                    detail: "no such volume".into(),
                });
            }
            ToolCall::ListImages => ToolOutcome::Images(vec![Self::image()]),
            ToolCall::DockerHealth => ToolOutcome::Health(Health {
                status: "ok".into(),
                docker_version: "20.10".into(),
                api_version: "1.41".into(),
                init: InitHealth {
                    mode: InitMode::Auto,
                    available: Some(true),
                    reason: None,
                },
            }),
        })
    }
}

fn fault(name: &str, msg: &str) -> Fault {
    Fault {
        loc: vec!["arguments".into(), name.into()],
        msg: msg.into(),
    }
}

fn server() -> Mcp {
    let settings = Settings {
        progress_interval: Duration::from_millis(40),
        keep_alive: Duration::from_millis(40),
        stream_after: Duration::from_millis(60),
        toolset: Toolset::WithConformance,
        ..Settings::default()
    };
    with_settings(settings)
}

fn with_settings(settings: Settings) -> Mcp {
    Mcp::with_backend(Arc::new(Memory), settings).unwrap()
}

/// Sends one request on behalf of a client and returns all messages that come back.
fn converse(mcp: &Mcp, client: &Arc<ClientState>, message: &Value) -> Vec<Value> {
    let (sender, messages) = ChannelSender::new(99);
    let context = CallContext::new(client, Arc::new(sender));
    let payload = jsonrpc::parse(message.to_string().as_bytes(), None).unwrap();
    mcp.receive(payload, &context).unwrap();
    drop(context);
    messages.iter().map(Outgoing::into_value).collect()
}

fn schema(revision: Revision) -> Value {
    let text = match revision {
        Revision::V2024_11_05 => include_str!("../../../tests/mcp/schemas/2024-11-05.json"),
        Revision::V2025_03_26 => include_str!("../../../tests/mcp/schemas/2025-03-26.json"),
        Revision::V2025_06_18 => include_str!("../../../tests/mcp/schemas/2025-06-18.json"),
        Revision::V2025_11_25 => include_str!("../../../tests/mcp/schemas/2025-11-25.json"),
        Revision::V2026_07_28 => include_str!("../../../tests/mcp/schemas/2026-07-28.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn validator(revision: Revision, kind: &str) -> jsonschema::Validator {
    let mut schema = schema(revision);
    let place = match schema.get("$defs") {
        Some(_) => "$defs",
        None => "definitions",
    };
    schema["$ref"] = json!(format!("#/{place}/{kind}"));
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(revision: Revision, kind: &str, instance: &Value) {
    let validator = validator(revision, kind);
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{} {kind}: {errors:?} in {instance:.2000}",
        revision.name()
    );
}

fn http(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> HttpRequest {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut all = vec![("content-type".to_owned(), "application/json".to_owned())];
    for (name, value) in headers {
        all.retain(|(known, _)| known != name);
        all.push(((*name).to_owned(), (*value).to_owned()));
    }
    HttpRequest {
        id: "1".into(),
        method: method.into(),
        path: path.into(),
        ends_in_slash: false,
        query: pairs.map(|(k, v)| (k.into(), v.into())).collect(),
        headers: all,
        content_length: Some(body.len() as u64),
        body: Box::new(Cursor::new(body.to_owned().into_bytes())),
        body_memory: None,
        answer_memory: None,
        cancel: Cancel::new(),
        draining: Cancel::new(),
    }
}

fn text(reply: Reply) -> String {
    let mut out = Vec::new();
    match reply.body {
        ReplyBody::Empty => {}
        ReplyBody::Bytes(bytes) => out = bytes,
        ReplyBody::Sized { write, .. } => write(&mut out).unwrap(),
        ReplyBody::Stream(write) => write(&mut StreamWriter::new(&mut out)).unwrap(),
    }
    String::from_utf8(out).unwrap()
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let found = reply.headers.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.as_str())
}

const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fn run(image: &str, revision: Option<&str>) -> String {
    let mut meta = json!({"progressToken": 1});
    if let Some(revision) = revision {
        meta[protocol::META_VERSION] = json!(revision);
        meta[protocol::META_CAPABILITIES] = json!({});
    }
    json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": {"name": "run_container", "arguments": {"image": image}, "_meta": meta}})
    .to_string()
}

fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came true");
        std::thread::yield_now();
    }
}
