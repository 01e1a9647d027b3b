//! What a takeover says of a run is what would have been said without the restart, or that it cannot be known.

use super::async_runs::{finished, forget_all, known, submit};
use super::run::shell;
use super::support::{EventStream, IMAGE, Request, Server, docker};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn id(path: &str) -> &str {
    path.strip_prefix("/runs/").unwrap()
}

/// Name of a run's container.
fn container(path: &str) -> String {
    format!("oneoff-{}", id(path))
}

fn events(server: &Server, path: &str) -> EventStream {
    known(server, path);
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events"))))
}

/// A script that prints something and then waits for [`release`].
fn held(rest: &str) -> String {
    format!("echo ready; while [ ! -e /tmp/go ]; do sleep 0.1; done; {rest}")
}

fn submit_held(server: &Server, rest: &str, more: Value) -> String {
    let path = submit(server, &shell(&held(rest), more));
    events(server, &path).until("stdout");
    path
}

fn release(path: &str) {
    docker(&["exec", &container(path), "touch", "/tmp/go"]);
}

/// Waits until the run's mark in the engine says that its stdin was delivered.
pub fn await_fed(path: &str) {
    let filter = format!("name=oneoff-{}-fed", id(path));
    let deadline = Instant::now() + Duration::from_secs(30);
    while docker(&["volume", "ls", "-q", "--filter", &filter]).is_empty() {
        assert!(Instant::now() < deadline, "the stdin is not delivered");
    }
}

#[test]
fn a_run_whose_stdin_a_restart_cut_short_ends_with_an_error_of_its_own() {
    let server = Server::start();
    let stdin = "x".repeat(10_000_000);
    // It ends by itself after the restart, as a success with a number that is too small.
    let script = "echo ready; sleep 5; wc -c";
    let path = submit(&server, &shell(script, json!({"stdin": stdin})));
    events(&server, &path).until("stdout");
    let heir = Server::named(&server.kill(), &[]);
    let state = finished(&heir, &path);
    assert_eq!(state["result"], Value::Null, "{state}");
    assert_eq!(
        (&state["error"]["code"], &state["error"]["status"]),
        (&json!("stdin_lost"), &json!(503))
    );
    // It is the same after another restart, and its container was ended.
    let heir = Server::named(&heir.kill(), &[]);
    assert_eq!(finished(&heir, &path)["error"], state["error"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let filter = format!("name=^/{}$", container(&path));
    while !docker(&["ps", "-aq", "--filter", &filter]).is_empty() {
        assert!(Instant::now() < deadline, "the container is left");
    }
    forget_all(&heir);
    heir.stop();
}

#[test]
fn stdin_that_was_delivered_before_a_restart_is_read_to_its_end_after_it() {
    let server = Server::start();
    // More than a pipe holds, so that the process has not read it before the restart.
    let path = submit_held(
        &server,
        "wc -c",
        json!({"stdin": "x".repeat(100_000), "timeout_secs": 300}),
    );
    await_fed(&path);
    let heir = Server::named(&server.kill(), &[]);
    release(&path);
    let state = finished(&heir, &path);
    assert_eq!(state["result"]["stdout"], "ready\n100000\n", "{state}");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn output_without_a_last_newline_is_complete_after_a_restart_and_counted_right() {
    let server = Server::start();
    let more = |more: Value| {
        let mut fields = json!({"timeout_secs": 300});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fields
    };
    let plain = submit_held(&server, "printf END", more(json!({})));
    let stderr = submit_held(&server, "printf END >&2", more(json!({})));
    let capped = submit_held(
        &server,
        r"head -c 994 /dev/zero | tr '\0' x",
        more(json!({"max_output_bytes": 10})),
    );
    let heir = Server::named(&server.kill(), &[]);
    for path in [&plain, &stderr, &capped] {
        events(&heir, path).until("stdout");
        release(path);
    }
    let result = |path| finished(&heir, path)["result"].clone();
    let plain_events = events(&heir, &plain).events();
    let told: String = plain_events
        .iter()
        .filter(|(name, _)| name == "stdout")
        .map(|(_, data)| data["data"].as_str().unwrap())
        .collect();
    assert_eq!(told, "ready\nEND", "each byte is told once");
    let plain = result(&plain);
    assert_eq!(plain["stdout"], "ready\nEND");
    assert_eq!(plain["warnings"], Value::Null, "{plain}");
    let stderr = result(&stderr);
    assert_eq!(
        (&stderr["stdout"], &stderr["stderr"]),
        (&json!("ready\n"), &json!("END"))
    );
    let capped = result(&capped);
    assert_eq!(
        (&capped["stdout"], &capped["stdout_omitted_bytes"]),
        (&json!("readyxxxxx"), &json!(990))
    );
    forget_all(&heir);
    heir.stop();
}

#[test]
fn output_that_the_engines_log_no_longer_holds_is_said_to_be_missing() {
    let server = Server::start();
    // The log of such a run is cut at 40 MiB.
    const BYTES: u64 = 60_000_000;
    let script = format!(
        r#"yes "$(head -c 999 /dev/zero | tr '\0' x)" | head -c {BYTES}; {}"#,
        "echo done >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done"
    );
    let limits = json!({"timeout_secs": 300, "max_output_bytes": 1000});
    let path = submit(&server, &shell(&script, limits));
    events(&server, &path).until("stderr");
    let heir = Server::named(&server.kill(), &[]);
    release(&path);
    let result = finished(&heir, &path)["result"].clone();
    let counted = 1000 + result["stdout_omitted_bytes"].as_u64().unwrap();
    assert!(counted < BYTES, "{counted}");
    let warning = result["warnings"][0].as_str().unwrap_or_default();
    assert!(
        warning.contains("the beginning of the output may be missing"),
        "{warning}"
    );
    forget_all(&heir);
    heir.stop();
}

/// A field of the state of a run's container, in milliseconds since 1970.
fn engine_time(path: &str, field: &str) -> i64 {
    let format = format!("{{{{.State.{field}}}}}");
    millis(&docker(&["inspect", "--format", &format, &container(path)]))
}

fn millis(timestamp: &str) -> i64 {
    let timestamp: jiff::Timestamp = timestamp.parse().unwrap();
    timestamp.as_millisecond()
}

fn time(state: &Value, field: &str) -> i64 {
    millis(state[field].as_str().unwrap())
}

/// The total of one phase of all runs.
fn phase_seconds(server: &Server, phase: &str) -> f64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let name = format!("oneoff_run_phase_seconds_sum{{phase=\"{phase}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

#[test]
fn the_time_without_a_server_counts_for_no_run_but_the_time_limit_holds() {
    const SLOTS: (&str, &str) = ("RUNNER_MAX_CONCURRENT_RUNS", "8");
    let server = Server::with(&[SLOTS]);
    let long = submit(&server, &shell("sleep 16; echo long", json!({})));
    let short = submit(&server, &shell("sleep 6; echo short", json!({})));
    let late = submit(
        &server,
        &shell(
            "echo early; sleep 12; echo late",
            json!({"timeout_secs": 10}),
        ),
    );
    let done = submit(&server, &shell("true", json!({})));
    finished(&server, &done);
    for path in [&long, &short, &late] {
        events(&server, path).until("started");
    }
    let instance = server.kill();
    docker(&["wait", &container(&long)]);
    let expected: Vec<(i64, i64)> = [&short, &late, &long]
        .map(|path| {
            (
                engine_time(path, "StartedAt"),
                engine_time(path, "FinishedAt"),
            )
        })
        .into();
    let heir = Server::named(&instance, &[SLOTS]);

    for (path, (started, ended)) in [&short, &late, &long].into_iter().zip(&expected) {
        let state = finished(&heir, path);
        let result = &state["result"];
        let created = time(&state, "created_at");
        assert!(time(&state, "started_at") >= created, "{state}");
        assert_eq!(
            time(&state, "started_at"),
            (*started).max(created),
            "{state}"
        );
        assert_eq!(time(&state, "finished_at"), *ended, "{state}");
        assert_eq!(result["timings"]["run_ms"], ended - started, "{state}");
        let collecting = result["timings"]["collect_ms"].as_f64().unwrap() / 1000.0;
        let lived = (ended - created) as f64 / 1000.0;
        let told = result["execution_time"].as_f64().unwrap();
        assert!(told < lived + collecting + 3.0, "{told} instead of {lived}");
        let status = if path == &late {
            "error: timeout"
        } else {
            "success"
        };
        assert_eq!(result["status"], status, "{state}");
    }
    // Its own PID 1 ended it at its limit, and what it printed is kept.
    assert_eq!(finished(&heir, &late)["result"]["stdout"], "early\n");
    let ran = expected.iter().map(|(started, ended)| ended - started);
    let ran = ran.sum::<i64>() as f64 / 1000.0;
    let counted = phase_seconds(&heir, "run");
    assert!((counted - ran).abs() < 0.1, "{counted} instead of {ran}");
    let listed = heir.get("/runs").json();
    let listed: Vec<String> = listed["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| format!("/runs/{}", run["id"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [done, late, short, long], "newest first");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn the_time_limit_continues_over_a_restart() {
    let server = Server::start();
    let path = submit(&server, &shell("sleep 600", json!({"timeout_secs": 4})));
    events(&server, &path).until("started");
    let heir = Server::named(&server.kill(), &[]);
    let result = finished(&heir, &path)["result"].clone();
    assert_eq!(result["reason"], "timeout");
    let ran = result["timings"]["run_ms"].as_u64().unwrap();
    assert!((4000..30_000).contains(&ran), "{ran} ms");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_run_that_ended_long_before_the_next_server_started_can_still_be_asked_for() {
    const KEPT: (&str, &str) = ("RUNNER_RESULT_TTL_SECS", "12");
    let server = Server::with(&[KEPT]);
    let short = submit(&server, &shell("sleep 5; echo short", json!({})));
    events(&server, &short).until("started");
    let instance = server.kill();
    // Longer than a result is kept.
    docker(&["wait", &container(&short)]);
    docker(&["run", "--rm", "--network", "none", IMAGE, "sleep", "13"]);
    let heir = Server::named(&instance, &[KEPT]);
    assert_eq!(finished(&heir, &short)["result"]["stdout"], "short\n");
    // Its time to live counts from here on, not from its end.
    heir.run(shell("sleep 1", json!({})));
    assert_eq!(heir.get(&short).status, 200);
    heir.await_nothing_left();
    heir.stop();
}

/// A name of an image that is removed at the end of the test.
struct ImageName(String);

impl Drop for ImageName {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["rmi", "-f", &self.0])
            .output();
    }
}

#[test]
fn the_digest_after_a_restart_is_that_of_the_image_which_ran() {
    let name = ImageName(format!("oneoff-test-moved-{}:latest", std::process::id()));
    docker(&["tag", IMAGE, &name.0]);
    let image = docker(&["image", "inspect", "--format", "{{.Id}}", &name.0]);
    let server = Server::start();
    let path = submit_held(
        &server,
        "true",
        json!({"image": name.0, "timeout_secs": 300}),
    );
    let instance = server.kill();
    // The name now means another image.
    docker(&["commit", &container(&path), &name.0]);
    let heir = Server::named(&instance, &[]);
    release(&path);
    assert_eq!(finished(&heir, &path)["result"]["image_digest"], image);
    forget_all(&heir);
    heir.stop();
}
