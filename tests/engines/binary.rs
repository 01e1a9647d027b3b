//! The binary of `tests/it`, built by cargo.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SET_BY_CARGO: [&str; 6] = [
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "LD_LIBRARY_PATH",
    "OUT_DIR",
];

/// Builds it, if need be, and returns its path.
pub fn path() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo has set for this program would make it build dependencies anew whose build scripts look at it.
    for (name, _) in std::env::vars_os() {
        if SET_BY_CARGO
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    let built = command
        .args(["test", "--test", "it", "--no-run", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "tests/it does not build");
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "it")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}
