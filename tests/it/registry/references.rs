//! Tags, digests, pull policies, and images or registries that are not there.

use super::version_of;
use crate::support::Server;
use crate::support::registry::Registry;
use serde_json::json;

#[test]
fn the_right_password_pulls_and_the_answer_names_the_digest() {
    let registry = Registry::start();
    let digest = registry.push("team/app:1", "one");
    let server = Server::start();
    let auth = json!({"auth_config": registry.credentials()});
    let result = server.run(version_of(&registry, "team/app:1", auth.clone()));
    assert_eq!(result["stdout"], "one\n");
    assert_eq!(result["image_digest"], json!(digest));
    let by_digest = format!("team/app@{digest}");
    let result = server.run(version_of(&registry, &by_digest, auth));
    assert_eq!(result["stdout"], "one\n");
    assert_eq!(result["image_digest"], json!(digest));
    server.stop();
}

#[test]
fn a_digest_reference_needs_no_tag_and_outlives_a_moved_one() {
    let registry = Registry::start();
    let old = registry.push("team/pinned:1", "old");
    let new = registry.push("team/pinned:1", "new");
    assert_ne!(old, new);
    let server = Server::start();
    for (reference, version) in [
        (format!("team/pinned@{old}"), "old\n"),
        // A tag beside a digest is ignored.
        (format!("team/pinned:1@{old}"), "old\n"),
        (format!("team/pinned@{new}"), "new\n"),
    ] {
        let auth = json!({"auth_config": registry.credentials()});
        let result = server.run(version_of(&registry, &reference, auth));
        assert_eq!(result["stdout"], version, "{reference}");
        let digest = reference.split_once('@').unwrap().1;
        assert_eq!(result["image_digest"], digest, "{reference}");
    }
    server.stop();
}

#[test]
fn an_image_that_the_registry_does_not_have_is_a_404() {
    let registry = Registry::start();
    let digest = registry.push("team/there:1", "one");
    let server = Server::start();
    let absent = format!("team/there@sha256:{}", "0".repeat(64));
    for name in ["team/there:2", "team/nowhere:1", &absent] {
        let auth = json!({"auth_config": registry.credentials()});
        let answer = server.post("/run", &version_of(&registry, name, auth));
        let (status, code, detail) = answer.problem();
        assert_eq!(
            (status, code.as_str()),
            (404, "image_not_found"),
            "{name}: {detail}"
        );
    }
    assert!(!absent.contains(&digest));
    server.stop();
}

#[test]
fn a_registry_that_is_down_is_a_502_and_an_image_that_is_there_still_runs() {
    let mut registry = Registry::start();
    registry.push("team/app:1", "one");
    let server = Server::start();
    let auth = json!({"auth_config": registry.credentials()});
    registry.stop();
    for policy in ["always", "missing"] {
        let mut request = version_of(&registry, "team/app:1", auth.clone());
        request["pull_policy"] = json!(policy);
        let (status, code, detail) = server.post("/run", &request).problem();
        assert_eq!(
            (status, code.as_str()),
            (502, "registry_unreachable"),
            "{detail}"
        );
    }
    registry.resume();
    server.run(version_of(&registry, "team/app:1", auth.clone()));
    registry.stop();
    let mut request = version_of(&registry, "team/app:1", auth);
    request["pull_policy"] = json!("missing");
    assert_eq!(server.run(request)["stdout"], "one\n");
    server.stop();
}

#[test]
fn always_sees_a_moved_tag_and_missing_and_never_do_not() {
    let registry = Registry::start();
    let old = registry.push("team/moving:1", "old");
    let server = Server::start();
    let run = |policy: &str| {
        let more = json!({"pull_policy": policy, "auth_config": registry.credentials()});
        let result = server.run(version_of(&registry, "team/moving:1", more));
        (result["stdout"].clone(), result["image_digest"].clone())
    };
    assert_eq!(run("missing"), (json!("old\n"), json!(old)), "it is pulled");
    let new = registry.push("team/moving:1", "new");
    for policy in ["missing", "never"] {
        assert_eq!(run(policy), (json!("old\n"), json!(old)), "{policy}");
    }
    assert_eq!(run("always"), (json!("new\n"), json!(new)));
    assert_eq!(run("never"), (json!("new\n"), json!(new)), "from now on");
    server.stop();
}
