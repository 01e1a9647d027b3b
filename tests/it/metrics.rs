//! `/metrics`, the access log and request ids.

use super::run::shell;
use super::support::{IMAGE, Request, Server};
use serde_json::json;
use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

fn scrape(server: &Server) -> String {
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    let kind = answer.header("Content-Type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    String::from_utf8(answer.body).unwrap()
}

/// The samples of an exposition, by name and labels as written.
fn samples(text: &str) -> HashMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

#[test]
fn events_are_counted_and_promtool_accepts_the_format() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "3")]);
    server.run(shell(
        "echo out; cat /d/in",
        json!({"volumes": {"/d": {
        "type": "directory", "files": {"in": "x"}, "response": true}}}),
    ));
    server.run(shell("exit 7", json!({})));
    server.run(shell("sleep 600", json!({"timeout_secs": 0.5})));
    let refused = server.post(
        "/run",
        &json!({"image": "no-such-image", "pull_policy": "never"}),
    );
    assert_eq!(refused.status, 404);
    assert_eq!(server.get("/volume/no-such-volume").status, 404);
    assert_eq!(server.get("/no/such/path").status, 404);
    server.await_nothing_left();

    let text = scrape(&server);
    let found = samples(&text);
    let value = |name: &str| {
        *found
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
    };
    assert_eq!(value("oneoff_runs_total{reason=\"exited\"}"), 2.0);
    assert_eq!(value("oneoff_runs_total{reason=\"timeout\"}"), 1.0);
    assert_eq!(value("oneoff_runs_total{reason=\"oom\"}"), 0.0);
    assert_eq!(value("oneoff_runs_total{reason=\"failed\"}"), 1.0);
    for phase in [
        "queue", "pull", "create", "stage", "start", "run", "collect", "remove",
    ] {
        let count = value(&format!(
            "oneoff_run_phase_seconds_count{{phase=\"{phase}\"}}"
        ));
        assert!(count >= 3.0, "{phase}: {count}");
        let all = value(&format!(
            "oneoff_run_phase_seconds_bucket{{phase=\"{phase}\",le=\"+Inf\"}}"
        ));
        assert_eq!(all, count);
    }
    // PID 1 counts the time limit from the start, which the engine answers later.
    let seconds = |phase: &str| {
        value(&format!(
            "oneoff_run_phase_seconds_sum{{phase=\"{phase}\"}}"
        ))
    };
    assert!(seconds("start") + seconds("run") >= 0.5);
    assert_eq!(
        (value("oneoff_slots"), value("oneoff_slots_in_use")),
        (3.0, 0.0)
    );
    assert_eq!(
        (
            value("oneoff_queue_capacity"),
            value("oneoff_queue_waiting")
        ),
        (256.0, 0.0)
    );
    assert_eq!(value("oneoff_mcp_sessions"), 0.0);
    // Other tests kill servers, whose leftovers this one may remove.
    assert!(value("oneoff_reaped_objects_total") >= 0.0);
    assert_eq!(
        value("oneoff_engine_errors_total{call=\"image_inspect\",error=\"404\"}"),
        1.0
    );
    let requests = |labels: &str| value(&format!("oneoff_http_requests_total{{{labels}}}"));
    assert_eq!(
        requests("method=\"POST\",route=\"/run\",status=\"200\""),
        3.0
    );
    assert_eq!(
        requests("method=\"POST\",route=\"/run\",status=\"404\""),
        1.0
    );
    assert_eq!(
        requests("method=\"GET\",route=\"/volume/{name}\",status=\"404\""),
        1.0
    );
    assert!(requests("method=\"GET\",route=\"other\",status=\"404\"") >= 1.0);
    assert!(value("oneoff_http_request_duration_seconds_count{route=\"/run\"}") >= 4.0);
    assert!(value("oneoff_http_received_bytes_total") > 500.0);
    assert!(value("oneoff_http_sent_bytes_total") > 1000.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_threads") >= 2.0);
    assert!(value("process_open_fds") >= 4.0 && value("process_max_fds") >= 256.0);
    check(&text);
    server.stop();
}

/// Runs `promtool check metrics`, which also lints the names.
fn check(text: &str) {
    let promtool = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/promtool");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/support/setup.sh gets promtool");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn running_and_waiting_runs_are_shown() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let running = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    server.await_running();
    let waiting = server.begin_run(&shell("echo waited", json!({})));
    let asked = std::time::Instant::now();
    while samples(&scrape(&server))["oneoff_queue_waiting"] < 1.0 {
        assert!(asked.elapsed().as_secs() < 20, "it does not wait");
    }
    assert_eq!(samples(&scrape(&server))["oneoff_slots_in_use"], 1.0);
    drop((running, waiting));
    server.await_nothing_left();
    server.stop();
}

#[test]
fn nothing_that_a_caller_sends_becomes_a_label() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    for number in 0..50 {
        let path = format!("/volume/secret-{number}?token=secret-{number}");
        server.request(&format!("SECRET{number}"), &path, "");
        server.request("GET", &format!("/secret-{number}/x"), "");
    }
    let token = [("Authorization", "Bearer s3cret")];
    let answer = server.ask(&Request::new("GET", "/metrics").fields(&token));
    let text = answer.text();
    assert!(!text.to_lowercase().contains("secret"), "{text}");
    assert!(
        text.contains("route=\"/volume/{name}\",status=\"401\"} 50\n"),
        "{text}"
    );
    assert!(text.lines().count() < 400, "{text}");
    assert_eq!(
        server.get("/metrics").status,
        401,
        "an operator's, not everybody's"
    );
    server.stop();
}

#[test]
fn each_request_is_one_log_line_with_the_request_id_of_its_answer() {
    let log = std::env::temp_dir().join(format!("oneoff-access-{}", std::process::id()));
    let server = Server::with_log(&[("RUST_LOG", "info")], &log);
    let request = json!({"image": IMAGE, "pull_policy": "never", "command": ["true"],
        "env_vars": {"PASSWORD": "hunter2"}});
    let minted = server
        .post("/run", &request)
        .header("X-Request-Id")
        .unwrap();
    let chosen = [("X-Request-Id", "chosen-1")];
    let answer = server.ask(&Request::new("GET", "/volume/none?password=hunter2").fields(&chosen));
    assert_eq!(answer.header("X-Request-Id").as_deref(), Some("chosen-1"));
    server.stop();
    let written = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let line = |id: &str| {
        let end = format!(" {id}");
        let mut lines = written.lines().filter(|line| line.ends_with(&end));
        let line = lines.next().unwrap_or_else(|| panic!("{id} in {written}"));
        assert_eq!(lines.next(), None, "one line for each request");
        line.to_owned()
    };
    let run = line(&minted);
    assert!(
        run.contains("POST /run 200 ") && run.contains("ms "),
        "{run}"
    );
    assert!(line("chosen-1").contains("GET /volume/none 404 "));
    assert!(!written.contains("hunter2"), "{written}");
}
