//! Tool calls: progress, limits on output, files, an engine that is away.

use super::messages::{IMAGE, ask, call, run};
use super::stream::{Stream, post};
use crate::support::Server;
use serde_json::{Value, json};

#[test]
fn an_unreachable_engine_is_a_tool_error_with_advice() {
    let server = Server::with(&[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
    for (name, arguments) in [
        ("docker_health", json!({})),
        ("list_images", json!({})),
        ("run_container", json!({"image": IMAGE})),
        ("create_volume", json!({"name": "vol"})),
    ] {
        let body = call(1, name, arguments, json!({})).to_string();
        let result = server.request("POST", "/mcp", &body).json()["result"].clone();
        assert_eq!(result["isError"], true, "{name}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(&format!("{name} failed")), "{text}");
        assert!(text.contains("/nonexistent/docker.sock"), "{text}");
        assert!(text.contains("docker_health shows"), "{text}");
    }
    server.stop();
}

#[test]
fn a_long_call_sends_progress_and_heartbeats() {
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
fn two_megabytes_of_output_are_truncated_to_one_event_and_the_result_says_so() {
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
fn files_are_passed_as_text_to_runs_and_volumes_and_back() {
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
        server
            .request("DELETE", &format!("/volume/{name}"), "")
            .status,
        204
    );
    server.stop();
}
