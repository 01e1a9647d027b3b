//! `docker run --rm`, as a person would type it.

use super::Outcome;
use super::engine::{COMMAND, IMAGE, LABEL, PRINTED};
use std::process::Command;
use std::time::{Duration, Instant};

/// `docker run --rm` of these words in this image.
pub(crate) fn command(label: &str, network: &str, (image, words): (&str, &[&str])) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", "--pull", "never", "--network", network])
        .args(["--label", &format!("{LABEL}={label}"), image])
        .args(words)
        // Like the server: DOCKER_HOST or the default socket, whatever context is selected.
        .env("DOCKER_CONTEXT", "default");
    command
}

/// One run of [`COMMAND`]; the time includes the process and, as `--rm` has it, removal.
pub(crate) fn echo(label: &str, network: &str) -> Outcome<Duration> {
    let mut command = command(label, network, (IMAGE, &COMMAND));
    let begun = Instant::now();
    let output = command.output()?;
    let took = begun.elapsed();
    if output.status.success() && output.stdout == PRINTED.as_bytes() {
        return Ok(took);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("docker run: {}: {}", output.status, words.trim()).into())
}
