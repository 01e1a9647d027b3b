//! Sessions: what ends a call and its container, how many sessions and calls there may be.

use super::headers::{ACCEPT, SESSION_ID, STATELESS_CALL};
use super::messages::{IMAGE, call, gone_within_two_seconds, initialize, run, stateless};
use super::stream::{Stream, post};
use crate::support::{Request, Server, docker};
use serde_json::json;
use std::time::{Duration, Instant};

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
        server
            .request("POST", "/messages?sessionId=dead", "{}")
            .status,
        404
    );

    let arguments = json!({"image": IMAGE, "command": ["sleep", "100"], "network": "none"});
    let body = call(1, "run_container", arguments, stateless()).to_string();
    let stream = Stream::send(
        &server,
        &Request::new("POST", "/mcp")
            .fields(&STATELESS_CALL)
            .body(&body),
    );
    server.await_running();
    stream.close();
    gone_within_two_seconds(&server);

    let silent = server.begin(
        &Request::new("POST", "/mcp")
            .fields(&STATELESS_CALL)
            .body(&body),
    );
    server.await_running();
    drop(silent);
    gone_within_two_seconds(&server);

    let bare = server.begin(&Request::new("POST", "/mcp").body(&run(1, "sleep 100").to_string()));
    server.await_running();
    drop(bare);
    gone_within_two_seconds(&server);
    server.stop();
}

#[test]
fn a_session_outlives_a_disconnect_and_its_deletion_ends_its_calls() {
    let server = Server::start();
    let hello = initialize("2025-11-25").to_string();
    let answer = server.ask(&Request::new("POST", "/mcp").fields(&[ACCEPT]).body(&hello));
    let id = answer.header(SESSION_ID).unwrap();
    let session = [ACCEPT, (SESSION_ID, id.as_str())];
    let stream = Stream::send(
        &server,
        &Request::new("POST", "/mcp")
            .fields(&session)
            .body(&run(1, "sleep 100").to_string()),
    );
    let container = server.await_running();
    stream.close();
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    assert_eq!(
        server
            .ask(&Request::new("POST", "/mcp").fields(&session).body(ping))
            .status,
        200
    );
    let state = docker(&["inspect", "--format", "{{.State.Running}}", &container]);
    assert_eq!(state, "true", "a disconnect does not cancel");
    assert_eq!(
        server
            .ask(&Request::new("DELETE", "/mcp").fields(&session))
            .status,
        204
    );
    gone_within_two_seconds(&server);
    assert_eq!(
        server
            .ask(&Request::new("POST", "/mcp").fields(&session).body(ping))
            .status,
        404
    );
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

#[test]
fn five_hundred_idle_sessions_are_cheap_and_released_completely() {
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
    let begun = Instant::now();
    drop(streams);
    let two_keep_alives = Duration::from_secs(30);
    let all_gone = |server: &Server| {
        (0..500).all(|n| {
            server
                .request("POST", &format!("/messages?sessionId=idle-{n}"), "{}")
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
    let refused = (0..5_000).find(|_| {
        server
            .request("POST", "/messages?sessionId=slow", list)
            .status
            == 404
    });
    assert!(refused.is_some_and(|after| after > 200), "{refused:?}");
    gone_within_two_seconds(&server);
    drop(stream);
    server.stop();
}

#[test]
fn the_number_of_calls_of_a_session_is_limited() {
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

/// There is one token at most, so whoever has it is one principal: the edge refuses everybody else before any session is
/// looked for, whatever session they name.
#[test]
fn a_session_can_be_used_and_ended_only_with_the_token_that_opened_it() {
    let server = Server::with(&[("AUTH_TOKEN", "sekret")]);
    let ours = ("Authorization", "Bearer sekret");
    let mut stream = Stream::send(
        &server,
        &Request::new("GET", "/sse?sessionId=owned").fields(&[ours]),
    );
    stream.event();
    let hello = initialize("2025-11-25").to_string();
    let opened = server.ask(
        &Request::new("POST", "/mcp")
            .fields(&[ACCEPT, ours])
            .body(&hello),
    );
    let id = opened.header(SESSION_ID).unwrap();
    let session = (SESSION_ID, id.as_str());
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let ask = |method: &str, path: &str, fields: &[(&str, &str)]| {
        let request = Request::new(method, path).fields(fields).body(ping);
        server.ask(&request).status
    };
    for foreign in [vec![], vec![("Authorization", "Bearer other")]] {
        let with_session = [foreign.as_slice(), &[ACCEPT, session]].concat();
        for path in ["/messages?sessionId=owned", "/messages?sessionId=unknown"] {
            assert_eq!(ask("POST", path, &foreign), 401, "{foreign:?}");
        }
        assert_eq!(ask("POST", "/mcp", &with_session), 401);
        assert_eq!(ask("DELETE", "/mcp", &with_session), 401);
        assert_eq!(ask("GET", "/sse?sessionId=owned", &foreign), 401);
    }
    assert_eq!(ask("POST", "/messages?sessionId=owned", &[ours]), 202);
    assert_eq!(stream.response().0["id"], 1, "the session is as it was");
    assert_eq!(ask("POST", "/mcp", &[ACCEPT, ours, session]), 200);
    assert_eq!(ask("DELETE", "/mcp", &[ours, session]), 204);
    assert_eq!(ask("POST", "/mcp", &[ACCEPT, ours, session]), 404);
    stream.close();
    server.stop();
}
