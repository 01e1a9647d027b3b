//! A mixed load beside `docker system prune -af --volumes` in a loop: every answer is true, or says what is missing.

use super::run::shell;
use super::support::{Answer, IMAGE, SecondEngine, Server, untar};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

const CLIENTS: u32 = 4;
/// Runs of each kind by each client.
const ROUNDS: u32 = 3;

#[test]
fn beside_a_prune_loop_every_answer_is_true_or_says_what_is_missing_and_nothing_is_left() {
    let mut engine = SecondEngine::unix("prune-loop");
    engine.start();
    engine.load_images();
    // Its image would be pruned, and there is no registry to pull it from again.
    let keeper = ["run", "--detach", "--network=none", "--name=keeper", IMAGE];
    engine.docker(&[&keeper[..], &["sleep", "3600"]].concat());
    let server = engine.server(&[("RUNNER_MAX_CONCURRENT_RUNS", "4")]);
    let instance = server.instance.clone();
    let stop = AtomicBool::new(false);
    let host = engine.docker_host();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        scope.spawn(|| prune_until(&host, &stop));
        let (server, stop) = (&server, &stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || load(number, server)))
            .collect();
        let joined: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        stop.store(true, Ordering::SeqCst);
        joined.into_iter().map(Result::unwrap).collect()
    });
    let complete: u32 = tallies.iter().map(|tally| tally.complete).sum();
    let all: u32 = tallies.iter().map(|tally| tally.all).sum();
    println!("beside the prune loop {complete} of {all} answers were complete");
    // Only what was pruned between the end of a run and the reading of its outputs is missing.
    assert!(2 * complete > all, "{complete} of {all}");
    engine.await_nothing_left(&instance);
    server.stop();
    engine.docker(&["rm", "--force", "keeper"]);
}

#[derive(Default)]
struct Tally {
    complete: u32,
    all: u32,
}

impl Tally {
    fn add(&mut self, is_complete: bool) {
        self.all += 1;
        self.complete += u32::from(is_complete);
    }
}

fn prune_until(host: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        prune(host);
    }
}

/// Removes what no running container uses.
pub fn prune(host: &str) {
    // Fails while another prune is under way.
    let _ = Command::new("docker")
        .args(["--host", host])
        .args(["system", "prune", "--all", "--force", "--volumes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn load(client: u32, server: &Server) -> Tally {
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        tally.add(plain(server));
        tally.add(files(server));
        tally.add(named(server, &format!("looped-{client}-{round}")));
    }
    tally
}

/// The result of a run. `None`: it could not be started, because prunes were always faster, and the answer says so.
fn result_of(answer: &Answer) -> Option<Value> {
    if answer.status == 502 {
        let (_, code, detail) = answer.problem();
        assert_eq!(code, "object_removed", "{detail}");
        return None;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    Some(answer.json())
}

fn plain(server: &Server) -> bool {
    let answer = server.post("/run", &shell("cat; exit 4", json!({"stdin": "fed"})));
    let Some(result) = result_of(&answer) else {
        return false;
    };
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(4), &json!("fed")),
        "{result}"
    );
    true
}

fn files(server: &Server) -> bool {
    let request = shell(
        "cat /in/f; cp /in/f /out/x; echo said > /made/y",
        json!({"volumes": {
            "/in:ro": {"type": "directory", "files": {"f": "input"}},
            "/out": {"type": "directory", "response": true},
            "/made/y": {"type": "file", "response": true},
        }}),
    );
    let Some(result) = result_of(&server.post("/run", &request)) else {
        return false;
    };
    assert_eq!(
        (&result["status"], &result["stdout"]),
        (&json!("success"), &json!("input")),
        "{result}"
    );
    let out = content(&result, "/out").map(|content| {
        let entries = untar(content);
        assert_eq!(
            entries[0].content.as_deref(),
            Some(&b"input"[..]),
            "{entries:?}"
        );
    });
    let made = content(&result, "/made/y").map(|content| assert_eq!(content, "c2FpZAo="));
    out.is_some() && made.is_some()
}

/// The content under a key. `None`: the answer says why there is none.
fn content<'a>(result: &'a Value, key: &str) -> Option<&'a str> {
    let volume = &result["volumes"][key];
    assert!(volume.is_object(), "a bare null: {result}");
    let content = volume["content"].as_str();
    if content.is_none() {
        let detail = volume["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("removed by another client"), "{result}");
        assert!(result["warnings"].is_array(), "{result}");
    }
    content
}

/// This engine's prune takes named volumes that no container uses, so that one may be gone at any call.
fn named(server: &Server, name: &str) -> bool {
    let made = server.post("/volume", &json!({"name": name, "files": {"a": "kept"}}));
    if result_of(&made).is_none() {
        return false;
    }
    let mounted = json!({"volumes": {"/v": {"type": "volume", "name": name, "response": true}}});
    let answer = server.post("/run", &shell("cat /v/a; echo new > /v/b", mounted));
    // Gone before the run is a true answer too.
    let is_complete = is_gone(&answer)
        || result_of(&answer).is_some_and(|result| {
            assert_eq!(
                (&result["status"], &result["stdout"]),
                (&json!("success"), &json!("kept")),
                "{result}"
            );
            let content = content(&result, "/v");
            content
                .map(|content| assert_eq!(untar(content).len(), 2))
                .is_some()
        });
    let deleted = server.request("DELETE", &format!("/volume/{name}"), "");
    assert!(
        deleted.status == 204 || is_gone(&deleted),
        "{}",
        deleted.text()
    );
    is_complete
}

fn is_gone(answer: &Answer) -> bool {
    answer.status == 404 && answer.json()["code"] == "volume_not_found"
}
