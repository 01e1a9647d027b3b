//! A mixed load beside `docker system prune -af --volumes` in a loop: every answer is true and complete. Only a file that the run's
//! container has, and no volume, can be taken by a prune at the very moment of the end; the answer then says so.

use super::run::shell;
use super::support::{Answer, Fate, FaultProxy, IMAGE, SecondEngine, Server, untar};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const CLIENTS: u32 = 4;
/// Runs of each kind by each client.
const ROUNDS: u32 = 3;

#[test]
fn beside_a_prune_loop_every_answer_is_true_and_complete_and_nothing_is_left() {
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
    let files_of_containers: u32 = std::thread::scope(|scope| {
        scope.spawn(|| prune_until(&host, &stop));
        let (server, stop) = (&server, &stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || load(number, server)))
            .collect();
        let joined: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        stop.store(true, Ordering::SeqCst);
        joined.into_iter().map(Result::unwrap).sum()
    });
    let all = CLIENTS * ROUNDS;
    println!("beside the prune loop {files_of_containers} of {all} files of containers came back");
    assert!(2 * files_of_containers > all, "{files_of_containers}");
    engine.await_nothing_left(&instance);
    server.stop();
    engine.docker(&["rm", "--force", "keeper"]);
}

#[test]
fn a_prune_between_the_end_of_a_run_and_the_reading_of_its_files_changes_nothing() {
    let mut engine = SecondEngine::unix("prune-after-the-end");
    engine.start();
    engine.load_images();
    let keeper = ["run", "--detach", "--network=none", "--name=keeper", IMAGE];
    engine.docker(&[&keeper[..], &["sleep", "3600"]].concat());
    let host = engine.docker_host();
    let socket = Path::new(host.trim_start_matches("unix://")).to_owned();
    let reads = Arc::new(AtomicU32::new(0));
    let count = reads.clone();
    // Not before every read, since a prune always takes the container through which a volume is read.
    let proxy = FaultProxy::judging_at(&socket, move |head| {
        let is_read = head.starts_with("GET ") && head.contains("/archive?");
        if is_read && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            prune(&host);
        }
        Fate::Pass
    });
    let server = engine.server(&[("DOCKER_HOST", &proxy.docker_host())]);
    let made = json!({"name": "after-the-end", "files": {"a": "kept"}});
    assert_eq!(server.post("/volume", &made).status, 200);
    let request = shell(
        "cat /in/f; cp /in/f /out/x; echo changed > /f; echo new > /v/b; exit 3",
        json!({"volumes": {
            "/in:ro": {"type": "directory", "files": {"f": "input"}},
            "/out": {"type": "directory", "response": true},
            "/f": {"type": "file", "text": "as it was", "response": true},
            "/v": {"type": "volume", "name": "after-the-end", "response": true},
        }}),
    );
    let result = server.run(request);
    assert!(reads.load(Ordering::SeqCst) > 3, "nothing was pruned");
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(3), &json!("input")),
        "{result}"
    );
    let names = |key: &str| -> Vec<String> {
        let content = result["volumes"][key]["content"].as_str();
        let entries = untar(content.unwrap_or_else(|| panic!("{key}: {result}")));
        entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names("/out"), ["x"]);
    assert_eq!(names("/v"), ["a", "b"]);
    assert_eq!(result["volumes"]["/f"]["content"], "Y2hhbmdlZAo=");
    assert_eq!(result["warnings"], Value::Null, "{result}");
    // It belongs to the caller, whatever was pruned.
    let deleted = server.request("DELETE", "/volume/after-the-end", "");
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    engine.await_nothing_left(&server.instance);
    server.stop();
    engine.docker(&["rm", "--force", "keeper"]);
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

/// Returns how many files came back that only the run's container had.
fn load(client: u32, server: &Server) -> u32 {
    let mut count = 0;
    for round in 0..ROUNDS {
        plain(server);
        count += u32::from(files(server));
        named(server, &format!("looped-{client}-{round}"));
    }
    count
}

fn success(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn plain(server: &Server) {
    let result = success(&server.post("/run", &shell("cat; exit 4", json!({"stdin": "fed"}))));
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(4), &json!("fed")),
        "{result}"
    );
}

/// Returns whether the file came back that only the run's container had.
fn files(server: &Server) -> bool {
    let request = shell(
        "cat /in/f; cp /in/f /out/x; echo said > /made/y",
        json!({"volumes": {
            "/in:ro": {"type": "directory", "files": {"f": "input"}},
            "/out": {"type": "directory", "response": true},
            "/made/y": {"type": "file", "response": true},
        }}),
    );
    let result = success(&server.post("/run", &request));
    assert_eq!(
        (&result["status"], &result["stdout"]),
        (&json!("success"), &json!("input")),
        "{result}"
    );
    let out = result["volumes"]["/out"]["content"].as_str();
    let entries = untar(out.unwrap_or_else(|| panic!("{result}")));
    let content = entries[0].content.as_deref();
    assert_eq!(content, Some(&b"input"[..]), "{entries:?}");
    let made = &result["volumes"]["/made/y"];
    if made["content"] == "c2FpZAo=" {
        return true;
    }
    let detail = made["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("removed by another client"), "{result}");
    assert!(result["warnings"].is_array(), "{result}");
    false
}

fn named(server: &Server, name: &str) {
    success(&server.post("/volume", &json!({"name": name, "files": {"a": "kept"}})));
    let mounted = json!({"volumes": {"/v": {"type": "volume", "name": name, "response": true}}});
    let result = success(&server.post("/run", &shell("cat /v/a; echo new > /v/b", mounted)));
    assert_eq!(
        (&result["status"], &result["stdout"]),
        (&json!("success"), &json!("kept")),
        "{result}"
    );
    let content = result["volumes"]["/v"]["content"].as_str();
    assert_eq!(
        untar(content.unwrap_or_else(|| panic!("{result}"))).len(),
        2
    );
    let deleted = server.request("DELETE", &format!("/volume/{name}"), "");
    assert_eq!(deleted.status, 204, "{}", deleted.text());
}
