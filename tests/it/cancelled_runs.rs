//! A cancelled run stays cancelled: what `DELETE` answered holds after `kill -9`.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{EventStream, FaultProxy, Request, SecondEngine, Server};
use serde_json::json;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const ONE: (&str, &str) = ("RUNNER_MAX_CONCURRENT_RUNS", "1");

fn await_started(server: &Server, path: &str) {
    let path = format!("{path}/events");
    EventStream::new(server.begin(&Request::new("GET", &path))).until("started");
}

#[test]
fn a_running_run_that_was_cancelled_does_not_run_on_under_the_next_server() {
    let (release, killed) = channel::<()>();
    let killed = Mutex::new(killed);
    // The engine gets the kill only after the server is dead.
    let proxy = FaultProxy::holding("/kill?", move || {
        let _ = killed.lock().unwrap().recv();
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let path = submit(
        &server,
        &shell("echo begun; sleep 600", json!({"timeout_secs": 1000})),
    );
    await_started(&server, &path);
    assert_eq!(server.request("DELETE", &path, "").status, 202);
    let heir = Server::named(&server.kill(), &[]);
    let result = finished(&heir, &path)["result"].clone();
    assert_eq!(result["status"], "error: cancelled", "{result}");
    assert_eq!(result["stdout"], "begun\n", "what it printed is kept");
    drop(release);
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_cancel_that_cannot_be_stored_is_refused_and_one_that_is_stored_survives_kill_9() {
    let mut engine = SecondEngine::unix("cancels");
    engine.start();
    engine.load_images();
    let server = engine.server(&[ONE]);
    let busy = submit(&server, &shell("sleep 600", json!({"timeout_secs": 1000})));
    await_started(&server, &busy);
    let waiting = submit(&server, &shell("sleep 600", json!({"timeout_secs": 1000})));
    let done = submit(&server, &shell("echo done", json!({})));
    engine.kill();
    let (status, code, detail) = server.request("DELETE", &waiting, "").problem();
    assert_eq!((status, code.as_str()), (503, "engine_unreachable"));
    assert!(detail.starts_with("the run is not cancelled"), "{detail}");
    assert_eq!(server.get(&waiting).json()["state"], "queued");
    engine.start();
    // A connection to the engine of before may still be in the pool.
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.request("DELETE", &waiting, "").status != 202 {
        assert!(Instant::now() < deadline, "the engine is back");
    }
    let host = engine.docker_host();
    let heir = Server::named(&server.kill(), &[("DOCKER_HOST", &host), ONE]);
    let result = finished(&heir, &waiting)["result"].clone();
    assert_eq!(result["status"], "error: cancelled", "{result}");
    assert_eq!(finished(&heir, &done)["result"]["stdout"], "done\n");
    // A result whose record cannot be removed is still there after it was refused to delete it.
    engine.kill();
    let answer = heir.request("DELETE", &done, "");
    let (status, _, detail) = answer.problem();
    assert_eq!(status, 503, "{detail}");
    assert!(detail.starts_with("the run is not deleted"), "{detail}");
    assert_eq!(heir.get(&done).status, 200);
    engine.start();
    let listed = heir.get("/runs?limit=1000").json();
    for run in listed["runs"].as_array().unwrap() {
        let path = format!("/runs/{}", run["id"].as_str().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while heir.request("DELETE", &path, "").status != 404 {
            assert!(Instant::now() < deadline, "{path} is not deleted");
        }
    }
    let instance = heir.instance.clone();
    engine.await_nothing_left(&instance);
    heir.stop();
}
