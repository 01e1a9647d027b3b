//! An engine that takes the files of a run and puts them elsewhere, as Podman did: the run must not go on without them.

use super::run::shell;
use super::support::{Fate, FaultProxy, Server};
use serde_json::{Value, json};

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
