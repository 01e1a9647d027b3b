//! An engine that speaks no API below 1.44, as Engine 29.

use crate::run::shell;
use crate::support::{Server, VersionProxy};
use serde_json::json;

#[test]
fn an_engine_that_refuses_old_api_versions_is_spoken_to_in_a_newer_one() {
    let engine = VersionProxy::start();
    let server = Server::with(&[("DOCKER_HOST", &engine.docker_host())]);
    let result = server.run(shell(
        "cat; cat /in/a > /out/b",
        json!({"stdin": "hello", "volumes": {
            "/in:ro": {"type": "directory", "files": {"a": "A"}},
            "/out": {"type": "directory", "response": true},
        }}),
    ));
    assert_eq!(result["stdout"], "hello", "{result}");
    assert!(result["volumes"]["/out"]["content"].is_string(), "{result}");
    let health = server.get("/health").json();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(engine.asked(), ["1.47"]);
    server.stop();
}

#[test]
fn a_pinned_version_that_the_engine_refuses_is_named() {
    let engine = VersionProxy::start();
    let server = Server::with(&[
        ("DOCKER_HOST", &engine.docker_host()),
        ("DOCKER_API_VERSION", "1.41"),
    ]);
    let answer = server.post("/run", &shell("true", json!({})));
    let (status, _, detail) = answer.problem();
    assert!(status == 502 || status == 503, "{status} {detail}");
    assert!(
        detail.contains("1.44") && detail.contains("DOCKER_API_VERSION"),
        "{detail}"
    );
    server.stop();
}
