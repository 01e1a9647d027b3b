//! Image references: what is one, and which ones the allow-list matches.

use super::support::{Directory, Request, Server};
use serde_json::json;

#[test]
fn what_is_no_reference_is_refused_before_the_engine_is_called() {
    let directory = Directory::new("no-engine");
    let nowhere = format!("unix://{}", directory.file("engine.sock"));
    let server = Server::with(&[("DOCKER_HOST", &nowhere)]);
    for image in [
        "UPPER/case",
        "alpine:",
        ":tag",
        "a//b",
        "-alpine",
        "alpine@sha256:12",
        "a___b",
        "reg:port/x",
        "sha256:abcd",
    ] {
        for path in ["/run", "/run?dry_run=1"] {
            for policy in ["always", "missing", "never"] {
                let request = json!({"image": image, "pull_policy": policy});
                let answer = server.post(path, &request);
                let problem = answer.json();
                assert_eq!(answer.status, 422, "{image} {path}: {problem}");
                assert_eq!(problem["errors"][0]["loc"], json!(["body", "image"]));
            }
        }
    }
    // One that is needs the engine.
    for image in ["alpine", "Reg.Example:5000/a/b__c:T-1"] {
        let request = json!({"image": image, "pull_policy": "never"});
        assert_eq!(server.post("/run", &request).status, 503, "{image}");
        assert_eq!(server.post("/run?dry_run=1", &request).status, 200);
    }
    let _ = server.kill();
}

#[test]
fn the_allow_list_matches_registry_repository_and_version_apart() {
    let server = Server::with(&[(
        "RUNNER_ALLOWED_IMAGES",
        "alpine:*, ghcr.io/acme/*, pinned:1",
    )]);
    let digest = format!("sha256:{}", "a".repeat(64));
    let (by_digest, tag_and_digest) = (format!("alpine@{digest}"), format!("pinned:1@{digest}"));
    for (image, status) in [
        ("alpine", 200),
        ("alpine:3", 200),
        (&by_digest, 200),
        ("docker.io/library/alpine:3", 200),
        ("ghcr.io/acme/x/y:1", 200),
        ("pinned:1", 200),
        // A registry of that name, and its port.
        ("alpine:5000/evil/x", 403),
        ("alpine:5000/evil/x:tag", 403),
        ("evil.example/alpine:3", 403),
        ("evil/alpine:3", 403),
        ("ghcr.io.evil.example/acme/x", 403),
        // The tag beside a digest does not count.
        (&tag_and_digest, 403),
        // An id does not say which repository the image comes from.
        (&digest, 403),
        (&"a".repeat(64), 403),
    ] {
        let answer = server.post("/run?dry_run=1", &json!({"image": image}));
        assert_eq!(answer.status, status, "{image}");
    }
    server.stop();
}

#[test]
fn a_name_that_is_allowed_is_not_taken_for_the_start_of_an_id() {
    let image = super::support::IMAGE;
    let id = super::support::docker(&["image", "inspect", "--format", "{{.Id}}", image]);
    let digits = id.strip_prefix("sha256:").unwrap();
    let server = Server::with(&[("RUNNER_ALLOWED_IMAGES", "library/*")]);
    let request = json!({"image": &digits[..12], "pull_policy": "never", "command": "true"});
    let answer = server.post("/run", &request);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (404, &json!("image_not_found"))
    );
    server.stop();
}

#[test]
fn a_watched_run_for_which_there_is_no_thread_is_a_503() {
    let server = Server::of_its_own_user();
    let request = super::run::shell("true", json!({})).to_string();
    let fields = [("Accept", "text/event-stream")];
    let watched = Request::new("POST", "/run").fields(&fields).body(&request);
    let threads = || server.status_number("Threads");
    let mut statuses = Vec::new();
    // Its connection gets a thread, and then something that it needs does not.
    for spare in 0..6 {
        server.limit_threads_of_its_user(Some(threads() + spare));
        let answer = server.ask(&watched);
        server.limit_threads_of_its_user(None);
        assert!(!answer.text().contains("502"), "{}", answer.text());
        statuses.push(answer.status);
        server.await_nothing_left();
    }
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(statuses.last(), Some(&200));
    server.stop();
}
