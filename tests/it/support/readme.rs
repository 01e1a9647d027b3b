//! The README's own commands, run as they stand there.

use super::Server;
use std::process::Command;

/// The `sh` blocks below this heading.
pub fn commands(heading: &str) -> Vec<String> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let section = text
        .split(&format!("\n{heading}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("README.md has no {heading}"));
    let level = heading.split(' ').next().unwrap();
    let end = section
        .find(&format!("\n{level} "))
        .unwrap_or(section.len());
    section[..end]
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// What commands print, run one after another in one shell against this server.
pub fn shell_output(server: &Server, commands: &[String]) -> String {
    let script = commands.concat().replace("127.0.0.1:8000", &server.address);
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}
