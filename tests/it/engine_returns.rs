//! The engine goes away while asynchronous runs wait and run, and the server stays: they go on when it is back.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{EventStream, Fate, FaultProxy, Request, SecondEngine, Server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn printing(server: &Server, script: &str) -> String {
    let path = submit(
        server,
        &shell(
            script,
            json!({"volumes": {"/out": {"type": "directory", "response": true}}}),
        ),
    );
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events")))).until("stdout");
    path
}

/// A run has its slot; the engine cannot be reached, so that only the server can know.
fn unfinished(server: &Server, path: &str) -> bool {
    let state = server.get(path).json();
    assert_eq!(state["error"], Value::Null, "{state}");
    state["state"] != "finished"
}

fn await_engine(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.get("/health").status != 200 {
        assert!(Instant::now() < deadline, "the engine is not seen again");
    }
}

#[test]
fn runs_follow_their_containers_again_when_a_killed_engine_is_back() {
    let mut engine = SecondEngine::unix("returns");
    engine.start();
    engine.load_images();
    let server = engine.server(&[("RUNNER_MAX_CONCURRENT_RUNS", "2")]);
    let long = printing(&server, "echo a; sleep 4; echo END; echo kept > /out/f");
    let short = printing(&server, "echo b; sleep 2; echo gone >&2; exit 3");
    let waiting = submit(&server, &shell("echo c", json!({})));
    engine.kill();
    for path in [&long, &short, &waiting] {
        assert!(unfinished(&server, path));
    }
    engine.start();
    await_engine(&server);

    let result = |path: &str| finished(&server, path)["result"].clone();
    let long = result(&long);
    assert!(long.is_object(), "{long}");
    let has_ended_by_itself = long["exit_code"] == 0;
    if has_ended_by_itself {
        let stdout = long["stdout"].as_str().unwrap();
        assert!(["a\nEND\n", "a\n"].contains(&stdout), "{long}");
        assert!(long["volumes"]["/out"]["content"].is_string(), "{long}");
    }
    let short = result(&short);
    assert!(
        short["stdout"].as_str().unwrap().starts_with("b\n"),
        "{short}"
    );
    for restarted in [&long, &short] {
        let warnings = restarted["warnings"].to_string();
        assert!(warnings.contains("engine was restarted"), "{restarted}");
    }
    let waiting = result(&waiting);
    assert_eq!(
        (&waiting["status"], &waiting["stdout"]),
        (&json!("success"), &json!("c\n")),
        "{waiting}"
    );
    forget_all(&server);
    engine.await_nothing_left(&server.instance);
    server.stop();
}

#[test]
fn runs_that_a_stopped_engine_ends_have_results_and_those_that_wait_are_run() {
    let mut engine = SecondEngine::unix("stops");
    engine.start();
    engine.load_images();
    let server = engine.server(&[("RUNNER_MAX_CONCURRENT_RUNS", "1")]);
    let running = printing(
        &server,
        "trap 'echo stopped; exit 7' TERM; echo a; sleep 60 & wait",
    );
    let waiting = [
        submit(&server, &shell("echo b", json!({}))),
        submit(&server, &shell("cat", json!({"stdin": "fed"}))),
    ];
    engine.stop();
    for path in &waiting {
        assert!(unfinished(&server, path));
    }
    engine.start();
    await_engine(&server);
    let state = finished(&server, &running);
    assert_eq!(state["result"]["exit_code"], 7, "{state}");
    let stdout = state["result"]["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("a\n"), "{state}");
    for (path, stdout) in waiting.iter().zip(["b\n", "fed"]) {
        let state = finished(&server, path);
        assert_eq!(state["result"]["stdout"], stdout, "{state}");
        assert_eq!(state["result"]["status"], "success", "{state}");
    }
    forget_all(&server);
    engine.await_nothing_left(&server.instance);
    server.stop();
}

#[test]
fn a_run_whose_connections_break_is_read_on_from_its_log_without_a_gap() {
    let proxy = FaultProxy::judging(|_| Fate::Pass);
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let script = "cat; printf open; echo e >&2; sleep 3; echo -n closed; exit 5";
    let request = shell(script, json!({"stdin": "fed\n"}));
    let path = submit(&server, &request);
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events")))).until("stderr");
    proxy.break_connections();
    let state = finished(&server, &path);
    let result = &state["result"];
    assert_eq!(
        (&result["exit_code"], &result["stdout"], &result["stderr"]),
        (&json!(5), &json!("fed\nopenclosed"), &json!("e\n")),
        "{state}"
    );
    assert_eq!(result["warnings"], Value::Null, "{state}");
    let events = EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events"))));
    let (mut started, mut stdout) = (0, String::new());
    for (name, data) in events.events() {
        started += u32::from(name == "started");
        if name == "stdout" {
            stdout.push_str(data["data"].as_str().unwrap());
        }
    }
    assert_eq!((started, stdout.as_str()), (1, "fed\nopenclosed"));
    forget_all(&server);
    server.stop();
}

#[test]
fn a_plain_run_whose_connections_break_is_no_silent_success() {
    let proxy = FaultProxy::judging(|_| Fate::Pass);
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let answer = std::thread::scope(|scope| {
        let run =
            scope.spawn(|| server.post("/run", &shell("echo a; sleep 3; echo END", json!({}))));
        server.await_running();
        proxy.break_connections();
        run.join().unwrap()
    });
    let body = answer.json();
    let is_said = body["warnings"]
        .to_string()
        .contains("broke during the run");
    assert!(answer.status >= 500 || is_said, "{body}");
    server.await_nothing_left();
    server.stop();
}
