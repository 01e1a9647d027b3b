//! The floor: one run by the bare Engine API calls that it needs, with the container that the server would create.
//! The server answers before it removes the container, so removal is timed separately.

use super::Outcome;
use super::engine::{COMMAND, IMAGE, LABEL, PRINTED, unique};
use oneoff_docker_runner::docker::stdcopy::{Stream, demultiplex};
use oneoff_docker_runner::docker::{Client, ContainerCreate, HostConfig, LogConfig};
use std::time::{Duration, Instant};

/// The server's defaults for a run.
const MEMORY_BYTES: i64 = 2 << 30;
const PIDS: i64 = 1024;

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) create: Duration,
    pub(crate) start: Duration,
    pub(crate) run: Duration,
    /// From before `create` to the exit code.
    pub(crate) answer: Duration,
    pub(crate) remove: Duration,
}

/// One run of [`COMMAND`], with its output checked.
pub(crate) fn echo(client: &Client, label: &str, network: &str) -> Outcome<Times> {
    let mut printed = Vec::new();
    let times = run(client, &container(label, network, &COMMAND), &mut |piece| {
        printed.extend_from_slice(piece);
    })?;
    if printed != PRINTED.as_bytes() {
        return Err("the container printed something else".into());
    }
    Ok(times)
}

/// One run. `sink` receives standard output.
pub(crate) fn run(
    client: &Client,
    config: &ContainerCreate,
    sink: &mut dyn FnMut(&[u8]),
) -> Outcome<Times> {
    let name = format!("oneoff-bench-{}", unique());
    let begun = Instant::now();
    let id = client.container_create(Some(&name), None, config)?.id;
    let create = begun.elapsed();
    let ended = supervise(client, &id, sink);
    let answer = begun.elapsed();
    client.container_remove(&id)?;
    let remove = begun.elapsed() - answer;
    Ok(Times {
        create,
        answer,
        remove,
        ..ended?
    })
}

/// Attach, wait, start, read to the end, take the exit code: in this order nothing is missed.
fn supervise(client: &Client, id: &str, sink: &mut dyn FnMut(&[u8])) -> Outcome<Times> {
    let begun = Instant::now();
    let mut output = client.container_attach(id)?;
    let wait = client.container_wait_next_exit(id)?;
    let watching = begun.elapsed();
    client.container_start(id)?;
    let started = begun.elapsed();
    demultiplex(&mut output.stream, &mut |stream, piece| {
        if stream == Stream::Stdout {
            sink(piece);
        }
        Ok(())
    })?;
    let exit = wait.finish()?;
    if exit.status_code != 0 {
        return Err(format!("the container exited with {}", exit.status_code).into());
    }
    Ok(Times {
        start: started - watching,
        run: begun.elapsed() - started,
        ..Times::default()
    })
}

/// What the server asks the engine to create for the same request.
pub(crate) fn container(label: &str, network: &str, command: &[&str]) -> ContainerCreate {
    ContainerCreate {
        image: IMAGE.into(),
        cmd: Some(command.iter().map(ToString::to_string).collect()),
        labels: [(LABEL.to_owned(), label.to_owned())].into(),
        attach_stdout: true,
        attach_stderr: true,
        network_disabled: network == "none",
        host_config: HostConfig {
            network_mode: Some(network.into()),
            memory: MEMORY_BYTES,
            memory_swap: MEMORY_BYTES,
            pids_limit: Some(PIDS),
            security_opt: vec!["no-new-privileges".into()],
            log_config: LogConfig {
                kind: "none".into(),
                ..LogConfig::default()
            },
            ..HostConfig::default()
        },
        ..ContainerCreate::default()
    }
}
