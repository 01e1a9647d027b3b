//! The official conformance suite against the live server. `tests/mcp/expected-failures-*.yml` lists what may fail and
//! why; the suite fails on any other failure, and on a listed scenario that passes.

use crate::support::Server;
use std::process::Command;

fn conformance(suite: &str, selection: [&str; 2], expected: &str) {
    let home = super::installed::installed().join(suite);
    let server = Server::with(&[("RUNNER_MCP_TEST_TOOLS", "1")]);
    let baseline = format!(
        "{}/tests/mcp/expected-failures-{expected}.yml",
        env!("CARGO_MANIFEST_DIR")
    );
    let output = Command::new(home.join("node_modules/.bin/node"))
        .arg(home.join("node_modules/.bin/conformance"))
        .args(["server", "--url", &format!("http://{}/mcp", server.address)])
        .args(selection)
        .args(["--expected-failures", &baseline])
        .current_dir(&home)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let summary = printed
        .split_once("=== SUMMARY ===")
        .map_or(&*printed, |(_, summary)| summary);
    println!("{summary}");
    assert!(
        output.status.success(),
        "{summary}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(summary.contains("Baseline check passed"), "{summary}");
    server.stop();
}

#[test]
fn conformance_0_1_16_passes() {
    conformance("conformance", ["--suite", "active"], "2025-11-25");
}

#[test]
fn the_requirements_of_revision_2025_11_25_pass() {
    conformance(
        "conformance-alpha",
        ["--requirements", "2025-11-25"],
        "2025-11-25",
    );
}

#[test]
fn the_requirements_of_revision_2026_07_28_pass() {
    conformance(
        "conformance-alpha",
        ["--requirements", "2026-07-28"],
        "2026-07-28",
    );
}
