//! What answers say: that they name the caller's field, the variable at fault, the path that the caller knows.

use super::async_runs::forget_all;
use super::run::shell;
use super::support::{Directory, IMAGE, Request, Server};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn a_wrong_number_is_described_by_what_is_wrong_with_it() {
    let server = Server::start();
    let detail = |field: &str, value: Value| {
        let answer = server.post("/run?dry_run=1", &json!({"image": IMAGE, field: value}));
        assert_eq!(answer.status, 422);
        answer.problem().2
    };
    for (field, value, words) in [
        (
            "pids_limit",
            json!(-1),
            "expected a non-negative integer, got a negative integer",
        ),
        ("pids_limit", json!(1.5), "got a fractional number"),
        (
            "max_output_bytes",
            json!(-1),
            "or a string such as \"512m\", got a negative integer",
        ),
        (
            "memory",
            json!(u64::MAX),
            "expected at most 9223372036854775807 bytes",
        ),
    ] {
        let detail = detail(field, value);
        assert!(detail.contains(words), "{detail}");
    }
    let lots = detail("memory", json!("lots"));
    assert!(!lots.contains("got"), "{lots}");
    let whole = json!({"image": IMAGE, "pids_limit": 10.0});
    assert_eq!(server.post("/run?dry_run=1", &whole).status, 200);
    server.stop();
}

#[test]
fn read_volume_names_its_own_argument() {
    let server = Server::start();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "read_volume", "arguments": {"name": "../etc"}}});
    let answer = server.post("/mcp", &call).json();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("- arguments.name: "), "{text}");
    assert!(!text.contains("path"), "{text}");
    server.stop();
}

/// Starts the server with a value of `DOCKER_API_VERSION` that it must refuse. Returns what it says.
fn refused_version(version: &str) -> String {
    let directory = Directory::new("texts");
    let output = Command::new(crate::support::program())
        .env("PORT", "0")
        .env("DOCKER_API_VERSION", version)
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{version}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_unusable_api_version_is_named_and_never_called_an_unreachable_engine() {
    for version in ["nonsense", "1.10", "9.99"] {
        let text = refused_version(version);
        assert!(text.contains("DOCKER_API_VERSION"), "{text}");
        assert!(!text.contains("reached"), "{text}");
    }
    // Only the engine knows the newest version that it speaks: Debian 12's and 13's have less than this one.
    let docker_host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let server = Server::with(&[
        ("DOCKER_API_VERSION", "1.47"),
        ("DOCKER_HOST", &docker_host),
    ]);
    let run = server.post("/run", &json!({"image": IMAGE, "pull_policy": "never"}));
    let health = server.get("/health");
    for (answer, status) in [(run, 502), (health, 503)] {
        let (found, code, detail) = answer.problem();
        assert_eq!((found, code.as_str()), (status, "engine_error"));
        assert!(
            detail.contains("DOCKER_API_VERSION") && detail.contains("too new"),
            "{detail}"
        );
    }
    server.kill();
}

#[test]
fn an_ipv6_address_may_be_in_brackets_to_listen_on_and_to_be_checked() {
    for host in ["[::1]", "::1"] {
        let server = Server::with(&[("HOST", host)]);
        assert!(server.address.starts_with("[::1]:"), "{}", server.address);
        assert_eq!(server.get("/health").status, 200);
        let (_, port) = server.address.rsplit_once(':').unwrap();
        let directory = Directory::new("texts");
        let check = Command::new(crate::support::program())
            .arg("healthcheck")
            .envs([("HOST", host), ("PORT", port)])
            .current_dir(directory.path())
            .status()
            .unwrap();
        assert!(check.success(), "{host}");
        server.stop();
    }
}

#[test]
fn what_was_left_out_of_a_directory_is_named_by_its_path_there() {
    let server = Server::start();
    let volume = json!({"type": "directory", "response": true});
    let volumes = json!({"/first": volume, "/second": volume});
    let command = "mkfifo /first/p; mkdir /second/x; mkfifo /second/x/p";
    let result = server.run(shell(command, json!({"volumes": volumes})));
    assert_eq!(
        result["warnings"],
        json!([
            "/first: left out `p` is a fifo",
            "/second: left out `x/p` is a fifo"
        ])
    );
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_idempotency_key_recognises_another_spelling_of_its_request() {
    let server = Server::start();
    let submit = |key: &str, more: &str| {
        let body = format!(
            r#"{{"image": "{IMAGE}", "pull_policy": "never", "network": "none", "command": ["true"]{more}}}"#
        );
        let fields = [("Idempotency-Key", key), ("Prefer", "respond-async")];
        server.ask(&Request::new("POST", "/run").fields(&fields).body(&body))
    };
    for (key, first, second) in [
        (
            "float",
            r#", "timeout_secs": 10"#,
            r#", "timeout_secs": 10.0"#,
        ),
        (
            "exponent",
            r#", "timeout_secs": 10"#,
            r#", "timeout_secs": 1e1"#,
        ),
        ("null", "", r#", "hostname": null"#),
        (
            "volume",
            r#", "volumes": {"/d": {"type": "directory"}}"#,
            r#", "volumes": {"/d": {"type": "directory", "content": null}}"#,
        ),
    ] {
        let (first, second) = (submit(key, first), submit(key, second));
        assert_eq!((first.status, second.status), (202, 202), "{key}");
        assert_eq!(first.json()["id"], second.json()["id"], "{key}");
        assert_eq!(submit(key, r#", "timeout_secs": 11"#).status, 422, "{key}");
    }
    let variable = |value: &str| format!(r#", "env_vars": {{"A": {value}}}"#);
    assert_eq!(submit("variable", &variable("1")).status, 202);
    for other in ["1.0", "null"] {
        assert_eq!(submit("variable", &variable(other)).status, 422, "{other}");
    }
    forget_all(&server);
    server.stop();
}
