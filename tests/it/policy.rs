//! `GET /policy` and `POST /run?dry_run=1`.

use super::run::shell;
use super::support::{IMAGE, Server, docker};
use serde_json::{Value, json};

#[test]
fn the_policy_reports_the_limits_that_apply() {
    let server = Server::with(&[
        ("RUNNER_MAX_TIMEOUT_SECS", "30"),
        ("RUNNER_MAX_MEMORY", "256m"),
        ("RUNNER_MAX_CPUS", "0.5"),
        ("RUNNER_MAX_PIDS_LIMIT", "64"),
        ("RUNNER_MAX_BODY_BYTES", "1m"),
        ("RUNNER_MAX_CONCURRENT_RUNS", "3"),
        ("RUNNER_ALLOWED_IMAGES", "oneoff-test:*, alpine@sha256:*"),
        ("RUNNER_ALLOWED_NETWORKS", "none"),
        ("RUNNER_ALLOWED_HOST_PATHS", "/srv/data"),
        ("RUNNER_ALLOWED_RUNTIMES", "runsc"),
        ("RUNNER_ALLOWED_VOLUMES", "cache-*"),
        ("RUNNER_ALLOWED_VOLUME_TYPES", "nfs"),
    ]);
    let policy = server.get("/policy").json();
    assert_eq!(
        policy["defaults"],
        json!({"timeout_secs": 30.0, "memory_bytes": 256 << 20, "cpus": 0.5, "pids_limit": 64, "output_bytes": 10 << 20})
    );
    assert_eq!(
        policy["maxima"],
        json!({"timeout_secs": 30.0, "memory_bytes": 256 << 20, "cpus": 0.5, "pids_limit": 64, "output_bytes": 64 << 20,
            "body_bytes": 1 << 20, "unpacked_bytes": 2_u64 << 30, "collect_bytes": 512 << 20, "concurrent_runs": 3,
            "queue_length": 256})
    );
    assert_eq!(
        policy["allowed"],
        json!({"images": ["oneoff-test:*", "alpine@sha256:*"], "volumes": ["cache-*"], "volume_types": ["nfs"], "host_paths": ["/srv/data"],
            "networks": ["none"], "runtimes": ["runsc"]})
    );
    let dry = |request: Value| server.post("/run?dry_run=1", &request);
    for (more, status, code) in [
        (json!({}), 200, Value::Null),
        (json!({"timeout_secs": 31}), 422, json!("invalid_request")),
        (json!({"memory": "257m"}), 422, json!("invalid_request")),
        (json!({"cpus": 0.6}), 422, json!("invalid_request")),
        (json!({"pids_limit": 65}), 422, json!("invalid_request")),
        (
            json!({"image": "alpine:latest"}),
            403,
            json!("image_not_allowed"),
        ),
        (
            json!({"image": format!("alpine@sha256:{}", "0".repeat(64))}),
            200,
            Value::Null,
        ),
        (
            json!({"network": "bridge"}),
            403,
            json!("network_not_allowed"),
        ),
        (
            json!({"runtime": "runc"}),
            403,
            json!("runtime_not_allowed"),
        ),
        (json!({"runtime": "runsc"}), 200, Value::Null),
        (
            json!({"volumes": {"/v": {"type": "volume", "name": "other"}}}),
            403,
            json!("volume_not_allowed"),
        ),
        (
            json!({"volumes": {"/v": {"type": "host", "host_path": "/srv/data/x"}}}),
            200,
            Value::Null,
        ),
        (
            json!({"volumes": {"/v": {"type": "host", "host_path": "/srv"}}}),
            403,
            json!("host_path_not_allowed"),
        ),
    ] {
        let answer = dry(shell("true", more.clone()));
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &code),
            "{more}"
        );
    }
    server.stop();
}

#[test]
fn a_dry_run_returns_the_plan_without_secrets_and_creates_nothing() {
    let server = Server::start();
    let before = server.get("/metrics").body;
    let answer = server.post(
        "/run?dry_run=1",
        &json!({
            "image": IMAGE, "command": "echo 'two words'", "env_vars": {"TOKEN": "hunter2", "GONE": null, "N": 5},
            "auth_config": {"username": "hunter2", "password": "hunter2"}, "stdin": "hunter2", "memory": "64m",
            "volumes": {
                "/in.txt:ro": {"type": "file", "text": "hunter2"},
                "/out": {"type": "directory", "response": true},
            },
        }),
    );
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let plan = answer.json();
    assert_eq!(
        (&plan["dry_run"], &plan["has_credentials"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&plan["pull_policy"], &plan["stdin_bytes"]),
        (&json!("always"), &json!(7))
    );
    assert_eq!(plan["timeout_secs"], 600.0);
    assert_eq!(
        plan["volumes"],
        json!([
            {"path": "/in.txt", "type": "file", "read_only": true, "content_bytes": 7, "response": false},
            {"path": "/out", "type": "directory", "read_only": false, "content_bytes": 0, "response": true},
        ])
    );
    let container = &plan["container"];
    assert_eq!(container["Image"], IMAGE);
    assert_eq!(container["Cmd"], json!(["echo", "two words"]));
    assert_eq!(
        container["Env"],
        json!(["GONE", "N=<redacted>", "TOKEN=<redacted>"])
    );
    let host = &container["HostConfig"];
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"]),
        (&json!(64 << 20), &json!(64 << 20))
    );
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    let depends = plan["depends_on_engine"].as_array().unwrap();
    assert_eq!(depends.len(), 1, "{depends:?}");
    let words = depends[0].as_str().unwrap();
    assert!(words.contains("VolumeOptions.Subpath"), "{words}");
    assert_eq!(host["Mounts"][0]["Source"], "<stage>");
    assert_eq!(host["Mounts"][0]["ReadOnly"], true);
    assert_eq!(host["Mounts"][1]["Source"], "<stage>/0");
    assert_eq!(host["Mounts"][1]["ReadOnly"], true);
    assert_eq!(container["Labels"]["oneoff.instance"], server.instance);
    // The engine was not called, and no run was counted.
    assert_eq!(server.leftovers(), Vec::<String>::new());
    let runs = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let counted = |line: &&str| line.starts_with("oneoff_run");
        text.lines().filter(counted).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(runs(&server.get("/metrics").body), runs(&before));
    server.stop();
}

#[test]
fn a_dry_run_shows_what_a_run_asks_of_the_engine() {
    let server = Server::start();
    let request = shell(
        "sleep 600",
        json!({"timeout_secs": 100, "env_vars": {"A": "b"}, "cpus": 0.5, "init": false,
        "cap_drop": ["NET_RAW"], "tmpfs": {"/scratch": "size=1m"}, "user": "1000:1000", "hostname": "box"}),
    );
    let plan = server.post("/run?dry_run=true", &request).json();
    assert_eq!(plan["depends_on_engine"], json!([]));
    let running = server.begin_run(&request);
    let made: Value = serde_json::from_str(&docker(&["inspect", &server.await_running()])).unwrap();
    for field in ["Cmd", "User", "Hostname"] {
        assert_eq!(
            plan["container"][field], made[0]["Config"][field],
            "{field}"
        );
    }
    for field in [
        "Memory",
        "MemorySwap",
        "NanoCpus",
        "PidsLimit",
        "CapDrop",
        "SecurityOpt",
        "Tmpfs",
        "NetworkMode",
        "Init",
    ] {
        let planned = &plan["container"]["HostConfig"][field];
        assert_eq!(planned, &made[0]["HostConfig"][field], "{field}");
    }
    drop(running);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_misspelt_dry_run_runs_nothing() {
    let server = Server::start();
    for query in [
        "dry_run=yes",
        "dry_run=",
        "dryrun=1",
        "dry-run=1",
        "DRY_RUN=1",
    ] {
        let answer = server.post(&format!("/run?{query}"), &shell("true", json!({})));
        assert_eq!(answer.status, 422, "{query}");
        assert_eq!(answer.json()["errors"][0]["loc"][0], "query");
    }
    let result = server
        .post("/run?dry_run=0", &shell("echo ran", json!({})))
        .json();
    assert_eq!(result["stdout"], "ran\n");
    server.stop();
}

#[test]
fn every_example_request_passes_a_dry_run() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    let examples = |path: &str| {
        let body = &document["paths"][path]["post"]["requestBody"];
        let all = body["content"]["application/json"]["examples"].as_object();
        all.unwrap().clone()
    };
    for (name, example) in examples("/run") {
        let answer = server.post("/run?dry_run=1", &example["value"]);
        assert_eq!(answer.status, 200, "{name}");
    }
    for (name, example) in examples("/volume") {
        let volume = format!("example-{}-{name}", server.instance);
        let mut request = example["value"].clone();
        request["name"] = json!(volume);
        assert_eq!(server.post("/volume", &request).status, 200, "{name}");
        let path = format!("/volume/{volume}");
        assert_eq!(server.get(&path).status, 200, "{name}");
        assert_eq!(server.request("DELETE", &path, "").status, 204, "{name}");
    }
    server.stop();
}
