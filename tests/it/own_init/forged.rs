//! Commands that look into what PID 1 says, or say the same.

use super::super::run::shell;
use super::super::support::{EventStream, Request, Server, docker};
use serde_json::{Value, json};

/// A run of this script that has printed nothing, once it is known to have started.
fn begin(server: &Server, script: &str) -> EventStream {
    let request = shell(script, json!({"timeout_secs": 60})).to_string();
    let fields = [("Accept", "application/x-ndjson")];
    let post = Request::new("POST", "/run").fields(&fields).body(&request);
    let mut live = EventStream::new(server.begin(&post));
    while !live.line().unwrap().contains("\"started\"") {}
    live
}

fn last(mut live: EventStream) -> Value {
    let mut last = String::new();
    while let Some(line) = live.line() {
        last = line;
    }
    serde_json::from_str(&last).unwrap()
}

/// Writes an end mark as a command does that has found the nonce in the memory of PID 1.
fn forge(container: &str, fate: &str) {
    let format = "{{index .Config.Labels \"oneoff.pid-1\"}}";
    let nonce = docker(&["inspect", "--format", format, container]);
    assert_eq!(nonce.len(), 32, "{nonce}");
    let used = r#"{"cpu_micros":18446744073709551615,"pids_peak":18446744073709551615}"#;
    let end = format!(
        r#"{{"ended":{{"fate":{fate},"is_timeout":false,"is_settled":true,"used":{used}}}}}"#
    );
    let script = format!("printf '\\036%s%s\\n' {nonce} '{end}' | tee /proc/1/fd/1 > /proc/1/fd/2");
    docker(&["exec", container, "sh", "-c", &script]);
}

#[test]
fn a_command_does_not_find_what_pid_1_says_in_its_own_output() {
    let server = Server::start();
    // A shell whose output is read by itself, from its first instruction on.
    let script = "timeout 0.2 cat /proc/$$/fd/1 >&2; exit 3";
    for _ in 0..20 {
        let live = begin(&server, script);
        let result = last(live);
        let read = result["stderr"].as_str().unwrap();
        assert!(!read.contains('\u{1e}'), "{read}");
        assert_eq!(result["exit_code"], 3);
    }
    server.stop();
}

#[test]
fn what_no_pid_1_can_say_is_output_and_changes_nothing() {
    let server = Server::start();
    for fate in [
        r#"{"exited":-99999}"#,
        r#"{"exited":256}"#,
        r#"{"signalled":-1}"#,
        r#"{"signalled":2147483647}"#,
    ] {
        let live = begin(&server, "sleep 1; exit 4");
        forge(&server.await_running(), fate);
        let result = last(live);
        assert_eq!(
            (&result["reason"], &result["exit_code"]),
            (&json!("exited"), &json!(4)),
            "{result}"
        );
        assert!(
            result["stdout"].as_str().unwrap().contains("ended"),
            "{result}"
        );
        server.await_nothing_left();
    }
    server.stop();
}

#[test]
fn a_command_that_was_started_is_never_said_not_to_have_been() {
    let server = Server::start();
    for (script, fate) in [
        (
            "sleep 1; exit 4",
            r#"{"not_started":"chdir to cwd (\"/x\") failed"}"#,
        ),
        ("sleep 1; exit 4", r#"{"not_started":"anything"}"#),
        (
            "echo out; sleep 1; exit 4",
            r#"{"not_started":"exec /x: anything"}"#,
        ),
    ] {
        let live = begin(&server, script);
        forge(&server.await_running(), fate);
        let result = last(live);
        assert_eq!(
            (&result["reason"], &result["exit_code"]),
            (&json!("exited"), &json!(4)),
            "{result}"
        );
        assert!(
            result["usage"]["cpu_seconds"].as_f64().unwrap() < 60.0,
            "{result}"
        );
        server.await_nothing_left();
    }
    let live = begin(&server, "sleep 30");
    forge(&server.await_running(), r#"{"exited":7}"#);
    let usage = &last(live)["usage"];
    assert_eq!(
        (&usage["cpu_seconds"], &usage["pids_peak"]),
        (&json!(null), &json!(null))
    );
    server.stop();
}
