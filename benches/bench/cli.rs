//! `docker run --rm`.

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
        // As the server does: DOCKER_HOST or the default socket, independent of the selected context.
        .env("DOCKER_CONTEXT", "default");
    command
}

/// One run of [`COMMAND`]. The time includes the start of the command and, because of `--rm`, removal.
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
