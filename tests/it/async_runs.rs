//! Asynchronous runs: `Prefer: respond-async` and `/runs`.

use super::run::shell;
use super::support::{Answer, EventStream, IMAGE, Request, Server, commands, shell_output};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ASYNC: (&str, &str) = ("Prefer", "respond-async");
const WAIT: (&str, &str) = ("Prefer", "wait=60");

/// Submits a run and returns its path.
pub fn submit(server: &Server, request: &Value) -> String {
    let answer = server.ask(
        &Request::new("POST", "/run")
            .fields(&[ASYNC])
            .body(&request.to_string()),
    );
    assert_eq!(answer.status, 202, "{}", answer.json());
    answer.header("Location").expect("where it is")
}

fn follow(server: &Server, path: &str, fields: &[(&str, &str)]) -> EventStream {
    let path = format!("{path}/events");
    EventStream::new(server.begin(&Request::new("GET", &path).fields(fields)))
}

/// Waits for the end of a run and returns its state.
pub fn finished(server: &Server, path: &str) -> Value {
    known(server, path);
    follow(server, path, &[]).events();
    let state = server.get(path).json();
    assert_eq!(state["state"], "finished", "{state}");
    state
}

/// Waits until a server that has just started knows a run of the server before it. Returns the run's state.
pub fn known(server: &Server, path: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = server.get(path);
        if answer.status != 503 {
            assert_eq!(answer.status, 200, "{}", answer.json());
            return answer.json();
        }
        assert_eq!(answer.json()["code"], "not_known_yet");
        assert_eq!(answer.header("Retry-After").as_deref(), Some("1"));
        assert!(Instant::now() < deadline, "{path} is not adopted");
    }
}

/// Deletes every asynchronous run (an unfinished one twice: the first DELETE cancels it) and waits until the engine holds nothing.
pub fn forget_all(server: &Server) {
    forget_all_with(server, &[]);
}

/// As [`forget_all`], with these header fields.
pub fn forget_all_with(server: &Server, fields: &[(&str, &str)]) {
    loop {
        let runs = server
            .ask(&Request::new("GET", "/runs?kind=async&limit=1000").fields(fields))
            .json();
        let runs = runs["runs"].as_array().unwrap().clone();
        if runs.is_empty() {
            return server.await_nothing_left();
        }
        for run in runs {
            let path = format!("/runs/{}", run["id"].as_str().unwrap());
            let status = server
                .ask(&Request::new("DELETE", &path).fields(fields))
                .status;
            assert!([200, 202, 404].contains(&status), "{status}");
        }
    }
}

fn not_found(answer: &Answer) -> bool {
    answer.status == 404 && answer.json()["code"] == "run_not_found"
}

#[test]
fn an_asynchronous_run_is_accepted_at_once_and_its_result_fetched_later() {
    let server = Server::start();
    let request = shell("sleep 1; echo out; echo err >&2; exit 3", json!({}));
    let answer = server.ask(
        &Request::new("POST", "/run")
            .fields(&[ASYNC])
            .body(&request.to_string()),
    );
    let state = answer.json();
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.header("Preference-Applied").as_deref(),
        Some("respond-async")
    );
    let path = answer.header("Location").unwrap();
    assert_eq!(path, format!("/runs/{}", state["id"].as_str().unwrap()));
    assert_ne!(state["state"], "finished");
    assert!(state["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        (&state["result"], &state["error"]),
        (&Value::Null, &Value::Null)
    );

    let state = finished(&server, &path);
    let result = &state["result"];
    assert_eq!(result["id"], state["id"]);
    assert_eq!(
        (&result["stdout"], &result["stderr"], &result["exit_code"]),
        (&json!("out\n"), &json!("err\n"), &json!(3))
    );
    let times = ["created_at", "started_at", "finished_at"].map(|time| state[time].to_string());
    assert!(times.is_sorted(), "{times:?}");

    let listed = server.get("/runs?state=finished").json();
    assert_eq!(listed["runs"][0]["id"], state["id"]);
    assert_eq!(listed["runs"][0]["result"], Value::Null, "lists are brief");
    let answer = server.request("DELETE", &path, "");
    assert_eq!((answer.status, answer.json()), (200, state));
    assert!(not_found(&server.get(&path)));
    assert!(not_found(&server.get(&format!("{path}/events"))));
    assert!(not_found(&server.request("DELETE", &path, "")));
    server.await_nothing_left();
    server.stop();
}

#[test]
fn prefer_wait_returns_the_result_if_it_is_ready_in_time() {
    let server = Server::start();
    let quick = shell("echo quick", json!({})).to_string();
    let answer = server.ask(&Request::new("POST", "/run").fields(&[WAIT]).body(&quick));
    assert_eq!(
        (answer.status, &answer.json()["stdout"]),
        (200, &json!("quick\n"))
    );
    assert_eq!(
        answer.header("Preference-Applied").as_deref(),
        Some("wait=60")
    );
    let slow = shell("sleep 600", json!({"timeout_secs": 1000})).to_string();
    let both = [("Prefer", "respond-async, wait=1")];
    let answer = server.ask(&Request::new("POST", "/run").fields(&both).body(&slow));
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.header("Preference-Applied").as_deref(),
        Some("respond-async")
    );
    let broken = json!({"image": "no-such-image:here", "pull_policy": "never"}).to_string();
    let answer = server.ask(&Request::new("POST", "/run").fields(&[WAIT]).body(&broken));
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (404, &json!("image_not_found"))
    );
    forget_all(&server);
    server.stop();
}

#[test]
fn an_asynchronous_run_outlives_the_connection_that_asked_for_it() {
    let server = Server::start();
    let request = shell("sleep 1; echo survived", json!({})).to_string();
    drop(server.begin(&Request::new("POST", "/run").fields(&[WAIT]).body(&request)));
    let path = loop {
        let runs = server.get("/runs").json();
        if let Some(id) = runs["runs"][0]["id"].as_str() {
            break format!("/runs/{id}");
        }
    };
    assert_eq!(finished(&server, &path)["result"]["stdout"], "survived\n");
    forget_all(&server);
    server.stop();
}

#[test]
fn events_are_replayed_from_the_start_or_after_the_last_one_seen() {
    let server = Server::start();
    let request = shell("for n in 1 2 3; do echo $n; sleep 0.3; done", json!({}));
    let path = submit(&server, &request);
    let mut live = follow(&server, &path, &[("Accept", "text/event-stream")]);
    let mut seen = Vec::new();
    while let Some(event) = live.event() {
        seen.push(event);
    }
    let names: Vec<&str> = seen.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["queued", "started", "stdout", "stdout", "stdout", "result"]
    );
    assert_eq!(seen[5].2, server.get(&path).json()["result"]);
    for (index, (id, ..)) in seen.iter().enumerate() {
        let mut replay = follow(&server, &path, &[("Last-Event-ID", id)]);
        let rest: Vec<_> = std::iter::from_fn(|| replay.event()).collect();
        assert_eq!(rest, seen[index + 1..], "after {index}");
    }
    let mut replay = follow(&server, &path, &[("Last-Event-ID", "of-another-life")]);
    assert_eq!(replay.event().as_ref(), seen.first());
    let mut lines = follow(&server, &path, &[("Accept", "application/x-ndjson")]);
    let first: Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
    assert_eq!(
        (&first["event"], &first["event_id"]),
        (&json!("queued"), &json!(seen[0].0))
    );
    forget_all(&server);
    server.stop();
}

#[test]
fn a_cancelled_run_keeps_its_output_and_a_cancelled_queued_run_never_starts() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let running = submit(
        &server,
        &shell("echo begun; sleep 600", json!({"timeout_secs": 1000})),
    );
    let waiting = submit(&server, &shell("echo never", json!({})));
    let last = submit(&server, &shell("echo last", json!({})));
    follow(&server, &running, &[]).until("stdout");
    let answer = server.request("DELETE", &waiting, "");
    assert_eq!(answer.status, 202);
    let state = finished(&server, &waiting);
    assert_eq!(state["result"]["reason"], "cancelled");
    assert_eq!(
        (&state["result"]["stdout"], &state["started_at"]),
        (&json!(""), &Value::Null)
    );
    let answer = server.request("DELETE", &running, "");
    assert_eq!(answer.status, 202);
    let state = finished(&server, &running);
    assert_eq!(state["result"]["status"], "error: cancelled");
    assert_eq!(state["result"]["stdout"], "begun\n");
    assert_eq!(finished(&server, &last)["result"]["stdout"], "last\n");
    forget_all(&server);
    server.stop();
}

#[test]
fn the_same_key_and_request_give_the_same_run_and_another_request_is_refused() {
    let server = Server::start();
    let request = shell("echo once", json!({})).to_string();
    const KEY: (&str, &str) = ("Idempotency-Key", "k1");
    let keyed = Request::new("POST", "/run").fields(&[ASYNC, KEY]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let ask = || server.ask(&keyed.clone().body(&request)).header("Location");
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        let ids = asking
            .into_iter()
            .map(|asked| asked.join().unwrap().unwrap());
        ids.collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let result = finished(&server, &ids[0])["result"].clone();
    // Without a preference the answer is the plain one, of the same run.
    let answer = server.ask(&Request::new("POST", "/run").fields(&[KEY]).body(&request));
    assert_eq!((answer.status, answer.json()), (200, result.clone()));
    let watched = Request::new("POST", "/run")
        .fields(&[KEY, ("Accept", "text/event-stream")])
        .body(&request);
    let watched = EventStream::new(server.begin(&watched)).events();
    assert_eq!(watched.last().unwrap(), &("result".to_owned(), result));

    let other = shell("echo twice", json!({})).to_string();
    let answer = server.ask(&keyed.clone().body(&other));
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.json()["errors"][0]["loc"],
        json!(["header", "Idempotency-Key"])
    );
    assert_eq!(
        server.get("/runs").json()["runs"].as_array().unwrap().len(),
        1
    );
    // Deleting the run frees its key.
    forget_all(&server);
    let answer = server.ask(&keyed.clone().body(&other));
    assert_eq!(answer.status, 202);
    forget_all(&server);
    server.stop();
}

#[test]
fn faults_are_reported_at_submission_or_in_the_state_of_the_run() {
    let server = Server::with(&[("RUNNER_MAX_ASYNC_RUNS", "1")]);
    let answer = server.ask(
        &Request::new("POST", "/run")
            .fields(&[ASYNC])
            .body(r#"{"image": "x", "colour": "red"}"#),
    );
    assert_eq!(answer.status, 422);
    let broken = json!({"image": IMAGE, "pull_policy": "never", "command": ["/no/such/program"]});
    let path = submit(&server, &broken);
    let state = finished(&server, &path);
    assert_eq!(state["error"]["code"], "start_failed");
    assert_eq!(state["result"], Value::Null);
    let slow = shell("sleep 600", json!({"timeout_secs": 1000}));
    submit(&server, &slow);
    let answer = server.ask(
        &Request::new("POST", "/run")
            .fields(&[ASYNC])
            .body(&slow.to_string()),
    );
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (429, &json!("queue_full"))
    );
    assert!(answer.header("Retry-After").is_some());
    for query in [
        "state=lost",
        "kind=fancy",
        "limit=0",
        "limit=1001",
        "limit=x",
    ] {
        assert_eq!(server.get(&format!("/runs?{query}")).status, 422, "{query}");
    }
    assert_eq!(server.request("POST", "/runs", "").status, 405);
    assert!(not_found(&server.get("/runs/none")));
    forget_all(&server);
    server.stop();
}

#[test]
fn results_expire_by_age_and_by_total_size() {
    let server = Server::with(&[("RUNNER_RESULT_TTL_SECS", "2")]);
    let path = submit(&server, &shell("echo short-lived", json!({})));
    finished(&server, &path);
    while !not_found(&server.get(&path)) {}
    server.await_nothing_left();
    server.stop();

    let server = Server::with(&[("RUNNER_MAX_RESULT_BYTES", "300k")]);
    let request = shell("yes | head -c 100000", json!({}));
    let paths: Vec<String> = (0..3).map(|_| submit(&server, &request)).collect();
    let kept = || {
        let runs = server.get("/runs").json()["runs"]
            .as_array()
            .unwrap()
            .clone();
        let finished = runs.iter().all(|run| run["state"] == "finished");
        finished.then_some(runs.len())
    };
    // Each result counts twice its output.
    while kept() != Some(1) {}
    let gone = paths.iter().filter(|path| not_found(&server.get(path)));
    assert_eq!(gone.count(), 2);
    forget_all(&server);
    server.stop();
}

#[test]
fn the_readmes_commands_for_asynchronous_runs_work() {
    let server = Server::start();
    let output = shell_output(&server, &commands("### Not waiting for a run"));
    let lines: Vec<Value> = output
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(
        lines.iter().any(|line| line["created_at"].is_string()),
        "{output}"
    );
    assert!(
        lines.iter().any(|line| line["stdout"] == "Hello, World!\n"),
        "{output}"
    );
    assert!(output.contains("event: result"), "{output}");
    forget_all(&server);
    server.stop();
}
