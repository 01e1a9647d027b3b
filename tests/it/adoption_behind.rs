//! A server serves at once, and adopts the runs of the server before it meanwhile.

use super::async_runs::{finished, forget_all, known, submit};
use super::run::shell;
use super::support::{FaultProxy, Request, Server};
use serde_json::json;
use std::sync::Mutex;
use std::sync::mpsc::channel;

#[test]
fn a_server_answers_before_it_knows_the_runs_of_before_and_starts_none_of_them_twice() {
    let server = Server::start();
    let request = shell("echo once", json!({}));
    let body = request.to_string();
    let keyed = Request::new("POST", "/run")
        .fields(&[("Prefer", "respond-async"), ("Idempotency-Key", "k")])
        .body(&body);
    let path = server.ask(&keyed).header("Location").unwrap();
    finished(&server, &path);
    let instance = server.kill();

    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    // The server asks the engine what there is, and gets no answer until it is released.
    let proxy = FaultProxy::holding("/containers/json?", move || {
        let _ = held.lock().unwrap().recv();
    });
    let heir = Server::named(&instance, &[("DOCKER_HOST", &proxy.docker_host())]);
    for (answer, what) in [
        (heir.get(&path), "a run of before"),
        (heir.get("/runs"), "the list that lacks it"),
        (heir.request("DELETE", &path, ""), "its cancellation"),
        (heir.get(&format!("{path}/events")), "its events"),
        (
            heir.ask(&keyed),
            "a key that may be that of a run of before",
        ),
    ] {
        assert_eq!(answer.status, 503, "{what}");
        assert_eq!(answer.json()["code"], "not_known_yet", "{what}");
        assert_eq!(answer.header("Retry-After").as_deref(), Some("1"), "{what}");
    }
    assert_eq!(heir.run(request.clone())["stdout"], "once\n");
    let new = submit(&heir, &shell("echo new", json!({})));
    assert_eq!(finished(&heir, &new)["result"]["stdout"], "new\n");

    drop(release);
    known(&heir, &path);
    let again = heir.ask(&keyed);
    assert_eq!(again.header("Location").as_ref(), Some(&path));
    let listed = heir.get("/runs?kind=async").json();
    let ids: Vec<String> = listed["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| format!("/runs/{}", run["id"].as_str().unwrap()))
        .collect();
    assert_eq!(ids, [new, path], "newest first, whenever they were adopted");
    assert_eq!(heir.get("/runs/0123456789abcdef").status, 404);
    forget_all(&heir);
    heir.stop();
}
