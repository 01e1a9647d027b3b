//! The engine seen through the `docker` command, independent of the client under test.

use std::path::PathBuf;
use std::process::Command;

/// Runs `docker` with these arguments and returns its output; panics with its error output if it fails.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("the docker command is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Fails if there is no engine, with advice: no test may pass just because it is missing.
pub fn require_engine() {
    let output = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output();
    let answered = output.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        answered,
        "these tests need a Docker engine; `make test` starts one (said: {output:?})"
    );
}

/// The Unix socket of the engine under test: that of `DOCKER_HOST`, or the default one.
pub fn engine_socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host.strip_prefix("unix://");
    PathBuf::from(path.unwrap_or("/var/run/docker.sock"))
}

/// Every container and volume that carries this label.
pub fn leftovers(label: &str) -> Vec<String> {
    leftovers_at(&docker, label)
}

/// As [`leftovers`], while a server of that label lives: the volume with its init is not counted.
pub fn leftovers_beside_a_server(label: &str) -> Vec<String> {
    without_init(leftovers(label))
}

/// Without one volume with an init, which a living server has.
pub fn without_init(mut left: Vec<String>) -> Vec<String> {
    let is_init =
        |object: &String| object.starts_with("volume oneoff-") && object.ends_with("-init");
    if let Some(place) = left.iter().position(is_init) {
        left.remove(place);
    }
    left
}

/// As [`leftovers`], for the engine that this `docker` function uses.
pub fn leftovers_at(docker: &dyn Fn(&[&str]) -> String, label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let containers = docker(&[
        "ps",
        "-a",
        "--no-trunc",
        "--filter",
        &filter,
        "--format",
        "container {{.Names}} {{.Status}}",
    ]);
    let volumes = docker(&[
        "volume",
        "ls",
        "--filter",
        &filter,
        "--format",
        "volume {{.Name}}",
    ]);
    containers
        .lines()
        .chain(volumes.lines())
        .map(str::to_owned)
        .collect()
}
