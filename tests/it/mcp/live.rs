//! MCP against the live server and a real engine: the quick start, every transport, limits, load, and that whatever
//! ends a call removes its container.

use super::schema::{REVISIONS, assert_valid};
use super::stream::{BOTH, Stream, post, request, send};
use crate::support::{self, Server, docker};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const IMAGE: &str = "alpine:latest";
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn initialize(revision: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

fn call(id: u64, name: &str, arguments: Value, meta: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": meta}})
}

fn run(id: u64, command: &str) -> Value {
    let arguments = json!({"image": IMAGE, "command": ["sh", "-c", command], "network": "none"});
    call(id, "run_container", arguments, json!({"progressToken": id}))
}

fn stateless() -> Value {
    json!({META_VERSION: "2026-07-28", META_CAPABILITIES: {}, "progressToken": "t"})
}

const STATELESS_CALL: [(&str, &str); 4] = [
    BOTH,
    ("MCP-Protocol-Version", "2026-07-28"),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "run_container"),
];

/// Waits until the engine has nothing of this server, at most two seconds from now.
#[track_caller]
fn gone_within_two_seconds(server: &Server) {
    let begun = Instant::now();
    while !server.leftovers().is_empty() {
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(2),
            "still there: {:?}",
            server.leftovers()
        );
    }
}

#[test]
fn the_quick_start_works_as_it_is_written() {
    let server = Server::start();
    let mut curl = Command::new("curl")
        .args([
            "-sN",
            &format!("http://{}/sse?sessionId=test123", server.address),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(curl.stdout.take().unwrap()).lines();
    let mut line = || shown.next().unwrap().unwrap();
    assert_eq!(line(), "event: endpoint");
    assert_eq!(line(), "data: /messages?sessionId=test123");
    assert_eq!(line(), "");
    let address = format!("http://{}/messages?sessionId=test123", server.address);
    let hello = call(
        2,
        "run_container",
        json!({"image": "alpine:latest", "command": ["echo", "Hello from MCP SSE!"]}),
        json!({}),
    );
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let mut answers = Vec::new();
    for message in [initialize("2024-11-05"), list, hello] {
        let status = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(["-X", "POST", &address])
            .args(["-H", "Content-Type: application/json"])
            .args(["-d", &message.to_string()])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&status.stdout), "202");
        assert_eq!(line(), "event: message");
        let data = line();
        answers.push(serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap());
        assert_eq!(line(), "");
    }
    assert_eq!(answers[0]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(answers[1]["result"]["tools"][0]["name"], "run_container");
    assert_eq!(
        answers[2]["result"]["structuredContent"]["stdout"],
        "Hello from MCP SSE!\n"
    );
    curl.kill().unwrap();
    curl.wait().unwrap();
    server.stop();
}

#[test]
fn the_tools_are_those_of_the_golden_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tools.json");
    let server = Server::start();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answer = send(&server, "POST", "/mcp", &[], list).json();
    let tools = format!("{:#}\n", answer["result"]["tools"]);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &tools).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        golden == tools,
        "tools/list differs from {path}; UPDATE_GOLDEN=1 writes it anew"
    );
    server.stop();
}

/// What is asked of every transport in every revision.
fn conversation(revision: &str) -> Vec<(Value, &'static str)> {
    let modern = revision == "2026-07-28";
    let meta = match modern {
        true => stateless(),
        false => json!({"progressToken": 7}),
    };
    let echo = json!({"image": IMAGE, "command": ["echo", "hi"], "network": "none",
        "volumes": {"/out": {"type": "directory", "response": true}}});
    let first = match modern {
        true => (
            json!({"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {"_meta": meta}}),
            "DiscoverResult",
        ),
        false => (initialize(revision), "InitializeResult"),
    };
    vec![
        first,
        (
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}),
            "ListToolsResult",
        ),
        (
            call(2, "run_container", echo, meta.clone()),
            "CallToolResult",
        ),
        (
            call(3, "run_container", json!({"image": 1}), meta.clone()),
            "CallToolResult",
        ),
        (
            call(4, "docker_health", json!({}), meta.clone()),
            "CallToolResult",
        ),
        (
            call(5, "list_images", json!({}), meta.clone()),
            "CallToolResult",
        ),
        (call(6, "no_such_tool", json!({}), meta), ""),
    ]
}

fn check(revision: &str, kind: &str, response: &Value, told: &[Value]) {
    assert_valid(revision, "JSONRPCMessage", response);
    match kind {
        "" => assert_eq!(response["error"]["code"], -32602, "{response}"),
        kind => assert_valid(revision, kind, &response["result"]),
    }
    for notification in told {
        assert_valid(revision, "ServerNotification", notification);
    }
}

#[test]
fn every_message_of_every_transport_is_valid_in_its_revision() {
    let server = Server::start();
    for revision in REVISIONS {
        let mut stream = Stream::session(&server, revision);
        for (message, kind) in conversation(revision) {
            post(&server, revision, &message);
            let (response, told) = stream.response();
            check(revision, kind, &response, &told);
        }
        stream.close();
        for (message, kind) in conversation(revision) {
            let method = message["method"].as_str().unwrap().to_owned();
            let name = message["params"]["name"].as_str().unwrap_or("none");
            let mut headers = vec![BOTH, ("MCP-Protocol-Version", revision)];
            headers.extend([("Mcp-Method", method.as_str()), ("Mcp-Name", name)]);
            let answer = send(&server, "POST", "/mcp", &headers, &message.to_string());
            let body = String::from_utf8(answer.body.clone()).unwrap();
            let messages: Vec<Value> = match body.starts_with('{') {
                true => vec![answer.json()],
                false => body
                    .lines()
                    .filter_map(|line| line.strip_prefix("data: "))
                    .map(|data| serde_json::from_str(data).unwrap())
                    .collect(),
            };
            let (response, told) = messages.split_last().unwrap();
            check(revision, kind, response, told);
        }
        let conversation = conversation(revision);
        let asked: Vec<Value> = conversation
            .iter()
            .map(|(message, _)| message.clone())
            .collect();
        let (answers, _) = speak(&server.instance, &asked);
        for (message, kind) in &conversation {
            let found = answers.iter().find(|a| a["id"] == message["id"]);
            let told: Vec<Value> = answers
                .iter()
                .filter(|a| a.get("method").is_some())
                .cloned()
                .collect();
            check(revision, kind, found.unwrap(), &told);
        }
    }
    server.stop();
}

/// Speaks these messages over stdio, closes its input when all are answered, and gives what came on stdout and stderr.
fn speak(instance: &str, messages: &[Value]) -> (Vec<Value>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_oneoff-docker-runner"))
        .arg("stdio")
        .env("RUNNER_INSTANCE", instance)
        .env("RUST_LOG", "info")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for message in messages {
        writeln!(stdin, "{message}").unwrap();
    }
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answers: Vec<Value> = Vec::new();
    let expected = messages.iter().filter(|m| m.get("id").is_some()).count();
    while answers.iter().filter(|a| a.get("method").is_none()).count() < expected {
        let line = lines.next().unwrap().unwrap();
        answers.push(serde_json::from_str(&line).expect("stdout carries messages only"));
    }
    drop(stdin);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    assert!(lines.next().is_none(), "nothing after the last answer");
    (answers, stderr)
}

/// A stdio server with a run under way.
struct Spoken {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    label: String,
}

impl Spoken {
    fn running(instance: &str) -> Self {
        Self::busy(instance, &[run(1, "echo begun; sleep 100")])
    }

    /// Busy with the last of these messages, whose run says that it has begun.
    fn busy(instance: &str, messages: &[Value]) -> Self {
        support::require_engine();
        let mut child = Command::new(env!("CARGO_BIN_EXE_oneoff-docker-runner"))
            .arg("stdio")
            .env("RUNNER_INSTANCE", instance)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let label = format!("oneoff.instance={instance}:stdio:{}", child.id());
        let mut stdin = child.stdin.take().unwrap();
        for message in messages {
            writeln!(stdin, "{message}").unwrap();
        }
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("begun") {}
        let begun = Instant::now();
        while support::leftovers(&label).len() < messages.len() {
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        Self {
            child,
            stdin,
            label,
        }
    }

    fn ends_with_nothing_left(mut self, end: impl FnOnce(std::process::ChildStdin, u32)) {
        end(self.stdin, self.child.id());
        let begun = Instant::now();
        while !support::leftovers(&self.label).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn stdio_ends_with_its_input_and_takes_its_containers_along() {
    let spoken = Spoken::running(&format!("stdio-end-{}", std::process::id()));
    spoken.ends_with_nothing_left(|stdin, _| drop(stdin));
}

#[test]
fn stdio_ends_with_a_signal_and_takes_its_containers_along() {
    let spoken = Spoken::running(&format!("stdio-term-{}", std::process::id()));
    spoken.ends_with_nothing_left(|stdin, pid| {
        let killed = Command::new("kill").arg(pid.to_string()).status().unwrap();
        assert!(killed.success());
        std::mem::forget(stdin);
    });
}

#[test]
fn nobody_goes_on_with_detached_runs_of_stdio_so_they_end_with_it() {
    let arguments = |command| json!({"name": "run_container", "arguments": detached(command)});
    let detached = |id: u64, command| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": arguments(command)});
    let messages = [detached(1, "sleep 100"), run(2, "echo begun; sleep 100")];
    let spoken = Spoken::busy(&format!("stdio-detached-{}", std::process::id()), &messages);
    spoken.ends_with_nothing_left(|stdin, _| drop(stdin));
}

#[test]
fn stdio_logs_to_stderr_only() {
    let instance = format!("stdio-log-{}", std::process::id());
    let (answers, stderr) = speak(&instance, &[initialize("2025-11-25"), run(1, "echo hi")]);
    let ran = answers.iter().find(|answer| answer["id"] == 1).unwrap();
    assert_eq!(ran["result"]["structuredContent"]["stdout"], "hi\n");
    assert!(stderr.contains("INFO"), "{stderr}");
}

#[test]
fn an_engine_that_is_away_is_a_failure_a_model_can_act_on() {
    let server = Server::with(&[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
    for (name, arguments) in [
        ("docker_health", json!({})),
        ("list_images", json!({})),
        ("run_container", json!({"image": IMAGE})),
        ("create_volume", json!({"name": "v"})),
    ] {
        let body = call(1, name, arguments, json!({})).to_string();
        let result = send(&server, "POST", "/mcp", &[], &body).json()["result"].clone();
        assert_eq!(result["isError"], true, "{name}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(&format!("{name} failed")), "{text}");
        assert!(text.contains("/nonexistent/docker.sock"), "{text}");
        assert!(text.contains("docker_health tells"), "{text}");
    }
    server.stop();
}

#[test]
fn what_cannot_be_taken_is_refused_as_specified() {
    let server = Server::with(&[("RUNNER_MAX_BODY_BYTES", "4096")]);
    let mut stream = Stream::session(&server, "s");
    let large =
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "x".repeat(5000)}})
            .to_string();
    let plain = [("Content-Type", "text/plain")];
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for (path, headers, body, status) in [
        ("/messages", &[][..], list, 400),
        ("/messages?sessionId=unknown", &[], list, 404),
        ("/messages?sessionId=s", &[], "{", 400),
        ("/messages?sessionId=s", &plain, list, 415),
        ("/messages?sessionId=s", &[], &large, 413),
        ("/mcp", &[], "{", 400),
        ("/mcp", &plain, list, 415),
        ("/mcp", &[], &large, 413),
    ] {
        let answer = send(&server, "POST", path, headers, body);
        assert_eq!(answer.status, status, "{path} {headers:?} {body:.50}");
        if body == "{" {
            assert_eq!(answer.json()["error"]["code"], -32700);
            assert_valid("2025-11-25", "JSONRPCErrorResponse", &answer.json());
        }
    }
    for (method, path, allow) in [
        ("POST", "/sse", "GET"),
        ("GET", "/messages", "POST"),
        ("GET", "/mcp", "POST, DELETE"),
        ("PUT", "/mcp", "POST, DELETE"),
    ] {
        let answer = send(&server, method, path, &[], "");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("Allow").as_deref(), Some(allow));
    }
    post(
        &server,
        "s",
        &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    );
    post(
        &server,
        "s",
        &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}),
    );
    assert_eq!(stream.message()["id"], 1, "a notification has no answer");
    stream.close();
    server.stop();
}

#[test]
fn a_token_guards_every_transport() {
    let server = Server::with(&[("AUTH_TOKEN", "secret")]);
    for (method, path) in [
        ("GET", "/sse"),
        ("POST", "/messages?sessionId=x"),
        ("POST", "/mcp"),
    ] {
        assert_eq!(send(&server, method, path, &[], "{}").status, 401, "{path}");
    }
    let bearer = ("Authorization", "Bearer secret");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(send(&server, "POST", "/mcp", &[bearer], list).status, 200);
    server.stop();
}

#[test]
fn a_long_call_tells_progress_and_beats() {
    let server = Server::start();
    let mut stream = Stream::session(&server, "s");
    post(&server, "s", &run(0, "echo begun; sleep 7; echo done"));
    let (response, told) = stream.response();
    assert_eq!(
        response["result"]["structuredContent"]["stdout"],
        "begun\ndone\n"
    );
    let steps: Vec<u64> = told
        .iter()
        .map(|n| n["params"]["progress"].as_u64().unwrap())
        .collect();
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
    assert!(
        told.iter().all(|n| n["params"]["progressToken"] == 0),
        "{told:?}"
    );
    let messages: Vec<&str> = told
        .iter()
        .filter_map(|n| n["params"]["message"].as_str())
        .collect();
    assert!(
        messages.contains(&"begun"),
        "the last output line: {messages:?}"
    );
    assert!(
        messages.iter().any(|m| m.starts_with("still running")),
        "{messages:?}"
    );
    stream.close();
    server.stop();
}

#[test]
fn two_megabytes_of_output_fit_one_event_and_it_is_said_what_was_cut() {
    let server = Server::start();
    let mut stream = Stream::session(&server, "s");
    for command in [
        "yes 0123456789 | head -c 2097152",
        "head -c 2097152 /dev/zero | tr '\\0' '\\001'",
    ] {
        post(&server, "s", &run(1, command));
        let (response, _) = stream.response();
        let result = &response["result"];
        assert!(
            result["structuredContent"]["stdout_omitted_bytes"]
                .as_u64()
                .unwrap()
                > 1_000_000
        );
        assert!(
            result["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("left out of the middle")
        );
    }
    stream.close();
    server.stop();
}

#[test]
fn whatever_ends_a_call_removes_its_container_within_two_seconds() {
    let server = Server::start();

    let mut stream = Stream::session(&server, "notified");
    post(&server, "notified", &run(1, "echo begun; sleep 100"));
    server.await_running();
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    post(&server, "notified", &cancel);
    gone_within_two_seconds(&server);
    post(
        &server,
        "notified",
        &json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}),
    );
    assert_eq!(
        stream.response().0["id"],
        2,
        "a cancelled call is not answered"
    );
    stream.close();

    let stream = Stream::session(&server, "dead");
    post(&server, "dead", &run(1, "sleep 100"));
    server.await_running();
    stream.close();
    gone_within_two_seconds(&server);
    assert_eq!(
        send(&server, "POST", "/messages?sessionId=dead", &[], "{}").status,
        404
    );

    let arguments = json!({"image": IMAGE, "command": ["sleep", "100"], "network": "none"});
    let body = call(1, "run_container", arguments, stateless()).to_string();
    let stream = Stream::send(&server, "POST", "/mcp", &STATELESS_CALL, &body);
    server.await_running();
    stream.close();
    gone_within_two_seconds(&server);

    let silent = request(&server, "POST", "/mcp", &STATELESS_CALL, &body);
    server.await_running();
    drop(silent);
    gone_within_two_seconds(&server);

    let bare = request(
        &server,
        "POST",
        "/mcp",
        &[],
        &run(1, "sleep 100").to_string(),
    );
    server.await_running();
    drop(bare);
    gone_within_two_seconds(&server);
    server.stop();
}

#[test]
fn a_session_outlives_a_disconnect_and_its_deletion_ends_its_calls() {
    let server = Server::start();
    let hello = initialize("2025-11-25").to_string();
    let answer = send(&server, "POST", "/mcp", &[BOTH], &hello);
    let id = answer.header("Mcp-Session-Id").unwrap();
    let session = [BOTH, ("Mcp-Session-Id", id.as_str())];
    let stream = Stream::send(
        &server,
        "POST",
        "/mcp",
        &session,
        &run(1, "sleep 100").to_string(),
    );
    let container = server.await_running();
    stream.close();
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    assert_eq!(send(&server, "POST", "/mcp", &session, ping).status, 200);
    let state = docker(&["inspect", "--format", "{{.State.Running}}", &container]);
    assert_eq!(state, "true", "a disconnect does not cancel");
    assert_eq!(send(&server, "DELETE", "/mcp", &session, "").status, 204);
    gone_within_two_seconds(&server);
    assert_eq!(send(&server, "POST", "/mcp", &session, ping).status, 404);
    server.stop();
}

#[test]
fn stopping_the_server_ends_streams_and_calls() {
    let server = Server::with(&[("RUNNER_SHUTDOWN_GRACE_SECS", "1")]);
    let mut idle = Stream::session(&server, "idle");
    let mut busy = Stream::session(&server, "busy");
    post(&server, "busy", &run(1, "sleep 100"));
    server.await_running();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(idle.next().is_none());
    while busy.next().is_some() {}
}

/// The result of a tool, asked for without a session.
fn ask(server: &Server, name: &str, arguments: Value) -> Value {
    let body = call(1, name, arguments, json!({})).to_string();
    send(server, "POST", "/mcp", &[], &body).json()["result"].clone()
}

fn detached(command: &str) -> Value {
    json!({"image": IMAGE, "command": ["sh", "-c", command], "network": "none", "detach": true})
}

#[test]
fn a_detached_run_outlives_its_session_and_is_told_in_pages_to_whoever_asks() {
    let server = Server::start();
    let mut stream = Stream::session(&server, "gone");
    let script =
        "echo one; echo err >&2; cat; while [ ! -e /d/go ]; do sleep 0.1; done; echo two; exit 5";
    let mut arguments = detached(script);
    arguments["stdin"] = json!("fed\n");
    arguments["volumes"] = json!({"/d": {"type": "directory"},
        "/d/out": {"type": "file", "text": "left", "response": true}});
    post(
        &server,
        "gone",
        &call(1, "run_container", arguments, json!({})),
    );
    let accepted = stream.message()["result"]["structuredContent"].clone();
    drop(stream);
    let id = accepted["id"].as_str().unwrap();
    let container = server.await_running();

    let mut seen = (String::new(), String::new(), Value::Null);
    while seen.0 != "one\nfed\n" || seen.1 != "err\n" {
        let place = json!({"id": id, "wait_secs": 20, "cursor": seen.2});
        let page = ask(&server, "run_logs", place)["structuredContent"].clone();
        assert_eq!(page["state"], "running", "{page}");
        seen.0 += page["stdout"].as_str().unwrap();
        seen.1 += page["stderr"].as_str().unwrap();
        seen.2 = page["cursor"].clone();
    }
    let nothing =
        ask(&server, "run_logs", json!({"id": id, "cursor": seen.2}))["structuredContent"].clone();
    assert_eq!(
        (&nothing["stdout"], &nothing["cursor"]),
        (&json!(""), &seen.2)
    );
    let listed = ask(&server, "list_runs", json!({"state": "running"}));
    assert_eq!(listed["structuredContent"]["runs"][0]["id"], id, "{listed}");
    docker(&["exec", &container, "touch", "/d/go"]);
    let status = ask(&server, "run_status", json!({"id": id, "wait_secs": 20}));
    let result = &status["structuredContent"]["result"];
    assert_eq!(status["isError"], true, "{status}");
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(5), &json!("one\nfed\ntwo\n"))
    );
    assert_eq!(
        result["volumes"]["/d/out"],
        json!({"type": "file", "text": "left"})
    );
    let last =
        ask(&server, "run_logs", json!({"id": id, "cursor": seen.2}))["structuredContent"].clone();
    assert_eq!(
        (&last["stdout"], &last["state"], &last["has_more"]),
        (&json!("two\n"), &json!("finished"), &json!(false))
    );
    let path = format!("/runs/{id}");
    let plain = send(&server, "GET", &path, &[], "").json();
    assert_eq!(
        plain["result"]["stdout"], result["stdout"],
        "the same run over REST"
    );

    // The next server knows it; a cursor of this one reads from the start.
    let heir = Server::named(&server.kill(), &[]);
    let again =
        ask(&heir, "run_logs", json!({"id": id, "cursor": seen.2}))["structuredContent"].clone();
    assert_eq!(again["stdout"], "one\nfed\ntwo\n");
    assert!(
        again["detail"].as_str().unwrap().contains("restarted"),
        "{again}"
    );
    let wrong = ask(&heir, "run_logs", json!({"id": id, "cursor": "x"}));
    assert!(
        wrong["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("arguments.cursor: expected"),
        "{wrong}"
    );
    ask(&heir, "cancel_run", json!({"id": id}));
    assert_eq!(ask(&heir, "run_status", json!({"id": id}))["isError"], true);
    heir.stop();
}

#[test]
fn cancelling_a_detached_run_keeps_what_it_printed_and_takes_its_container_along() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let start = |command: &str| {
        let accepted = ask(&server, "run_container", detached(command));
        accepted["structuredContent"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (goes_on, waits) = (start("echo begun; sleep 100"), start("echo never"));
    let begun = ask(&server, "run_logs", json!({"id": goes_on, "wait_secs": 20}));
    assert_eq!(begun["structuredContent"]["state"], "running", "{begun}");
    for (id, stdout) in [(&waits, ""), (&goes_on, "begun\n")] {
        let ended = ask(&server, "cancel_run", json!({"id": id}));
        let told = &ended["structuredContent"];
        assert_eq!(
            (&ended["isError"], &told["state"]),
            (&json!(false), &json!("finished")),
            "{ended}"
        );
        assert_eq!(
            (&told["result"]["reason"], &told["result"]["stdout"]),
            (&json!("cancelled"), &json!(stdout))
        );
        ask(&server, "cancel_run", json!({"id": id}));
    }
    gone_within_two_seconds(&server);
    server.stop();
}

#[test]
fn a_page_of_logs_is_bounded_and_all_pages_together_are_everything() {
    let server = Server::start();
    let accepted = ask(&server, "run_container", detached("seq 1 200000"));
    let id = &accepted["structuredContent"]["id"];
    ask(&server, "run_status", json!({"id": id, "wait_secs": 30}));
    let (mut printed, mut cursor, mut pages) = (String::new(), Value::Null, 0);
    loop {
        let result = ask(&server, "run_logs", json!({"id": id, "cursor": cursor}));
        assert!(result.to_string().len() < 900_000);
        let page = &result["structuredContent"];
        printed += page["stdout"].as_str().unwrap();
        cursor = page["cursor"].clone();
        pages += 1;
        if page["has_more"] == false {
            break;
        }
    }
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(
        printed == expected && pages > 3,
        "{pages} pages, {} bytes",
        printed.len()
    );
    ask(&server, "cancel_run", json!({"id": id}));
    server.stop();
}

#[test]
fn a_cursor_of_another_run_hides_nothing_of_this_one() {
    let server = Server::start();
    let printed = |command: &str| {
        let accepted = ask(&server, "run_container", detached(command));
        let id = accepted["structuredContent"]["id"].clone();
        ask(&server, "run_status", json!({"id": id, "wait_secs": 30}));
        let page = ask(&server, "run_logs", json!({"id": id}))["structuredContent"].clone();
        (id, page["cursor"].clone())
    };
    let ((first, cursor), (second, _)) = (printed("echo first"), printed("echo second"));
    let page = ask(&server, "run_logs", json!({"id": second, "cursor": cursor}));
    let page = &page["structuredContent"];
    assert_eq!(page["stdout"], "second\n", "{page}");
    assert!(
        page["detail"].as_str().unwrap().contains("another run"),
        "{page}"
    );
    for id in [first, second] {
        ask(&server, "cancel_run", json!({"id": id}));
    }
    server.stop();
}

#[test]
fn files_travel_as_text_through_runs_and_volumes() {
    let server = Server::start();
    let ask = |name: &str, arguments: Value| ask(&server, name, arguments);
    let name = format!("mcp-{}", std::process::id());
    let made = ask(
        "create_volume",
        json!({"name": name, "files": {"a/b.txt": "one\n", "c": "two"}}),
    );
    assert_eq!(made["isError"], false, "{made}");
    let ran = ask(
        "run_container",
        json!({"image": IMAGE, "network": "none",
        "command": ["sh", "-c", "cat /v/a/b.txt /v/c /in/x; cp -r /in/. /out; printf '\\377' > /out/bin"],
        "volumes": {"/v:ro": {"type": "volume", "name": name},
            "/in:ro": {"type": "directory", "files": {"x": "three\n", "d/y": "four"}},
            "/out": {"type": "directory", "response": true},
            "/result": {"type": "file", "text": "grüße", "response": true}}}),
    );
    let structured = &ran["structuredContent"];
    assert_eq!(structured["stdout"], "one\ntwothree\n", "{ran}");
    assert_eq!(
        structured["volumes"]["/result"],
        json!({"type": "file", "text": "grüße"})
    );
    let out = &structured["volumes"]["/out"];
    assert_eq!(out["files"], json!({"x": "three\n", "d/y": "four"}));
    assert_eq!(out["other"], json!(["bin (1 bytes)"]));
    assert!(out["content"].is_string());
    let read = ask("read_volume", json!({"name": name}));
    assert_eq!(
        read["structuredContent"]["files"],
        json!({"a/b.txt": "one\n", "c": "two"})
    );
    assert_eq!(
        send(&server, "DELETE", &format!("/volume/{name}"), &[], "").status,
        204
    );
    server.stop();
}

#[test]
fn five_hundred_idle_sessions_cost_little_and_vanish_without_a_trace() {
    let server = Server::start();
    let warm_up = Stream::session(&server, "warm-up");
    warm_up.close();
    let threads_before = server.status_number("Threads");
    let mut streams: Vec<Stream> = (0..500)
        .map(|n| Stream::session(&server, &format!("idle-{n}")))
        .collect();
    let resident = server.status_number("VmRSS") / 1024;
    let mut times: Vec<Duration> = (0..11)
        .map(|n| {
            let begun = Instant::now();
            post(
                &server,
                "idle-0",
                &call(n, "docker_health", json!({}), json!({})),
            );
            assert_eq!(streams[0].response().0["result"]["isError"], false);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "500 sessions: {resident} MiB resident, docker_health p50 {:?}, max {:?}",
        times[5], times[10]
    );
    assert!(resident < 60, "{resident} MiB");
    assert!(times[5] < Duration::from_millis(50), "{times:?}");
    let begun = Instant::now();
    drop(streams);
    let two_keep_alives = Duration::from_secs(30);
    let all_gone = |server: &Server| {
        (0..500).all(|n| {
            send(
                server,
                "POST",
                &format!("/messages?sessionId=idle-{n}"),
                &[],
                "{}",
            )
            .status
                == 404
        })
    };
    while !all_gone(&server) || server.status_number("Threads") > threads_before {
        assert!(
            begun.elapsed() < two_keep_alives,
            "{} threads, {threads_before} before",
            server.status_number("Threads")
        );
    }
    println!(
        "all gone after {:?}, threads {threads_before}",
        begun.elapsed()
    );
    server.stop();
}

#[test]
fn a_reader_that_stalls_loses_its_session_and_its_runs() {
    let server = Server::start();
    let stream = Stream::session(&server, "slow");
    post(&server, "slow", &run(1, "sleep 100"));
    server.await_running();
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    let refused = (0..5_000)
        .find(|_| send(&server, "POST", "/messages?sessionId=slow", &[], list).status == 404);
    assert!(refused.is_some_and(|after| after > 200), "{refused:?}");
    gone_within_two_seconds(&server);
    drop(stream);
    server.stop();
}

#[test]
fn a_session_may_run_so_many_calls_and_no_more() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let mut stream = Stream::session(&server, "s");
    for id in 0..33 {
        post(
            &server,
            "s",
            &call(
                id,
                "run_container",
                json!({"image": IMAGE, "network": "none",
            "command": ["sleep", "100"]}),
                json!({}),
            ),
        );
    }
    let (refused, _) = stream.response();
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("32 tool calls"),
        "{refused}"
    );
    stream.close();
    gone_within_two_seconds(&server);
    server.stop();
}
