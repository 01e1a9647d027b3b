//! Passwords: refused, never repeated, never kept, never lent to another caller.

use super::version_of;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::{Directory, Server, docker, read_answer};
use serde_json::{Value, json};

#[test]
fn wrong_and_missing_passwords_are_a_403_with_the_registrys_message() {
    let registry = Registry::start();
    registry.push("team/secret:1", "secret");
    let server = Server::start();
    let wrong = |username: &str, password: &str| json!({"auth_config": {"username": username, "password": password, "serveraddress": registry.address()}});
    for (more, words) in [
        (json!({}), "no basic auth credentials"),
        (wrong(USER, "Wrong0815"), "unauthorized"),
        (wrong("mallory", PASSWORD), "unauthorized"),
        (wrong("", ""), "no basic auth credentials"),
    ] {
        for policy in ["always", "missing"] {
            let mut request = version_of(&registry, "team/secret:1", more.clone());
            request["pull_policy"] = json!(policy);
            let answer = server.post("/run", &request);
            let (status, code, detail) = answer.problem();
            assert_eq!(
                (status, code.as_str()),
                (403, "registry_denied"),
                "{more}: {detail}"
            );
            assert!(detail.contains(words), "{more}: {detail}");
        }
    }
    assert!(!registry.engine_has("team/secret:1"));
    assert_eq!(server.leftovers(), Vec::<String>::new());
    server.stop();
}

#[test]
fn a_password_appears_in_no_answer_and_no_log() {
    let registry = Registry::start();
    registry.push("team/quiet:1", "quiet");
    let directory = Directory::new("log");
    let log = directory.file("stderr");
    let server = Server::with_log(&[("RUST_LOG", "trace")], log.as_ref());
    let wrong = "Tr0ub4dor&3 is wrong";
    let right = server.post(
        "/run",
        &version_of(
            &registry,
            "team/quiet:1",
            json!({"auth_config": registry.credentials()}),
        ),
    );
    assert_eq!(right.status, 200);
    let auth = json!({"username": USER, "password": wrong, "serveraddress": registry.address()});
    let refused = server.post(
        "/run",
        &version_of(&registry, "team/quiet:1", json!({"auth_config": auth})),
    );
    assert_eq!(refused.status, 403);
    // A request that fails to parse must not be quoted either.
    let unclear = json!({"username": USER, "password": wrong, "pasword": wrong});
    let invalid = server.post(
        "/run",
        &version_of(&registry, "team/quiet:1", json!({"auth_config": unclear})),
    );
    assert_eq!(invalid.status, 422);
    server.stop();
    let mut told = std::fs::read(&log).unwrap();
    assert!(!told.is_empty(), "the log is captured");
    for answer in [right, refused, invalid] {
        told.extend(answer.body);
    }
    let told = String::from_utf8_lossy(&told);
    for password in [PASSWORD, wrong] {
        assert_not_told(password, &told);
    }
}

/// Fails if the text contains the secret as it is, in base64, or in a hex dump's text column.
fn assert_not_told(secret: &str, told: &str) {
    let told = format!("{told}\n{}", last_columns(told));
    for form in forms(secret) {
        assert!(!told.contains(&form), "{form} shows");
    }
}

/// The last columns of all lines, joined: in a hex dump a secret may be spread over several lines.
fn last_columns(log: &str) -> String {
    log.lines()
        .filter_map(|line| line.rsplit("  ").next())
        .collect()
}

/// A secret as it is, and as it appears in base64 at each of the three alignments.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    let mut forms = vec![secret.to_owned()];
    for offset in 0..3 {
        let shifted = format!("{}{secret}", "x".repeat(offset));
        let inner = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(shifted);
        // The first and last characters also depend on the bytes around the secret.
        forms.push(inner[4..inner.len() - 4].to_owned());
    }
    forms
}

#[test]
fn the_credentials_of_another_caller_are_not_used() {
    let registry = Registry::start();
    registry.push("team/private:1", "private");
    let server = Server::start();
    let with = json!({"auth_config": registry.credentials()});
    server.run(version_of(&registry, "team/private:1", with.clone()));
    assert!(registry.engine_has("team/private:1"));
    let without = version_of(&registry, "team/private:1", json!({}));
    let (status, code, detail) = server.post("/run", &without).problem();
    assert_eq!(
        (status, code.as_str()),
        (403, "registry_denied"),
        "{detail}"
    );

    // Nor while another caller's pull of the same image is in progress.
    registry.freeze();
    let mut entitled = server.begin_run(&version_of(&registry, "team/private:1", with));
    let mut stranger = server.begin_run(&without);
    registry.unfreeze();
    let entitled = read_answer(&mut entitled).unwrap();
    assert_eq!(entitled.json()["stdout"], "private\n");
    let stranger = read_answer(&mut stranger).unwrap();
    assert_eq!(stranger.status, 403, "{}", stranger.json());
    server.stop();
}
