//! `/openapi.json` tested by schemathesis (<https://schemathesis.readthedocs.io>) against the live server and a real
//! engine: examples, edge cases, generated requests, and sequences of them.

use super::async_runs::forget_all_with;
use super::support::{IMAGE, Request, Server, docker};
use std::path::Path;
use std::process::Command;

const TOKEN: (&str, &str) = ("Authorization", "Bearer s3cret");

#[test]
fn no_generated_request_gets_an_undocumented_answer_or_a_server_error() {
    let server = Server::with(&[
        ("AUTH_TOKEN", "s3cret"),
        // Other images are refused, so that no generated reference is looked up in a public registry.
        ("RUNNER_ALLOWED_IMAGES", IMAGE),
        ("RUNNER_DEFAULT_TIMEOUT_SECS", "2"),
        ("RUNNER_MAX_TIMEOUT_SECS", "2"),
        ("RUNNER_MAX_MEMORY", "128m"),
        ("RUNNER_MAX_OUTPUT_BYTES", "64k"),
    ]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let artefacts = root.join("target/artefacts");
    std::fs::create_dir_all(&artefacts).unwrap();
    let (prefix, before) = (format!("{}-", server.instance), volumes());
    let output = Command::new(root.join("target/schemathesis/bin/schemathesis"))
        .args(["run", &format!("http://{}/openapi.json", server.address)])
        .args(["--header", "Authorization: Bearer s3cret"])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        // A request that fits the schema may still be refused with 422: the configuration limits what may be asked, and
        // rules such as "base64 of a tar.gz" cannot be expressed in a schema. And DELETE of a run cancels it: its state
        // can still be read afterwards.
        .args([
            // This stream ends with its reader.
            "--exclude-path",
            "/events",
            "--exclude-checks",
            "positive_data_acceptance,use_after_free",
        ])
        .args([
            "--max-examples",
            "8",
            "--seed",
            "1",
            "--no-shrink",
            "--max-redirects",
            "0",
            "--request-timeout",
            "60",
        ])
        .args([
            "--continue-on-failure",
            "--suppress-health-check",
            "all",
            "--no-color",
        ])
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("VOLUME_PREFIX", &prefix)
        .env("PYTHONPATH", root.join("tests/support"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(&artefacts)
        .output()
        .expect("tests/support/setup.sh installs schemathesis");
    let told = String::from_utf8_lossy(&output.stdout);
    std::fs::write(artefacts.join("schemathesis.txt"), told.as_bytes()).unwrap();
    remove_volumes(&prefix, &before);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("Stateful (in"), "{told}");
    assert!(reached_the_engine(&server), "{told}");
    forget_all_with(&server, &[TOKEN]);
    server.stop();
}

fn volumes() -> Vec<String> {
    let all = docker(&["volume", "ls", "-q", "--filter", "label=oneoff.volume"]);
    all.lines().map(str::to_owned).collect()
}

/// Removes the named volumes that the requests created, because the server never does.
fn remove_volumes(prefix: &str, before: &[String]) {
    let is_example = |name: &String| name == "inputs" && !before.contains(name);
    for name in volumes() {
        if name.starts_with(prefix) || is_example(&name) {
            docker(&["volume", "rm", "-f", &name]);
        }
    }
}

/// Whether any run reached the engine; if all requests were refused, the test would prove little.
fn reached_the_engine(server: &Server) -> bool {
    let answer = server.ask(&Request::new("GET", "/metrics").fields(&[TOKEN]));
    let text = String::from_utf8(answer.body).unwrap();
    let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    let runs = text
        .lines()
        .find(|line| line.starts_with("oneoff_runs_total{reason=\"exited\"}"));
    runs.is_some_and(|line| count(line) > 0)
}
