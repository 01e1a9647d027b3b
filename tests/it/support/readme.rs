//! Runs the commands of the README.

use super::Server;
use std::process::{Child, Command, Stdio};

/// The text of the README.
pub fn readme() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    std::fs::read_to_string(readme).unwrap()
}

/// The `sh` blocks of the section with this heading, subsections included.
pub fn commands(heading: &str) -> Vec<String> {
    let text = readme();
    let section = text
        .split(&format!("\n{heading}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("README.md has no {heading}"));
    let (level, _) = heading.split_once(' ').unwrap();
    let ends =
        (2..=level.len()).filter_map(|level| section.find(&format!("\n{} ", "#".repeat(level))));
    let end = ends.min().unwrap_or(section.len());
    section[..end]
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// Runs commands in one shell against this server. Returns what they print; fails if one of them fails.
pub fn shell_output(server: &Server, commands: &[String]) -> String {
    let script = commands.concat();
    let output = shell(server, &script).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Starts commands in a shell against this server. Their output can be read from the child.
pub fn spawn_shell(server: &Server, commands: &str) -> Child {
    let mut shell = shell(server, commands);
    shell.stdout(Stdio::piped()).stderr(Stdio::null());
    shell.spawn().unwrap()
}

fn shell(server: &Server, script: &str) -> Command {
    let mut script = script.to_owned();
    for address in ["127.0.0.1:8000", "localhost:8000"] {
        script = script.replace(address, &server.address);
    }
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]);
    shell
}
