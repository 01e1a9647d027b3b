//! Streamable HTTP: refusals, sessions, and what a disconnect cancels.

use super::*;
use crate::mcp::streamable_http::answer;

#[test]
fn posts_are_refused_as_specified() {
    let mcp = server();
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
        let reply = answer(&mcp, http("POST", "/mcp", &headers, body));
        assert_eq!(reply.status, status, "{headers:?} {body}");
        let body: Value = serde_json::from_str(&text(reply)).unwrap_or_default();
        let found = body.pointer("/error/code").and_then(Value::as_i64);
        assert_eq!(found, code, "{headers:?} {body}");
        if code.is_some() {
            assert_valid(Revision::V2026_07_28, "JSONRPCErrorResponse", &body);
        }
    }
    let reply = answer(&mcp, http("GET", "/mcp", &[BOTH], ""));
    assert_eq!(
        (reply.status, header(&reply, "Allow")),
        (405, Some("POST, DELETE"))
    );
    mcp.close();
}

#[test]
fn a_session_exists_until_it_is_deleted() {
    let mcp = server();
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}"#;
    let reply = answer(&mcp, http("POST", "/mcp", &[BOTH], hello));
    let id = header(&reply, "Mcp-Session-Id").unwrap().to_owned();
    assert_eq!(reply.status, 200);
    let session = ("mcp-session-id", id.as_str());
    let batch = format!("[{LIST},{}]", LIST.replace(":1,", ":2,"));
    let answers: Value = serde_json::from_str(&text(answer(
        &mcp,
        http("POST", "/mcp", &[BOTH, session], &batch),
    )))
    .unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 2);
    assert_valid(Revision::V2025_03_26, "JSONRPCBatchResponse", &answers);
    assert_eq!(mcp.counts().http_sessions, 1);
    assert_eq!(
        answer(&mcp, http("DELETE", "/mcp", &[session], "")).status,
        204
    );
    assert_eq!(
        answer(&mcp, http("DELETE", "/mcp", &[session], "")).status,
        404
    );
    assert_eq!(answer(&mcp, http("DELETE", "/mcp", &[], "")).status, 400);
    let after = answer(&mcp, http("POST", "/mcp", &[session], LIST));
    assert_eq!(after.status, 404);
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

#[test]
fn closing_the_stream_cancels_only_a_stateless_call() {
    let mcp = server();
    let headers = [
        BOTH,
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "run_container"),
    ];
    let reply = answer(
        &mcp,
        http(
            "POST",
            "/mcp",
            &headers,
            &run("forever", Some("2026-07-28")),
        ),
    );
    assert_eq!(header(&reply, "Content-Type"), Some("text/event-stream"));
    assert_eq!(mcp.counts().calls, 1);
    drop(reply);
    until(|| mcp.counts().calls == 0);

    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let opened = answer(&mcp, http("POST", "/mcp", &[BOTH], hello));
    let id = header(&opened, "Mcp-Session-Id").unwrap().to_owned();
    let session = ("mcp-session-id", id.as_str());
    let reply = answer(
        &mcp,
        http("POST", "/mcp", &[BOTH, session], &run("forever", None)),
    );
    drop(reply);
    assert_eq!(mcp.counts().calls, 1, "a disconnect does not cancel");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#;
    assert_eq!(
        answer(&mcp, http("POST", "/mcp", &[BOTH, session], cancel)).status,
        202
    );
    until(|| mcp.counts().calls == 0);
    mcp.close();
}

#[test]
fn a_response_is_json_unless_it_takes_long_or_a_notification_comes_first() {
    let mcp = server();
    let quick = answer(&mcp, http("POST", "/mcp", &[BOTH], LIST));
    assert_eq!(header(&quick, "Content-Type"), Some("application/json"));
    let only = answer(
        &mcp,
        http("POST", "/mcp", &[("accept", "text/event-stream")], LIST),
    );
    assert_eq!(header(&only, "Content-Type"), Some("text/event-stream"));
    assert!(text(only).starts_with("event: message\ndata: {"));
    let streamed = answer(&mcp, http("POST", "/mcp", &[BOTH], &run("alpine", None)));
    assert_eq!(header(&streamed, "Content-Type"), Some("text/event-stream"));
    let streamed = text(streamed);
    assert!(streamed.contains("notifications/progress"), "{streamed}");
    assert!(
        streamed
            .trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("\"result\"")
    );
    let curl = answer(&mcp, http("POST", "/mcp", &[], &run("alpine", None)));
    assert_eq!(header(&curl, "Content-Type"), Some("application/json"));
    mcp.close();
}

#[test]
fn a_call_with_an_invalid_version_is_refused_before_the_limits_of_calls_on_every_transport() {
    let settings = Settings {
        max_calls_per_session: 0,
        ..Settings::default()
    };
    let mcp = with_settings(settings);
    let bad = run("alpine", Some("v9"));
    let good = run("alpine", None);
    let code = |answer: &Value| answer.pointer("/error/code").and_then(Value::as_i64);
    let single = |body: &str| {
        let headers = [("mcp-protocol-version", "2025-03-26")];
        text(answer(&mcp, http("POST", "/mcp", &headers, body)))
    };
    let refused: Value = serde_json::from_str(&single(&bad)).unwrap();
    // The header and the body name different revisions.
    assert_eq!(code(&refused), Some(-32020));
    let batch: Value = serde_json::from_str(&single(&format!("[{bad},{good}]"))).unwrap();
    assert_eq!(code(&batch[0]), Some(-32022));
    assert_eq!(code(&batch[1]), Some(-32603), "the limit of calls");
    let client = mcp.new_client();
    for (body, expected) in [(&bad, -32022), (&good, -32603)] {
        let message = serde_json::from_str(body).unwrap();
        let answers = converse(&mcp, &client, &message);
        assert_eq!(code(&answers[0]), Some(expected));
    }
    mcp.close();
}
