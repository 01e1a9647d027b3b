//! The dispatch without a transport, on containers that exist in memory, each message checked against the published
//! schema of the revision that was agreed on.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::cancel::Cancel;
use crate::http::{ReplyBody, Request as HttpRequest, StreamWriter};
use crate::problem::Fault;
use crate::runner::{
    CollectedVolume, Error, Event, Health, Image, Reason, RunResult, Sink, Timings,
};
use outlet::Pipe;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Cursor;

/// A run's result.
pub(super) fn trial_run(stdout: &str, stderr: &str, exit_code: i64) -> RunResult {
    RunResult {
        id: "run1".into(),
        status: match exit_code {
            0 => "success".into(),
            code => format!("error: {code}"),
        },
        exit_code: Some(exit_code),
        reason: Reason::Exited,
        stdout: stdout.into(),
        stderr: stderr.into(),
        stdout_omitted_bytes: None,
        stderr_omitted_bytes: None,
        volumes: BTreeMap::new(),
        execution_time: 0.5,
        image_digest: "sha256:0".into(),
        oom_killed: false,
        warnings: Vec::new(),
        timings: Timings::default(),
    }
}

/// Containers in memory: the image's name says what a run does.
struct Memory;

impl Containers for Memory {
    fn run(&self, request: Value, cancel: &Cancel, sink: &dyn Sink) -> Result<RunResult, Error> {
        let image = request["image"].as_str().unwrap_or_default().to_owned();
        match image.as_str() {
            "" => Err(Error::Invalid(vec![
                fault("image", "required"),
                fault("colour", "unknown field"),
            ])),
            "forever" => {
                sink.event(Event::Stdout(b"waiting\n".to_vec()));
                let _ = cancel.done().recv();
                let mut run = trial_run("waiting\n", "", 137);
                (run.reason, run.exit_code) = (Reason::Cancelled, None);
                run.status = "error: cancelled".into();
                Ok(run)
            }
            "fails" => Ok(trial_run("", "no\n", 1)),
            "large" => Ok(trial_run(&"y\n".repeat(1 << 20), "", 0)),
            "gone" => Err(Error::ImageNotFound("no such image: gone".into())),
            _ => {
                sink.event(Event::Started);
                let mut run = trial_run("hello\n", "", 0);
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
    fn create_volume(&self, request: Value) -> Result<String, Error> {
        Ok(format!(
            "volume {} was created",
            request["name"].as_str().unwrap_or_default()
        ))
    }
    fn read_volume(&self, _: &str) -> Result<String, Error> {
        Err(Error::NotFound {
            code: "volume_not_found",
            detail: "no such volume".into(),
        })
    }
    fn health(&self) -> Result<Health, Error> {
        Ok(Health {
            status: "ok".into(),
            docker_version: "20.10".into(),
            api_version: "1.41".into(),
        })
    }
    fn images(&self) -> Result<Vec<Image>, Error> {
        Ok(vec![Image {
            id: "sha256:1".into(),
            tags: vec!["alpine:latest".into()],
            digests: Vec::new(),
            size_bytes: 5_000_000,
            created: 1,
        }])
    }
}

fn fault(name: &str, msg: &str) -> Fault {
    Fault {
        loc: vec!["arguments".into(), name.into()],
        msg: msg.into(),
    }
}

fn front() -> Mcp {
    let settings = Settings {
        beat: Duration::from_millis(40),
        keep_alive: Duration::from_millis(40),
        patience: Duration::from_millis(60),
        toolset: Toolset::WithTrials,
        ..Settings::default()
    };
    Mcp::new(Memory, settings).unwrap()
}

/// Sends one message on a connection of its own and gives all that comes back.
fn converse(mcp: &Mcp, caller: &Caller, message: &Value) -> Vec<Value> {
    let (pipe, items) = Pipe::new(99);
    let parsed = jsonrpc::parse(message.to_string().as_bytes()).unwrap();
    let jsonrpc::Payload::One(Ok(jsonrpc::Message::Request(asked))) = parsed else {
        panic!("{message} is no request");
    };
    mcp.serve(asked, caller, Arc::new(pipe));
    items.iter().map(outlet::Item::into_value).collect()
}

fn schema(revision: Revision) -> Value {
    let text = match revision {
        Revision::V2024_11_05 => include_str!("../../tests/mcp/schemas/2024-11-05.json"),
        Revision::V2025_03_26 => include_str!("../../tests/mcp/schemas/2025-03-26.json"),
        Revision::V2025_06_18 => include_str!("../../tests/mcp/schemas/2025-06-18.json"),
        Revision::V2025_11_25 => include_str!("../../tests/mcp/schemas/2025-11-25.json"),
        Revision::V2026_07_28 => include_str!("../../tests/mcp/schemas/2026-07-28.json"),
    };
    serde_json::from_str(text).unwrap()
}

#[track_caller]
fn assert_valid(revision: Revision, kind: &str, instance: &Value) {
    let mut schema = schema(revision);
    let place = match schema.get("$defs") {
        Some(_) => "$defs",
        None => "definitions",
    };
    schema["$ref"] = json!(format!("#/{place}/{kind}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
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

fn meta(revision: Revision) -> Value {
    match revision.is_stateless() {
        true => json!({protocol::META_VERSION: revision.name(), protocol::META_CAPABILITIES: {},
            protocol::META_LOG_LEVEL: "debug", "progressToken": "p"}),
        false => json!({"progressToken": 0}),
    }
}

/// Every request we answer, and the schema type of its result.
fn requests(revision: Revision) -> Vec<(Value, &'static str)> {
    let call = |name: &str, arguments: Value| {
        json!({"method": "tools/call",
            "params": {"name": name, "arguments": arguments, "_meta": meta(revision)}})
    };
    let mut all = vec![
        (
            json!({"method": "tools/list", "params": {"_meta": meta(revision)}}),
            "ListToolsResult",
        ),
        (
            call("run_container", json!({"image": "alpine"})),
            "CallToolResult",
        ),
        (
            call("run_container", json!({"image": "fails"})),
            "CallToolResult",
        ),
        (
            call("run_container", json!({"image": "large"})),
            "CallToolResult",
        ),
        (
            call("run_container", json!({"image": "gone"})),
            "CallToolResult",
        ),
        (call("run_container", json!({})), "CallToolResult"),
        (
            call("create_volume", json!({"name": "v"})),
            "CallToolResult",
        ),
        (call("read_volume", json!({"name": "v"})), "CallToolResult"),
        (call("read_volume", json!({})), "CallToolResult"),
        (call("list_images", json!({})), "CallToolResult"),
        (
            call("docker_health", json!({"action": "n8n"})),
            "CallToolResult",
        ),
        (call("docker_health", json!({"x": 1})), "CallToolResult"),
        (call("test_simple_text", json!({})), "CallToolResult"),
        (
            call("test_multiple_content_types", json!({})),
            "CallToolResult",
        ),
        (call("test_tool_with_logging", json!({})), "CallToolResult"),
        (call("test_tool_with_progress", json!({})), "CallToolResult"),
        (call("no_such_tool", json!({})), "error"),
        (
            json!({"method": "no/such/method", "params": {"_meta": meta(revision)}}),
            "error",
        ),
        (
            json!({"method": "tools/list", "params": {"cursor": "x", "_meta": meta(revision)}}),
            "error",
        ),
    ];
    match revision.is_stateless() {
        true => all.push((
            json!({"method": "server/discover", "params": {"_meta": meta(revision)}}),
            "DiscoverResult",
        )),
        false => {
            let params = json!({"protocolVersion": revision.name(), "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"}});
            all.insert(
                0,
                (
                    json!({"method": "initialize", "params": params}),
                    "InitializeResult",
                ),
            );
            all.push((json!({"method": "ping"}), "EmptyResult"));
            all.push((
                json!({"method": "logging/setLevel", "params": {"level": "debug"}}),
                "EmptyResult",
            ));
            all.push((json!({"method": "logging/setLevel", "params": {}}), "error"));
        }
    }
    all
}

#[test]
fn every_message_validates_against_the_schema_of_its_revision() {
    let mcp = front();
    for revision in Revision::ALL {
        let caller = mcp.stranger(None);
        for (number, (mut request, kind)) in requests(revision).into_iter().enumerate() {
            request["jsonrpc"] = json!("2.0");
            request["id"] = json!(number);
            let told = converse(&mcp, &caller, &request);
            let (response, notifications) = told.split_last().unwrap();
            assert_eq!(response["id"], number, "{request}");
            assert_valid(revision, "JSONRPCMessage", response);
            match kind {
                "error" => assert!(response["error"]["code"].is_i64(), "{response}"),
                kind if kind == "EmptyResult" && revision.is_stateless() => {}
                kind => assert_valid(revision, kind, &response["result"]),
            }
            for notification in notifications {
                assert_valid(revision, "JSONRPCMessage", notification);
                assert_valid(revision, "ServerNotification", notification);
            }
            assert!(response.to_string().len() <= 900_000);
        }
    }
    mcp.close();
}

#[test]
fn structured_content_validates_against_the_output_schema() {
    let mcp = front();
    let definitions = tools::definitions(Toolset::Own);
    for (name, arguments) in [
        ("run_container", json!({"image": "alpine"})),
        ("run_container", json!({"image": "fails"})),
        ("run_container", json!({"image": "large"})),
        ("create_volume", json!({"name": "v"})),
        ("list_images", json!({})),
        ("docker_health", json!({})),
    ] {
        let definition = definitions.iter().find(|d| d["name"] == name).unwrap();
        let validator = jsonschema::validator_for(&definition["outputSchema"]).unwrap();
        let result = call(&mcp, name, &arguments);
        let structured = &result["result"]["structuredContent"];
        assert!(validator.is_valid(structured), "{name}: {structured:.500}");
        let input = jsonschema::validator_for(&definition["inputSchema"]).unwrap();
        assert!(input.is_valid(&arguments), "{name}: {arguments}");
    }
    mcp.close();
}

fn call(mcp: &Mcp, name: &str, arguments: &Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call",
        "params": {"name": name, "arguments": arguments}});
    converse(mcp, &mcp.stranger(None), &request).pop().unwrap()
}

#[test]
fn a_run_comes_back_with_text_and_what_it_left() {
    let mcp = front();
    let result = &call(&mcp, "run_container", &json!({"image": "alpine"}))["result"];
    assert_eq!(result["isError"], false);
    let volumes = &result["structuredContent"]["volumes"];
    assert_eq!(volumes["/out"], json!({"type": "file", "text": "42"}));
    assert_eq!(volumes["/none"], Value::Null);
    let essence = result["content"][0]["text"].as_str().unwrap();
    assert!(
        essence.contains("/out (file):\n42") && essence.contains("left nothing there"),
        "{essence}"
    );
    mcp.close();
}

#[test]
fn failures_are_results_a_model_can_act_on() {
    let mcp = front();
    for (name, arguments, told) in [
        (
            "run_container",
            json!({}),
            vec!["arguments.image: required", "arguments.colour"],
        ),
        (
            "run_container",
            json!({"image": "gone"}),
            vec!["no such image", "list_images"],
        ),
        (
            "run_container",
            json!("echo"),
            vec!["expected an object, got a string"],
        ),
        ("read_volume", json!({"name": "x"}), vec!["no such volume"]),
        ("docker_health", json!({"x": 1}), vec!["takes no arguments"]),
    ] {
        let result = &call(&mcp, name, &arguments)["result"];
        assert_eq!(result["isError"], true, "{name} {arguments}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(
            told.iter().all(|part| text.contains(part)),
            "{name}: {text}"
        );
    }
    let unknown = call(&mcp, "no_such_tool", &json!({}));
    assert_eq!(unknown["error"]["code"], -32602);
    mcp.close();
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
        query: pairs.map(|(k, v)| (k.into(), v.into())).collect(),
        headers: all,
        content_length: Some(body.len() as u64),
        body: Box::new(Cursor::new(body.to_owned().into_bytes())),
        cancel: Cancel::new(),
        draining: Cancel::new(),
        authenticated: headers.iter().any(|(name, _)| *name == "authorization"),
    }
}

fn text(reply: Reply) -> String {
    let mut out = Vec::new();
    match reply.body {
        ReplyBody::Empty => {}
        ReplyBody::Bytes(bytes) => out = bytes,
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

#[test]
fn posts_are_refused_exactly_as_specified() {
    let mcp = front();
    let modern = |version: &str, method: &str| {
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"name": "docker_health",
            "_meta": {protocol::META_VERSION: version, protocol::META_CAPABILITIES: {}}}})
        .to_string()
    };
    let list = modern("2026-07-28", "tools/list");
    let health = modern("2026-07-28", "tools/call");
    let version = ("mcp-protocol-version", "2026-07-28");
    let name = ("mcp-name", "docker_health");
    for (headers, body, status, code) in [
        (vec![("content-type", "text/plain")], LIST, 415, None),
        (vec![("accept", "text/html")], LIST, 406, None),
        (vec![], "{", 400, Some(-32700)),
        (vec![], "[]", 400, Some(-32600)),
        (vec![], "[{}]", 400, Some(-32600)),
        (
            vec![],
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            400,
            Some(-32600),
        ),
        (vec![("mcp-session-id", "nope")], LIST, 404, Some(-32001)),
        (
            vec![("mcp-protocol-version", "1999-01-01")],
            LIST,
            400,
            Some(-32022),
        ),
        (vec![version], LIST, 400, Some(-32602)),
        (vec![], &list, 400, Some(-32020)),
        (
            vec![("mcp-protocol-version", "2025-11-25")],
            &list,
            400,
            Some(-32020),
        ),
        (vec![version], &list, 400, Some(-32020)),
        (
            vec![version, ("mcp-method", "TOOLS/LIST")],
            &list,
            400,
            Some(-32020),
        ),
        (
            vec![version, ("mcp-method", "tools/list")],
            &list,
            200,
            None,
        ),
        (
            vec![version, ("mcp-method", "tools/call")],
            &health,
            400,
            Some(-32020),
        ),
        (
            vec![version, ("mcp-method", "tools/call"), ("mcp-name", "other")],
            &health,
            400,
            Some(-32020),
        ),
        (
            vec![version, ("mcp-method", "tools/call"), name],
            &health,
            200,
            None,
        ),
        (
            vec![
                version,
                ("mcp-method", "tools/call"),
                ("mcp-name", "=?base64?ZG9ja2VyX2hlYWx0aA==?="),
            ],
            &health,
            200,
            None,
        ),
        (
            vec![("mcp-protocol-version", "v9"), ("mcp-method", "tools/list")],
            &modern("v9", "tools/list"),
            400,
            Some(-32022),
        ),
        (
            vec![version, ("mcp-method", "ping")],
            &modern("2026-07-28", "ping"),
            404,
            Some(-32601),
        ),
        (
            vec![],
            r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#,
            400,
            Some(-32602),
        ),
        (vec![], LIST, 200, None),
        (
            vec![("mcp-protocol-version", "2025-06-18")],
            LIST,
            200,
            None,
        ),
        (
            vec![],
            r#"{"jsonrpc":"2.0","id":1,"method":"nope"}"#,
            200,
            Some(-32601),
        ),
        (
            vec![],
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            202,
            None,
        ),
        (vec![], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 202, None),
    ] {
        let reply = mcp.streamable(http("POST", "/mcp", &headers, body));
        assert_eq!(reply.status, status, "{headers:?} {body}");
        let body: Value = serde_json::from_str(&text(reply)).unwrap_or_default();
        let found = body.pointer("/error/code").and_then(Value::as_i64);
        assert_eq!(found, code, "{headers:?} {body}");
        if code.is_some() {
            assert_valid(Revision::V2026_07_28, "JSONRPCErrorResponse", &body);
        }
    }
    let reply = mcp.streamable(http("GET", "/mcp", &[BOTH], ""));
    assert_eq!(
        (reply.status, header(&reply, "Allow")),
        (405, Some("POST, DELETE"))
    );
    mcp.close();
}

#[test]
fn a_session_of_the_handshake_era_lives_until_it_is_deleted() {
    let mcp = front();
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}"#;
    let reply = mcp.streamable(http("POST", "/mcp", &[BOTH], hello));
    let id = header(&reply, "Mcp-Session-Id").unwrap().to_owned();
    assert_eq!(reply.status, 200);
    let session = ("mcp-session-id", id.as_str());
    let batch = format!("[{LIST},{}]", LIST.replace(":1,", ":2,"));
    let answers: Value = serde_json::from_str(&text(mcp.streamable(http(
        "POST",
        "/mcp",
        &[BOTH, session],
        &batch,
    ))))
    .unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 2);
    assert_valid(Revision::V2025_03_26, "JSONRPCBatchResponse", &answers);
    let foreign = mcp.streamable(http(
        "POST",
        "/mcp",
        &[session, ("authorization", "Bearer other")],
        LIST,
    ));
    assert_eq!(foreign.status, 404);
    assert_eq!(mcp.census(), [0, 1, 0]);
    assert_eq!(
        mcp.streamable(http("DELETE", "/mcp", &[session], ""))
            .status,
        204
    );
    assert_eq!(
        mcp.streamable(http("DELETE", "/mcp", &[session], ""))
            .status,
        404
    );
    assert_eq!(mcp.streamable(http("DELETE", "/mcp", &[], "")).status, 400);
    let after = mcp.streamable(http("POST", "/mcp", &[session], LIST));
    assert_eq!(after.status, 404);
    assert_eq!(mcp.census(), [0, 0, 0]);
    mcp.close();
}

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

#[test]
fn closing_the_stream_cancels_a_stateless_call_and_no_other() {
    let mcp = front();
    let headers = [
        BOTH,
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "run_container"),
    ];
    let reply = mcp.streamable(http(
        "POST",
        "/mcp",
        &headers,
        &run("forever", Some("2026-07-28")),
    ));
    assert_eq!(header(&reply, "Content-Type"), Some("text/event-stream"));
    assert_eq!(mcp.census()[2], 1);
    drop(reply);
    until(|| mcp.census()[2] == 0);

    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let opened = mcp.streamable(http("POST", "/mcp", &[BOTH], hello));
    let id = header(&opened, "Mcp-Session-Id").unwrap().to_owned();
    let session = ("mcp-session-id", id.as_str());
    let reply = mcp.streamable(http(
        "POST",
        "/mcp",
        &[BOTH, session],
        &run("forever", None),
    ));
    drop(reply);
    assert_eq!(mcp.census()[2], 1, "a disconnect does not cancel");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#;
    assert_eq!(
        mcp.streamable(http("POST", "/mcp", &[BOTH, session], cancel))
            .status,
        202
    );
    until(|| mcp.census()[2] == 0);
    mcp.close();
}

fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came true");
        std::thread::yield_now();
    }
}

/// An SSE stream that a thread writes into a channel.
struct Listening {
    pieces: crossbeam_channel::Receiver<String>,
    gone: Cancel,
    draining: Cancel,
    thread: std::thread::JoinHandle<()>,
}

struct Pieces(crossbeam_channel::Sender<String>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(piece).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listen(mcp: &Mcp, path: &str, headers: &[(&str, &str)]) -> Listening {
    let request = http("GET", path, headers, "");
    let (gone, draining) = (request.cancel.clone(), request.draining.clone());
    let ReplyBody::Stream(write) = mcp.sse(&request).body else {
        panic!("no stream");
    };
    let (sender, pieces) = crossbeam_channel::unbounded();
    let thread = std::thread::spawn(move || {
        let _ = write(&mut StreamWriter::new(&mut Pieces(sender)));
    });
    Listening {
        pieces,
        gone,
        draining,
        thread,
    }
}

impl Listening {
    fn event(&self) -> String {
        loop {
            let piece = self.pieces.recv_timeout(Duration::from_secs(10)).unwrap();
            if !piece.starts_with(':') {
                return piece;
            }
        }
    }
    fn message(&self) -> Value {
        let event = self.event();
        let data = event
            .strip_prefix("event: message\ndata: ")
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap();
        serde_json::from_str(data).unwrap()
    }
}

#[test]
fn an_sse_session_takes_its_chosen_id_and_nobody_takes_it_over() {
    let mcp = front();
    let first = listen(&mcp, "/sse?sessionId=test123", &[]);
    assert_eq!(
        first.event(),
        "event: endpoint\ndata: /messages?sessionId=test123\n\n"
    );
    let second = listen(&mcp, "/sse?sessionId=test123", &[]);
    assert!(!second.event().contains("test123"));
    let bad = listen(&mcp, "/sse?sessionId=a/b", &[]);
    assert!(!bad.event().contains("a/b"));
    for (path, headers, body, status) in [
        ("/messages?sessionId=test123", vec![], LIST, 202),
        ("/messages?session_id=test123", vec![], LIST, 202),
        ("/messages", vec![], LIST, 400),
        ("/messages?sessionId=", vec![], LIST, 400),
        ("/messages?sessionId=other", vec![], LIST, 404),
        (
            "/messages?sessionId=test123",
            vec![("authorization", "Bearer x")],
            LIST,
            404,
        ),
        (
            "/messages?sessionId=test123",
            vec![("content-type", "text/plain")],
            LIST,
            415,
        ),
        ("/messages?sessionId=test123", vec![], "{", 400),
        ("/messages?sessionId=test123", vec![], "[]", 400),
        ("/messages?sessionId=test123", vec![], "[{}]", 400),
    ] {
        let reply = mcp.messages(http("POST", path, &headers, body));
        assert_eq!(reply.status, status, "{path} {headers:?} {body}");
    }
    assert_eq!(first.message()["id"], 1);
    assert_eq!(first.message()["id"], 1);
    let comment = first.pieces.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(comment, ": keepalive\n\n");
    for (method, reply) in [
        ("POST", mcp.sse(&http("POST", "/sse", &[], ""))),
        ("GET", mcp.messages(http("GET", "/messages", &[], ""))),
    ] {
        assert_eq!(reply.status, 405, "{method}");
    }
    for listening in [first, second, bad] {
        listening.gone.fire();
        listening.thread.join().unwrap();
    }
    assert_eq!(mcp.census(), [0, 0, 0]);
    mcp.close();
}

#[test]
fn a_session_that_dies_takes_its_runs_with_it() {
    let mcp = front();
    for end in ["gone", "written to no more", "drained"] {
        let listening = listen(&mcp, "/sse?sessionId=s", &[]);
        listening.event();
        let posted = mcp.messages(http(
            "POST",
            "/messages?sessionId=s",
            &[],
            &run("forever", None),
        ));
        assert_eq!(posted.status, 202, "{end}");
        until(|| mcp.census()[2] == 1);
        match end {
            "gone" => listening.gone.fire(),
            "written to no more" => drop(listening.pieces),
            _ => {
                listening.draining.fire();
                listening.gone.fire();
            }
        }
        listening.thread.join().unwrap();
        until(|| mcp.census() == [0, 0, 0]);
    }
    mcp.close();
}

#[test]
fn a_slow_reader_is_dropped_and_blocks_nobody() {
    let settings = Settings {
        queue_messages: 4,
        ..Settings::default()
    };
    let mcp = Mcp::new(Memory, settings).unwrap();
    let request = http("GET", "/sse?sessionId=slow", &[], "");
    let reply = mcp.sse(&request);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(
            mcp.messages(http("POST", "/messages?sessionId=slow", &[], LIST))
                .status,
        );
    }
    assert_eq!(statuses, [202; 6], "posting never waits for the reader");
    let written = text(reply);
    assert!(written.starts_with("event: endpoint"));
    assert_eq!(mcp.census(), [0, 0, 0]);
    mcp.close();
}

#[test]
fn an_answer_comes_as_json_unless_it_takes_long() {
    let mcp = front();
    let quick = mcp.streamable(http("POST", "/mcp", &[BOTH], LIST));
    assert_eq!(header(&quick, "Content-Type"), Some("application/json"));
    let only = mcp.streamable(http(
        "POST",
        "/mcp",
        &[("accept", "text/event-stream")],
        LIST,
    ));
    assert_eq!(header(&only, "Content-Type"), Some("text/event-stream"));
    assert!(text(only).starts_with("event: message\ndata: {"));
    let told = mcp.streamable(http("POST", "/mcp", &[BOTH], &run("alpine", None)));
    assert_eq!(header(&told, "Content-Type"), Some("text/event-stream"));
    let told = text(told);
    assert!(told.contains("notifications/progress"), "{told}");
    assert!(
        told.trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("\"result\"")
    );
    let curl = mcp.streamable(http("POST", "/mcp", &[], &run("alpine", None)));
    assert_eq!(header(&curl, "Content-Type"), Some("application/json"));
    mcp.close();
}

#[test]
fn stdio_answers_line_by_line_and_ends_with_its_input() {
    #[derive(Clone, Default)]
    struct Out(Arc<std::sync::Mutex<Vec<u8>>>);
    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mcp = front();
    let out = Out::default();
    let input = format!(
        "{}\n\n{LIST}\r\nrubbish\n[{LIST}]\n{}\n",
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#,
        run("forever", None)
    );
    stdio::serve(&mcp, Cursor::new(input), out.clone()).unwrap();
    let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(lines[1]["id"], 1);
    assert_eq!(lines[2]["error"]["code"], -32700);
    assert_eq!(
        lines[3]["error"]["code"], -32600,
        "no batches in 2024-11-05"
    );
    let last = lines.last().unwrap();
    assert_eq!(
        last["result"]["structuredContent"]["status"],
        "error: cancelled"
    );
    assert_eq!(mcp.census(), [0, 0, 0]);
    mcp.close();
}
