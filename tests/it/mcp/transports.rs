//! The same conversation over every transport and in every revision, and requests that a transport refuses.

use super::headers::{ACCEPT, METHOD, NAME, PROTOCOL_VERSION};
use super::messages::{IMAGE, call, initialize, stateless};
use super::schema::{REVISIONS, assert_valid};
use super::stdio::speak;
use super::stream::{Stream, post};
use crate::support::{Request, Server};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_quick_start_works_as_written() {
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
    let answer = server.request("POST", "/mcp", list).json();
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

/// The requests sent over every transport in this revision, each with the schema of its result (empty: an error).
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
            let mut headers = vec![ACCEPT, (PROTOCOL_VERSION, revision)];
            headers.extend([(METHOD, method.as_str()), (NAME, name)]);
            let answer = server.ask(
                &Request::new("POST", "/mcp")
                    .fields(&headers)
                    .body(&message.to_string()),
            );
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

#[test]
fn invalid_posts_are_refused_with_the_specified_statuses() {
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
        let answer = server.ask(&Request::new("POST", path).fields(headers).body(body));
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
        let answer = server.request(method, path, "");
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
fn every_transport_needs_the_token() {
    let server = Server::with(&[("AUTH_TOKEN", "secret")]);
    for (method, path) in [
        ("GET", "/sse"),
        ("POST", "/messages?sessionId=x"),
        ("POST", "/mcp"),
    ] {
        assert_eq!(server.request(method, path, "{}").status, 401, "{path}");
    }
    let bearer = ("Authorization", "Bearer secret");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(
        server
            .ask(&Request::new("POST", "/mcp").fields(&[bearer]).body(list))
            .status,
        200
    );
    server.stop();
}
