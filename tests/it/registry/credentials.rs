//! Passwords: refused, never repeated, never kept, never lent to another caller.

use super::version_of;
use crate::async_runs::{finished, forget_all, known, submit};
use crate::run::shell;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::{Directory, EventStream, Request, Server, docker, read_answer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
            // The containerd image store quotes the status line, and Podman the error's code, whatever is wrong.
            let detail = detail.to_lowercase();
            let said = [words, "401 unauthorized", "authentication required"];
            assert!(
                said.iter().any(|words| detail.contains(words)),
                "{more}: {detail}"
            );
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

#[test]
fn a_restart_forgets_passwords_and_the_error_of_a_run_that_needs_one_says_so() {
    let registry = Registry::start();
    for name in ["team/short:1", "team/long:1", "team/there:1"] {
        registry.push(name, name);
    }
    let directory = Directory::new("log");
    let logs = ["before", "after"].map(|name| directory.path().join(name));
    let settings = [
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUST_LOG", "trace,ureq_proto=debug"),
    ];
    let server = Server::with_log(&settings, &logs[0]);
    let with = |policy: &str, text: &str| {
        json!({
            "auth_config": registry.credentials(), "pull_policy": policy,
            "volumes": {"/text": {"type": "file", "text": text}},
        })
    };
    server.run(version_of(&registry, "team/there:1", with("always", "")));
    let endless = shell("echo begun; sleep 600", json!({"timeout_secs": 1000}));
    let blocker = submit(&server, &endless);
    EventStream::new(server.begin(&Request::new("GET", &format!("{blocker}/events"))))
        .until("stdout");
    // A long request is kept in another place than a short one.
    let long = "#".repeat(100_000);
    let [short, long, there] = [
        ("team/short:1", with("always", "")),
        ("team/long:1", with("missing", &long)),
        ("team/there:1", with("missing", "")),
    ]
    .map(|(name, more)| submit(&server, &version_of(&registry, name, more)));
    let instance = server.kill();

    let kept = kept_by_the_engine(&instance);
    for name in ["team/short:1", "team/long:1", "team/there:1"] {
        assert!(kept.contains(name), "the request for {name} is kept");
    }
    assert_not_told(PASSWORD, &kept);

    let heir = Server::named_with_log(&instance, &settings, &logs[1]);
    for path in [&short, &long, &there] {
        assert_eq!(known(&heir, path)["state"], "queued");
    }
    assert_eq!(heir.request("DELETE", &blocker, "").status, 202);
    for (path, name) in [(&short, "team/short:1"), (&long, "team/long:1")] {
        let state = finished(&heir, path);
        let error = &state["error"];
        assert_eq!(
            (&state["result"], &error["status"], &error["code"]),
            (&Value::Null, &json!(403), &json!("registry_denied")),
            "{name}: {state}"
        );
        let detail = error["detail"].as_str().unwrap();
        for words in ["no basic auth credentials", "not kept over a restart"] {
            assert!(detail.contains(words), "{name}: {detail}");
        }
        assert!(!registry.engine_has(name), "{name} was not pulled");
    }
    let state = finished(&heir, &there);
    assert_eq!(state["result"]["stdout"], "team/there:1\n", "{state}");
    await_outcomes_only(&heir, 4);
    assert_not_told(PASSWORD, &kept_by_the_engine(&instance));
    forget_all(&heir);
    heir.stop();
    for log in &logs {
        let told = std::fs::read(log).unwrap();
        assert!(!told.is_empty(), "the log is captured");
        assert_not_told(PASSWORD, &String::from_utf8_lossy(&told));
    }
}

/// Waits until the server has nothing in its engine but the marks of this many runs, their records, and the container by which it leads the others of
/// its name as long as it holds adopted runs.
fn await_outcomes_only(server: &Server, outcomes: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut left = server.leftovers();
        left.retain(|line| !line.contains("-lead ") && !line.contains("-records"));
        if left.len() <= outcomes {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:?}");
    }
}

/// Everything that the engine keeps for an instance: the inspection of its containers and the content of their volumes.
fn kept_by_the_engine(instance: &str) -> String {
    let filter = format!("label=oneoff.instance={instance}");
    let containers = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    let mut kept = String::new();
    for container in containers.lines() {
        let told = docker(&["inspect", container]);
        let inspected: Value = serde_json::from_str(&told).unwrap();
        for mount in inspected[0]["Mounts"].as_array().unwrap() {
            let place = mount["Destination"].as_str().unwrap();
            kept += &docker(&["cp", &format!("{container}:{place}"), "-"]);
        }
        kept += &told;
    }
    kept
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
