//! Asynchronous runs and their logs, in which the marks are.

use super::super::async_runs::{finished, forget_all, known, submit};
use super::super::run::shell;
use super::super::support::{EventStream, KillAt, KillProxy, Request, Server, docker};
use super::had_init;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn watch(server: &Server, path: &str) -> EventStream {
    known(server, path);
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events"))))
}

#[test]
fn after_a_restart_the_end_is_as_exact_and_the_output_has_no_marks() {
    for (end, stdout, expected) in [
        (
            "printf end; kill -USR1 $$",
            "end".to_owned(),
            ("signalled", json!("SIGUSR1"), 138),
        ),
        (
            "echo end; exit 137",
            "end\n".into(),
            ("exited", json!(null), 137),
        ),
        (
            "head -c 40000 /dev/zero | tr '\\0' x; exit 1",
            "x".repeat(40_000),
            ("exited", json!(null), 1),
        ),
        (
            "head -c 40000 /dev/zero | tr '\\0' x; echo; exit 1",
            "x".repeat(40_000) + "\n",
            ("exited", json!(null), 1),
        ),
        (
            "head -c 16383 /dev/zero | tr '\\0' x; exit 1",
            "x".repeat(16_383),
            ("exited", json!(null), 1),
        ),
        (
            "printf '\\036mark\\n\\036'; exit 1",
            "\u{1e}mark\n\u{1e}".into(),
            ("exited", json!(null), 1),
        ),
    ] {
        let server = Server::start();
        let script = format!("echo begun; while [ ! -e /go ]; do sleep 0.05; done; {end}");
        let path = submit(&server, &shell(&script, json!({"timeout_secs": 120})));
        watch(&server, &path).until("stdout");
        let container = server.await_running();
        let heir = Server::named(&server.kill(), &[]);
        assert_eq!(known(&heir, &path)["state"], "running");
        docker(&["exec", &container, "touch", "/go"]);
        let state = finished(&heir, &path);
        let result = &state["result"];
        let seen = result["stdout"].as_str().unwrap();
        assert_eq!(seen, format!("begun\n{stdout}"), "{end}");
        assert_eq!(result["stderr"], "");
        let (reason, signal, code) = expected;
        assert_eq!(
            (&result["reason"], &result["signal"], &result["exit_code"]),
            (&json!(reason), &signal, &json!(code)),
            "{result}"
        );
        assert!(
            had_init(result) && result["warnings"].is_null(),
            "{}",
            result["warnings"]
        );
        forget_all(&heir);
        heir.stop();
    }
}

#[test]
fn a_run_that_ended_while_no_server_was_there_is_known_exactly() {
    let server = Server::start();
    let script =
        "echo begun; while [ ! -e /go ]; do sleep 0.05; done; echo over; exec tail /dev/zero";
    let path = submit(
        &server,
        &shell(script, json!({"memory": "16m", "timeout_secs": 120})),
    );
    watch(&server, &path).until("stdout");
    let container = server.await_running();
    let instance = server.kill();
    docker(&["exec", &container, "touch", "/go"]);
    docker(&["wait", &container]);
    let heir = Server::named(&instance, &[]);
    let state = finished(&heir, &path);
    let result = &state["result"];
    assert_eq!(result["stdout"], "begun\nover\n", "{state}");
    assert_eq!(
        (&result["reason"], &result["oom_killed"]),
        (&json!("oom"), &json!(true)),
        "{state}"
    );
    forget_all(&heir);
    heir.stop();
}

#[test]
fn the_time_limit_holds_while_no_server_is_there() {
    let server = Server::start();
    let script = "echo begun; trap '' TERM; while :; do sleep 0.1; done";
    let path = submit(&server, &shell(script, json!({"timeout_secs": 4})));
    watch(&server, &path).until("stdout");
    let container = server.await_running();
    let instance = server.kill();
    let begun = Instant::now();
    assert_eq!(docker(&["wait", &container]), "137");
    assert!(begun.elapsed() < Duration::from_secs(15));
    let heir = Server::named(&instance, &[]);
    let state = finished(&heir, &path);
    assert_eq!(state["result"]["status"], "error: timeout", "{state}");
    assert_eq!(state["result"]["stdout"], "begun\n");
    forget_all(&heir);
    heir.stop();
}

/// Only the end of PID 1 then ends it.
#[test]
fn a_command_that_pid_1_may_not_kill_ends_at_its_time_limit_without_a_server() {
    let server = Server::start();
    let mut request = shell("", json!({"timeout_secs": 2, "cap_drop": ["KILL"]}));
    request["command"] = json!([
        "su",
        "nobody",
        "-s",
        "/bin/sh",
        "-c",
        "echo begun; exec sleep 60"
    ]);
    let path = submit(&server, &request);
    watch(&server, &path).until("stdout");
    let container = server.await_running();
    let instance = server.kill();
    let begun = Instant::now();
    assert_eq!(docker(&["wait", &container]), "137");
    assert!(begun.elapsed() < Duration::from_secs(15));
    let heir = Server::named(&instance, &[]);
    let state = finished(&heir, &path);
    assert_eq!(state["result"]["status"], "error: timeout", "{state}");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_cancelled_asynchronous_run_ends_as_cancelled() {
    let server = Server::start();
    let path = submit(
        &server,
        &shell("echo begun; sleep 60", json!({"timeout_secs": 120})),
    );
    watch(&server, &path).until("stdout");
    assert_eq!(server.request("DELETE", &path, "").status, 202);
    let state = finished(&server, &path);
    let result: &Value = &state["result"];
    assert_eq!(
        (&result["reason"], &result["stdout"]),
        (&json!("cancelled"), &json!("begun\n")),
        "{state}"
    );
    forget_all(&server);
    server.stop();
}

/// A long command reaches PID 1 only in part before the server dies, so that it was never begun.
#[test]
fn a_run_whose_command_was_not_handed_over_whole_is_set_up_again() {
    for stdin in [Value::Null, json!("fed")] {
        let killing = KillProxy::new(KillAt::Answer, |_, call| call.ends_with("/start"));
        let server = Server::with(&[("DOCKER_HOST", &killing.docker_host())]);
        server.run(shell("", json!({})));
        killing.arm_after_the_first_sweep();
        let mut command = vec!["sh".to_owned(), "-c".into(), "echo $#; cat; exit 4".into()];
        command.extend(std::iter::repeat_n("x".repeat(130_000), 5));
        let mut more = json!({"command": command, "timeout_secs": 60});
        if !stdin.is_null() {
            more["stdin"] = stdin.clone();
        }
        let path = submit(&server, &shell("", more));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !killing.has_struck() {
            assert!(Instant::now() < deadline, "no container is started");
            std::thread::sleep(Duration::from_millis(5));
        }
        killing.disarm();
        let heir = Server::named(&server.kill(), &[]);
        let state = finished(&heir, &path);
        let result = &state["result"];
        let expected = format!("4\n{}", stdin.as_str().unwrap_or_default());
        assert_eq!(
            (&result["stdout"], &result["stderr"]),
            (&json!(expected), &json!("")),
            "{state}"
        );
        assert_eq!(
            (&result["exit_code"], &result["warnings"]),
            (&json!(4), &Value::Null)
        );
        forget_all(&heir);
        heir.stop();
    }
}
