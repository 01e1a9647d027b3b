//! The engine is away for single calls, or answers them in part: asynchronous runs go on all the same, and what they need is not
//! removed before their outcome is stored.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{EventStream, Fate, FaultProxy, Request, Server, docker, untar};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// The engine closes the connection without an answer.
const AWAY: Fate = Fate::Answered(b"");
/// It closes the connection within an answer.
const CUT: Fate = Fate::Answered(
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"Id\": \"",
);

fn collecting(script: &str) -> Value {
    shell(
        script,
        json!({"stdin": "fed\n", "volumes": {"/out": {"type": "directory", "response": true}}}),
    )
}

fn events(server: &Server, path: &str) -> EventStream {
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events"))))
}

fn assert_complete(state: &Value) {
    let result = &state["result"];
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(3), &json!("fed\n")),
        "{state}"
    );
    assert_eq!(result["warnings"], Value::Null, "{state}");
    let content = result["volumes"]["/out"]["content"].as_str();
    let entries = untar(content.unwrap_or_else(|| panic!("{state}")));
    assert_eq!(entries[0].content.as_deref(), Some(&b"made\n"[..]));
}

#[test]
fn an_outcome_is_stored_before_it_is_published_and_before_the_container_goes() {
    let (is_away, puts) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
    let away = is_away.clone();
    let proxy = FaultProxy::judging(move |head| {
        let is_record = head.starts_with("PUT ") && head.contains("-records/archive");
        // The first is the request.
        if is_record && puts.fetch_add(1, Ordering::SeqCst) == 1 {
            away.store(true, Ordering::SeqCst);
        }
        match away.load(Ordering::SeqCst) {
            true => AWAY,
            false => Fate::Pass,
        }
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let path = submit(&server, &collecting("cat; echo made > /out/f; exit 3"));
    while !is_away.load(Ordering::SeqCst) {
        assert_ne!(server.get(&path).json()["state"], "finished");
    }
    // Asked again while the engine is away, it is still not published.
    assert_ne!(server.get(&path).json()["state"], "finished");
    let run = path.trim_start_matches("/runs/");
    let filter = format!("label=oneoff.run={run}");
    let containers = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
    assert!(!containers.is_empty(), "removed before it was stored");
    is_away.store(false, Ordering::SeqCst);
    let state = finished(&server, &path);
    assert_complete(&state);
    let instance = server.kill();
    let heir = Server::named(&instance, &[]);
    assert_eq!(finished(&heir, &path)["result"], state["result"]);
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_run_is_followed_however_often_its_connections_break() {
    const LINES: usize = 9;
    let proxy = FaultProxy::judging(|_| Fate::Pass);
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let script = format!("for n in $(seq {LINES}); do echo line $n; sleep 1; done; exit 3");
    let path = submit(&server, &shell(&script, json!({})));
    let mut printed = String::new();
    let mut stream = events(&server, &path);
    while printed.lines().count() < LINES {
        let (_, name, data) = stream.event().expect("more lines");
        if name == "stdout" {
            printed.push_str(data["data"].as_str().unwrap());
            proxy.break_connections();
        }
    }
    let state = finished(&server, &path);
    let lines: String = (1..=LINES).map(|n| format!("line {n}\n")).collect();
    assert_eq!(state["result"]["stdout"], lines, "{state}");
    assert_eq!(state["result"]["exit_code"], 3, "{state}");
    forget_all(&server);
    server.stop();
}

#[test]
fn a_run_that_could_not_be_started_waits_also_if_the_engine_goes_away_again() {
    let step = AtomicU32::new(0);
    let proxy = FaultProxy::judging(move |head| {
        let next = match step.load(Ordering::SeqCst) {
            0 => "/start ",
            1 => "/images/",
            _ => return Fate::Pass,
        };
        if !head.contains(next) {
            return Fate::Pass;
        }
        step.fetch_add(1, Ordering::SeqCst);
        AWAY
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    // The image is known to the engine: asking for it is the first call of every attempt.
    let path = submit(&server, &collecting("cat; echo made > /out/f; exit 3"));
    assert_complete(&finished(&server, &path));
    forget_all(&server);
    server.stop();
}

#[test]
fn answers_that_are_cut_are_asked_for_again() {
    for words in ["/json HTTP", "/archive?"] {
        let left = AtomicU32::new(2);
        let proxy = FaultProxy::judging(move |head| {
            let is_meant = head.starts_with("GET ") && head.contains("/containers/");
            let is_meant = is_meant && head.contains(words);
            let cut = |left: u32| left.checked_sub(1);
            let update = |_| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, cut);
            match is_meant && update(()).is_ok() {
                true => CUT,
                false => Fate::Pass,
            }
        });
        let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
        let path = submit(&server, &collecting("cat; echo made > /out/f; exit 3"));
        assert_complete(&finished(&server, &path));
        forget_all(&server);
        server.stop();
    }
}

#[test]
fn a_cancel_that_the_engine_may_store_later_cancels_the_run_at_once() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    let (thaw, thawed) = channel();
    let thawed = Mutex::new(thawed);
    let proxy = FaultProxy::judging(move |head| {
        let is_mark = head.contains("/volumes/create");
        if is_mark && armed.swap(false, Ordering::SeqCst) {
            thawed.lock().unwrap().recv().unwrap();
        }
        Fate::Pass
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let path = submit(
        &server,
        &shell("echo a; sleep 600", json!({"timeout_secs": 900})),
    );
    events(&server, &path).until("stdout");
    is_armed.store(true, Ordering::SeqCst);
    let answer = server.request("DELETE", &path, "");
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (502, "engine_error"), "{detail}");
    assert!(detail.contains("not stored for certain"), "{detail}");
    let state = finished(&server, &path);
    assert_eq!(state["result"]["reason"], "cancelled", "{state}");
    thaw.send(()).unwrap();
    let instance = server.kill();
    let heir = Server::named(&instance, &[]);
    assert_eq!(finished(&heir, &path)["result"], state["result"]);
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_run_whose_start_was_not_answered_runs_once_and_has_its_result() {
    let proxy = FaultProxy::new("/start ");
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let request = shell(
        "echo begun; echo made > /out/f; exit 3",
        json!({"volumes": {"/out": {"type": "directory", "response": true}}}),
    );
    let path = submit(&server, &request);
    let state = finished(&server, &path);
    assert!(proxy.has_cut());
    let result = &state["result"];
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(3), &json!("begun\n")),
        "{state}"
    );
    assert!(result["volumes"]["/out"]["content"].is_string(), "{state}");
    forget_all(&server);
    server.stop();
}
