//! Every request in every revision; each message is validated against the published schema.

use super::*;

fn meta(revision: Revision) -> Value {
    match revision.is_stateless() {
        true => json!({protocol::META_VERSION: revision.name(), protocol::META_CAPABILITIES: {},
            protocol::META_LOG_LEVEL: "debug", "progressToken": "p"}),
        false => json!({"progressToken": 0}),
    }
}

/// Every supported request, and the schema type of its result.
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
            call("run_container", json!({"image": "a", "detach": true})),
            "CallToolResult",
        ),
        (
            call("run_container", json!({"image": "gone", "detach": true})),
            "CallToolResult",
        ),
        (
            call("run_container", json!({"image": "a", "detach": 1})),
            "CallToolResult",
        ),
        (
            call("run_status", json!({"id": "queued"})),
            "CallToolResult",
        ),
        (
            call("run_status", json!({"id": "finished", "wait_secs": 1})),
            "CallToolResult",
        ),
        (call("run_status", json!({"id": "fails"})), "CallToolResult"),
        (
            call("run_status", json!({"id": "broken"})),
            "CallToolResult",
        ),
        (call("run_status", json!({"id": "none"})), "CallToolResult"),
        (call("run_status", json!({})), "CallToolResult"),
        (call("run_logs", json!({"id": "running"})), "CallToolResult"),
        (
            call("cancel_run", json!({"id": "running"})),
            "CallToolResult",
        ),
        (call("list_runs", json!({})), "CallToolResult"),
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
    let mcp = server();
    for revision in Revision::ALL {
        let client = mcp.new_client();
        for (number, (mut request, kind)) in requests(revision).into_iter().enumerate() {
            request["jsonrpc"] = json!("2.0");
            request["id"] = json!(number);
            let messages = converse(&mcp, &client, &request);
            let (response, notifications) = messages.split_last().unwrap();
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
    let mcp = server();
    let definitions = tools::definitions(Toolset::Own);
    for (name, arguments) in [
        ("run_container", json!({"image": "alpine"})),
        ("run_container", json!({"image": "fails"})),
        ("run_container", json!({"image": "large"})),
        ("run_container", json!({"image": "a", "detach": true})),
        ("run_status", json!({"id": "queued"})),
        ("run_status", json!({"id": "finished", "wait_secs": 1})),
        ("run_status", json!({"id": "fails"})),
        ("run_status", json!({"id": "broken"})),
        ("run_logs", json!({"id": "running", "cursor": "life-1"})),
        ("cancel_run", json!({"id": "running"})),
        ("list_runs", json!({"state": "finished", "limit": 2})),
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
    converse(mcp, &mcp.new_client(), &request).pop().unwrap()
}

#[test]
fn a_run_returns_text_and_its_volumes() {
    let mcp = server();
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
fn run_status_returns_the_state_and_a_failed_run_is_an_error_result() {
    let mcp = server();
    let accepted = &call(
        &mcp,
        "run_container",
        &json!({"image": "a", "detach": true}),
    )["result"];
    assert_eq!(accepted["isError"], false);
    assert_eq!(
        accepted["structuredContent"],
        json!({"id": "queued", "state": "queued", "created_at": "2026-01-01T00:00:00.000Z"})
    );
    for (id, state, is_error, words) in [
        ("queued", "queued", false, "is queued"),
        ("running", "running", false, "run_logs returns"),
        (
            "finished",
            "finished",
            false,
            "has finished: success (exit code 0",
        ),
        (
            "fails",
            "finished",
            true,
            "has finished: error: 1 (exit code 1",
        ),
        ("broken", "finished", true, "no such image: x"),
    ] {
        let result = &call(&mcp, "run_status", &json!({"id": id}))["result"];
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(words), "{id}: {text}");
        assert_eq!(
            (&result["isError"], &result["structuredContent"]["state"]),
            (&json!(is_error), &json!(state)),
            "{id}"
        );
        let cancelled = &call(&mcp, "cancel_run", &json!({"id": id}))["result"];
        assert_eq!(cancelled["isError"], false, "{id}");
        let remark = match state {
            "finished" => "It is forgotten now.",
            _ => "It is remembered for a while",
        };
        let text = cancelled["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(remark), "{id}: {text}");
    }
    let listed = &call(&mcp, "list_runs", &json!({"state": "finished"}))["result"];
    let statuses: Vec<&str> = listed["structuredContent"]["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["success", "error: 1", "failed"]);
    mcp.close();
}

#[test]
fn a_page_of_logs_fits_one_event_and_its_cursor_continues_after_it() {
    let mcp = server();
    let response = call(&mcp, "run_logs", &json!({"id": "running"}));
    assert!(response.to_string().len() <= 900_000);
    let page = &response["result"]["structuredContent"];
    // JSON escapes each of these bytes to six, and once more in the text block.
    let shown = page["stdout"].as_str().unwrap().len() / (32 * 1024);
    assert!((1..8).contains(&shown), "{shown}");
    assert_eq!(page["cursor"], format!("life-{shown}"));
    assert_eq!(page["has_more"], true);
    mcp.close();
}

#[test]
fn failures_are_error_results_with_advice() {
    let mcp = server();
    for (name, arguments, expected) in [
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
        (
            "run_container",
            json!({"image": "a", "detach": "yes"}),
            vec![
                "arguments.detach: expected true or false, got a string",
                "arguments.colour",
            ],
        ),
        (
            "run_container",
            json!({"image": "gone", "detach": true}),
            vec!["every slot is busy"],
        ),
        (
            "run_status",
            json!({"id": "none"}),
            vec!["no such run", "list_runs"],
        ),
        (
            "run_status",
            json!({"wait_secs": 3601}),
            vec![
                "arguments.id: required",
                "arguments.wait_secs: expected at most 3600",
            ],
        ),
        (
            "run_logs",
            json!({"id": true, "cursor": []}),
            vec![
                "arguments.id: expected a string",
                "arguments.cursor: expected",
            ],
        ),
        (
            "list_runs",
            json!({"state": "done", "limit": 0, "x": 1}),
            vec![
                "arguments.state: expected one of: queued pulling running finished",
                "arguments.limit: expected 1 to 200",
                "arguments.x: unknown field",
            ],
        ),
    ] {
        let result = &call(&mcp, name, &arguments)["result"];
        assert_eq!(result["isError"], true, "{name} {arguments}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(
            expected.iter().all(|part| text.contains(part)),
            "{name}: {text}"
        );
    }
    let unknown = call(&mcp, "no_such_tool", &json!({}));
    assert_eq!(unknown["error"]["code"], -32602);
    mcp.close();
}
