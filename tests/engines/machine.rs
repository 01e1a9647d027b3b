//! Runs the tests on an engine in an emulated machine, which has version 2 of control groups whatever this machine has.

use crate::engine::Engine;
use crate::lane::{Setup, script};
use crate::outcome::Outcome;
use std::process::{Command, Stdio};

const PATIENCE_SECS: &str = "600";

/// Boots the machine and runs these tests in it.
pub fn run(engine: &Engine, setup: &Setup, tests: &[&str]) -> Outcome {
    let output = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE_SECS])
        .arg(script("machine.sh"))
        .arg(setup.root(engine.suite))
        .arg(setup.directory.join(engine.name))
        .args([&setup.binary, &setup.images])
        .args(tests)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = setup.cache.join(format!("{}.log", engine.name));
    std::fs::write(&log, &printed).unwrap();
    let version = printed
        .lines()
        .find_map(|line| line.trim_end().strip_prefix("engine version "));
    match version {
        Some(version) => Outcome::parse(version.to_owned(), &printed),
        None => {
            let lines: Vec<&str> = printed.lines().rev().take(20).collect();
            let end: Vec<&str> = lines.into_iter().rev().collect();
            Outcome::failed(format!(
                "its engine did not start; the end of what the machine printed:\n{}",
                end.join("\n")
            ))
        }
    }
}
