//! `POST /run` answered as a stream of events.

use super::run::shell;
use super::support::{EventStream, IMAGE, Request, Server, commands, docker, shell_output};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SSE: [(&str, &str); 1] = [("Accept", "text/event-stream")];
const NDJSON: [(&str, &str); 1] = [("Accept", "application/x-ndjson")];

fn watch(server: &Server, request: &Value) -> EventStream {
    let live = EventStream::new(
        server.begin(
            &Request::new("POST", "/run")
                .fields(&SSE)
                .body(&request.to_string()),
        ),
    );
    assert!(live.head.starts_with("HTTP/1.1 200 "), "{}", live.head);
    live
}

/// A result without the fields that differ from run to run.
fn timeless(mut result: Value) -> Value {
    for field in ["id", "timings", "execution_time", "usage", "event"] {
        result.as_object_mut().unwrap().remove(field);
    }
    result
}

fn joined(events: &[(String, Value)], name: &str) -> String {
    let of_name = events.iter().filter(|(event, _)| event == name);
    of_name
        .map(|(_, data)| data["data"].as_str().unwrap())
        .collect()
}

#[test]
fn a_watched_run_sends_its_events_in_order_and_ends_with_the_plain_answer() {
    let server = Server::start();
    let request = shell(
        "echo out; sleep 0.1; echo err >&2; exit 3",
        json!({"volumes": {"/f": {"type": "file", "text": "x", "response": true}}}),
    );
    let plain = server.run(request.clone());
    let live = watch(&server, &request);
    assert!(live.head.contains("Content-Type: text/event-stream"));
    let events = live.events();
    assert_eq!(events[0].0, "started", "{events:?}");
    assert_eq!(joined(&events, "stdout"), "out\n");
    assert_eq!(joined(&events, "stderr"), "err\n");
    let (name, result) = events.last().unwrap();
    assert_eq!(name, "result");
    assert_eq!(events[0].1["id"], result["id"]);
    assert_eq!(timeless(result.clone()), timeless(plain.clone()));

    let mut live = EventStream::new(
        server.begin(
            &Request::new("POST", "/run")
                .fields(&NDJSON)
                .body(&request.to_string()),
        ),
    );
    assert!(live.head.contains("Content-Type: application/x-ndjson"));
    let lines: Vec<String> = std::iter::from_fn(|| live.line()).collect();
    assert!(lines.iter().all(|line| line.starts_with("{\"event\":\"")));
    let objects: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["event"], "started");
    assert_eq!(objects.last().unwrap()["event"], "result");
    assert_eq!(timeless(objects.last().unwrap().clone()), timeless(plain));
    server.stop();
}

#[test]
fn output_arrives_while_the_container_runs_and_leaving_ends_the_run() {
    let server = Server::start();
    let mut live = watch(
        &server,
        &shell("echo first; sleep 600", json!({"timeout_secs": 1000})),
    );
    assert_eq!(live.until("stdout"), json!({"data": "first\n"}));
    server.await_running();
    drop(live);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn no_piece_of_text_is_split_within_a_character() {
    let server = Server::start();
    let script = r"printf 'a\360\237'; sleep 0.3; printf '\230\200b\342'; sleep 0.3; printf '\202'; echo x >&2; sleep 0.3; printf '\254\303'";
    let events = watch(&server, &shell(script, json!({}))).events();
    let pieces: Vec<&str> = events
        .iter()
        .filter(|(name, _)| name == "stdout")
        .map(|(_, data)| data["data"].as_str().unwrap())
        .collect();
    assert_eq!(pieces, ["a", "😀b", "€", "\u{fffd}"]);
    assert_eq!(events.last().unwrap().1["stdout"], "a😀b€\u{fffd}");
    server.stop();
}

#[test]
fn bytes_are_sent_in_base64_on_request() {
    let server = Server::start();
    let request = shell(
        r"printf '\377\000\342'",
        json!({"output_encoding": "base64"}),
    );
    let events = watch(&server, &request).events();
    assert_eq!(joined(&events, "stdout"), "/wDi");
    assert_eq!(events.last().unwrap().1["stdout"], "/wDi");
    server.stop();
}

#[test]
fn a_failure_before_the_first_event_is_a_plain_problem() {
    let server = Server::start();
    let cases = [
        (
            json!({"image": IMAGE, "colour": "red"}),
            422,
            "invalid_request",
        ),
        (
            json!({"image": IMAGE, "runtime": "other"}),
            403,
            "runtime_not_allowed",
        ),
        (
            json!({"image": "no-such-image:here", "pull_policy": "never"}),
            404,
            "image_not_found",
        ),
        (
            json!({"image": IMAGE, "pull_policy": "never", "command": ["/no/such/program"]}),
            422,
            "start_failed",
        ),
    ];
    for (request, status, code) in cases {
        let answer = server.ask(
            &Request::new("POST", "/run")
                .fields(&SSE)
                .body(&request.to_string()),
        );
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code))
        );
        assert_eq!(
            answer.header("Content-Type").as_deref(),
            Some("application/problem+json")
        );
    }
    let answer = server.ask(&Request::new("POST", "/run").fields(&SSE).body("{"));
    assert_eq!(answer.status, 400);
    server.stop();
}

#[test]
fn a_queued_run_sends_its_position_and_a_later_fault_is_an_event() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUNNER_QUEUE_LENGTH", "2"),
    ]);
    let running = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    server.await_running();
    let mut second = watch(&server, &shell("echo second", json!({})));
    assert_eq!(second.until("queued"), json!({"position": 0}));
    let broken = json!({"image": IMAGE, "pull_policy": "never", "command": ["/no/such/program"]});
    let mut third = watch(&server, &broken);
    assert_eq!(third.until("queued"), json!({"position": 1}));
    let refused = server.ask(
        &Request::new("POST", "/run")
            .fields(&SSE)
            .body(&broken.to_string()),
    );
    assert_eq!(refused.status, 429);
    drop(running);
    assert_eq!(second.until("result")["stdout"], "second\n");
    assert_eq!(third.until("queued"), json!({"position": 0}));
    let problem = third.until("error");
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(422), &json!("start_failed"))
    );
    assert_eq!(third.event(), None, "the stream ends properly");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_slow_reader_slows_its_own_container_only() {
    const BYTES: usize = 40_000_000;
    let server = Server::start();
    let request = shell(
        &format!("yes | head -c {BYTES}"),
        json!({"max_output_bytes": 1000}),
    );
    let mut slow = watch(&server, &request);
    slow.until("stdout");
    let container = server.await_running();
    assert_eq!(
        server.run(shell("echo quick", json!({})))["stdout"],
        "quick\n"
    );
    // Nothing is read, so the container is blocked; otherwise it would have ended long ago.
    let memory = server.status_number("VmHWM");
    assert!(memory < 100_000, "{memory} kB");
    let state = docker(&["inspect", "--format", "{{.State.Running}}", &container]);
    assert_eq!(state, "true");
    let (mut told, mut last) = (0, Value::Null);
    while let Some((_, name, data)) = slow.event() {
        told += data["data"].as_str().map_or(0, str::len);
        last = json!({"name": name, "data": data});
    }
    assert_eq!(last["name"], "result");
    assert_eq!(last["data"]["stdout_omitted_bytes"], BYTES - 1000);
    assert!(told > BYTES - 100_000 && told <= BYTES, "{told}");
    server.stop();
}

#[test]
fn a_silent_stream_sends_keepalives() {
    let server = Server::start();
    let mut live = watch(&server, &shell("sleep 16; echo done", json!({})));
    let begun = Instant::now();
    while live.line().unwrap() != ": keepalive" {}
    assert!(begun.elapsed() < Duration::from_secs(18));
    assert_eq!(live.until("result")["stdout"], "done\n");
    server.stop();
}

#[test]
fn the_readmes_commands_for_watching_work() {
    let server = Server::start();
    let output = shell_output(&server, &commands("### Watching a run"));
    let events: Vec<&str> = output
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        events,
        ["started", "stdout", "stdout", "stdout", "result"],
        "{output}"
    );
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert!(
        lines
            .first()
            .unwrap()
            .starts_with(r#"{"event":"started","id":""#)
    );
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with(r#"{"event":"result","id":""#)
    );
    server.stop();
}
