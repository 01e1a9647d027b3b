//! Examples of request and response bodies. A test sends every request.

use serde_json::{Value, json};

/// Base64 of a tar.gz that holds `./test.txt` with `Hello, World!`.
const DIRECTORY: &str = "H4sIAAAAAAACA+3SQQrCMBBG4Vl7inEvaZQkvYI3cC3YXSCQTsHjG7osukxB+r7NP/s3bpDufDPGuG6z3S938uEmGmUHy2zPqioH5QabZnP2tr79Uwi/+1/Tpn/7llHU07+7+5Rzueij1Pw6nwQAAAAAAAAAAAAAAADAH/kAvpZOUAAoAAA=";

/// Example of a run's id.
pub(super) const RUN_ID: &str = "5f2b6c0d9e8a4f7bb1c3d5e7f9a0b2c4";

/// Event streams of `POST /run` and `GET /runs/{id}/events`, by media type.
pub(super) const STREAMS: [(&str, &str); 2] = [
    (
        "text/event-stream",
        "event: stdout\ndata: {\"data\":\"Hello, World!\\n\"}\n\n",
    ),
    (
        "application/x-ndjson",
        "{\"event\":\"stdout\",\"data\":\"Hello, World!\\n\"}\n",
    ),
];

/// Responses with the state of an asynchronous run.
pub(super) fn run_states() -> Value {
    json!({"running": {"value": run_state()}})
}

/// Responses of `GET /runs`.
pub(super) fn run_list() -> Value {
    json!({"runs": {"value": {"runs": [run_state()], "complete": true}}})
}

fn run_state() -> Value {
    json!({
        "id": RUN_ID, "kind": "async", "state": "running", "image": "alpine:latest", "command": ["echo", "Hello, World!"],
        "output_encoding": "utf8", "status": null, "reason": null, "exit_code": null, "timings": null, "usage": null, "created_at": "2026-01-01T12:00:00.000Z",
        "started_at": "2026-01-01T12:00:00.250Z", "finished_at": null, "result": null, "error": null,
    })
}

/// The stream of `GET /events`.
pub(super) const EVENTS: &str =
    "event: snapshot\ndata: {}\n\nevent: complete\ndata: {\"runs\":0,\"more\":false}\n\n";

/// Responses of `GET /images`.
pub(super) fn images() -> Value {
    let image = json!({
        "id": "sha256:9b2a5c8f0c1de1a7a6f3f0d3f2b5f8f4f3f9a1f1f6c3e6e1d5b1a2c3d4e5f607", "tags": ["alpine:latest"],
        "digests": [], "size_bytes": 7_800_000, "created": 1_767_225_600,
    });
    json!({"images": {"value": {"images": [image]}}})
}

/// Responses of `GET /metrics`.
pub(super) const METRICS: &str = "\
# HELP oneoff_slots Runs that may go on at once.
# TYPE oneoff_slots gauge
oneoff_slots 4
";

/// Requests of `POST /run`.
pub(super) fn run_requests() -> Value {
    json!({
        "hello": {
            "summary": "Print a line",
            "value": {
                "image": "alpine:latest",
                "command": ["echo", "Hello, World!"],
                "env_vars": {"MY_VAR": "value"},
                "pull_policy": "missing",
            },
        },
        "script": {
            "summary": "Run a script, and get a directory back",
            "value": {
                "image": "alpine:latest",
                "command": "/test.sh",
                "pull_policy": "missing",
                "volumes": {
                    "/test.sh:ro": {
                        "type": "file",
                        "mode": "0755",
                        "text": "#!/bin/sh\necho 'Hello, World!' > /app/data/test.txt\n",
                    },
                    "/app/data": {"type": "directory", "response": true},
                },
            },
        },
        "limits": {
            "summary": "Feed standard input, under limits and without a network",
            "value": {
                "image": "alpine:latest",
                "command": ["wc", "-c"],
                "pull_policy": "missing",
                "stdin": "twelve bytes",
                "timeout_secs": 5,
                "network": "none",
                "memory": "64m",
                "cpus": 0.5,
                "pids_limit": 16,
                "read_only": true,
                "tmpfs": {"/tmp": "size=8m"},
            },
        },
    })
}

/// Responses of `POST /run`.
pub(super) fn run_results() -> Value {
    let timings = json!({
        "queue_ms": 0, "pull_ms": 0, "create_ms": 7, "stage_ms": 48, "start_ms": 114, "run_ms": 20, "collect_ms": 49,
    });
    let result = |stdout: &str, volumes: Value| {
        json!({
            "id": RUN_ID, "status": "success", "exit_code": 0, "reason": "exited",
            "stdout": stdout, "stderr": "", "volumes": volumes, "execution_time": 0.244,
            "image_digest": "sha256:9b2a5c8f0c1de1a7a6f3f0d3f2b5f8f4f3f9a1f1f6c3e6e1d5b1a2c3d4e5f607",
            "timings": timings,
        })
    };
    json!({
        "hello": {"summary": "It printed a line", "value": result("Hello, World!\n", json!({}))},
        "script": {
            "summary": "It left a directory",
            "value": result("", json!({"/app/data": {"type": "directory", "content": DIRECTORY}})),
        },
        "plan": {"summary": "It would print a line (a dry run)", "value": run_plan()},
    })
}

fn run_plan() -> Value {
    json!({
        "dry_run": true, "image": "alpine:latest", "pull_policy": "missing", "has_credentials": false, "platform": null,
        "timeout_secs": 600.0, "stdin_bytes": null, "max_output_bytes": 10485760, "output_encoding": "utf8",
        "volumes": [],
        "container": {
            "Image": "alpine:latest", "Cmd": ["echo", "Hello, World!"], "Env": ["MY_VAR=<redacted>"],
            "HostConfig": {"NetworkMode": "bridge", "Memory": 2147483648_u64, "MemorySwap": 2147483648_u64},
        },
    })
}

/// Responses of `GET /policy`.
pub(super) fn policy() -> Value {
    json!({"defaults": {"value": {
        "defaults": {
            "timeout_secs": 600.0, "memory_bytes": 2147483648_u64, "cpus": null, "pids_limit": 1024,
            "output_bytes": 10485760,
        },
        "maxima": {
            "timeout_secs": 3600.0, "memory_bytes": null, "cpus": null, "pids_limit": null, "output_bytes": 67108864,
            "body_bytes": 536870912, "unpacked_bytes": 2147483648_u64, "collect_bytes": 536870912,
            "concurrent_runs": 4, "queue_length": 256,
        },
        "allowed": {
            "images": ["*"], "volumes": [], "volume_types": [], "host_paths": [], "networks": ["bridge", "none"], "runtimes": [],
        },
    }}})
}

/// Requests of `POST /volume`.
pub(super) fn volume_requests() -> Value {
    json!({
        "files": {
            "summary": "From texts",
            "value": {"name": "inputs", "files": {"test.txt": "Hello, World!\n"}},
        },
        "archive": {
            "summary": "From a tar.gz",
            "value": {"name": "inputs", "content": DIRECTORY, "labels": {"purpose": "example"}},
        },
    })
}

/// Responses of `POST /volume`.
pub(super) fn volume_created() -> Value {
    json!({"created": {"value": {"status": "success", "detail": "volume inputs created and filled"}}})
}

/// Responses of `GET /volume/{name}`.
pub(super) fn volume_content() -> Value {
    json!({"content": {"value": {"name": "inputs", "type": "directory", "content": DIRECTORY}}})
}

/// Responses of `GET /health`.
pub(super) fn health() -> Value {
    json!({"ok": {"value": {"status": "ok", "docker_version": "28.2.2", "api_version": "1.50"}}})
}

/// Responses of `GET /openapi.json`.
pub(super) fn openapi() -> Value {
    let head = json!({"title": "oneoff-docker-runner", "version": env!("CARGO_PKG_VERSION")});
    json!({"document": {"value": {"openapi": "3.1.0", "info": head, "paths": {}}}})
}
