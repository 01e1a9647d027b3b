//! An engine that takes files and puts them elsewhere, as Podman did: a run must not go on without them, and a volume is not said to
//! have them.

use super::run::shell;
use super::support::{Directory, Fate, FaultProxy, Server, docker};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn is_upload(head: &str) -> bool {
    head.starts_with("PUT ") && head.contains("/archive?")
}

#[test]
fn a_run_whose_files_did_not_arrive_is_an_error_that_names_them_and_its_command_never_runs() {
    let proxy = FaultProxy::judging(|head| {
        let is_start = head.starts_with("POST ") && head.contains("/start ");
        assert!(!is_start, "the container was started");
        match is_upload(head) {
            true => Fate::Misplaced,
            false => Fate::Pass,
        }
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let mounts: [(&str, Value); 3] = [
        ("/in:ro", json!({"type": "directory", "files": {"a": "x"}})),
        ("/f:ro", json!({"type": "file", "text": "x"})),
        ("/out", json!({"type": "directory", "response": true})),
    ];
    for (key, mount) in mounts {
        let request = shell("cat /in/a /f", json!({"volumes": {key: mount}}));
        let (status, code, detail) = server.post("/run", &request).problem();
        assert!(proxy.has_cut(), "nothing was put");
        assert_eq!((status, code.as_str()), (502, "engine_error"), "{detail}");
        assert!(
            detail.contains(key.trim_end_matches(":ro")) && detail.contains("does not have it"),
            "{detail}"
        );
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_volume_whose_content_did_not_arrive_is_an_error_and_a_new_one_is_removed() {
    let is_misplacing = Arc::new(AtomicBool::new(false));
    let misplaces = Arc::clone(&is_misplacing);
    let proxy = FaultProxy::judging(move |head| {
        match is_upload(head) && misplaces.load(Ordering::SeqCst) {
            true => Fate::Misplaced,
            false => Fate::Pass,
        }
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let name = format!("arrival-{}", std::process::id());
    // Its file is of 1970, so that a later one cannot be taken for it.
    let directory = Directory::new("arrival");
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::write(directory.path().join("d/f"), "old").unwrap();
    let pack = format!(
        "cd '{}' && tar cz --mtime=@100 ./d | base64",
        directory.path().display()
    );
    let packed = Command::new("sh").args(["-c", &pack]).output().unwrap();
    let old = json!({"name": name, "content": String::from_utf8(packed.stdout).unwrap()});
    let new = json!({"name": name, "files": {"d/f": "new"}});
    let refused = |request: &Value| {
        is_misplacing.store(true, Ordering::SeqCst);
        let (status, code, detail) = server.post("/volume", request).problem();
        is_misplacing.store(false, Ordering::SeqCst);
        assert_eq!((status, code.as_str()), (502, "engine_error"), "{detail}");
        assert!(
            detail.contains(&name) && detail.contains("does not have it"),
            "{detail}"
        );
    };
    for request in [&old, &new] {
        refused(request);
        assert_eq!(server.get(&format!("/volume/{name}")).status, 404);
    }
    assert_eq!(server.post("/volume", &old).status, 200);
    refused(&new);
    for request in [&old, &new, &old, &new] {
        let answer = server.post("/volume", request);
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    docker(&["volume", "rm", &name]);
    server.await_nothing_left();
    server.stop();
}
