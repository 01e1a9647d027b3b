//! Runs in containers that waited for them: beside the floor, which is a bare round trip to a waiting container over its attached
//! streams, and beside `docker run --rm`. One at a time, and four at once. What a waiting container costs in memory.

use super::Outcome;
use super::engine::{self, IMAGE, LABEL, PRINTED, unique};
use super::figures::{Samples, Table, Target};
use super::server::Server;
use super::{cli, floor};
use oneoff_docker_runner::docker::stdcopy::demultiplex_until;
use oneoff_docker_runner::docker::{Client, ContainerCreate};
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many runs are begun at once.
const BURST: usize = 4;
/// Waits for a byte, then starts a program that prints.
const WAITING: [&str; 3] = ["sh", "-c", "read -r go; /bin/echo hello"];
/// How long a container may take to wait after its start, and the engine to be quiet after its.
const SETTLE: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
const MOST_MILLIS: f64 = 5.0;
const MOST_P95_MILLIS: f64 = 10.0;
const LEAST_RATIO: f64 = 40.0;

#[derive(Default)]
struct Measured {
    floor: Samples,
    warm: Samples,
    burst: Samples,
    cli: Samples,
}

/// Appends a row for each network to the table, and what a waiting container costs.
pub(crate) fn measure(binary: &Path, networks: &[String], samples: usize) -> Outcome<Table> {
    let mut table = Table::new(&[
        "time of a warm run (median, p95)",
        "attach round trip",
        "POST /run",
        "4 at once",
        "docker run",
        "target",
    ]);
    for network in networks {
        let bench = Bench::open(binary, network)?;
        let mut measured = Measured::default();
        for round in 0..=samples {
            bench.round(round, &mut measured)?;
        }
        measured.report(network, &bench.memory()?, &mut table);
        bench.server.stop()?;
    }
    Ok(table)
}

struct Bench<'a> {
    client: Client,
    server: Server,
    network: &'a str,
    label: String,
    request: Vec<u8>,
}

impl<'a> Bench<'a> {
    fn open(binary: &Path, network: &'a str) -> Outcome<Self> {
        let most = BURST.to_string();
        let server = Server::start_with(binary, &[("RUNNER_WARM_CONTAINERS", most.as_str())])?;
        let request = json!({
            "image": IMAGE, "command": ["echo", "hello"], "network": network, "pull_policy": "never",
        });
        let bench = Self {
            client: engine::client()?,
            server,
            network,
            label: unique(),
            request: serde_json::to_vec(&request)?,
        };
        // As many are to wait as were needed at once.
        bench.burst(&mut Samples::default())?;
        Ok(bench)
    }

    fn round(&self, round: usize, measured: &mut Measured) -> Outcome<()> {
        let floor = self.floor()?;
        self.until_all_wait()?;
        let (result, warm) = self.server.run(&self.request)?;
        if result["timings"]["warm"] != true {
            return Err("the run had no container that waited".into());
        }
        self.until_all_wait()?;
        let cli = cli::echo(&self.label, self.network)?;
        // The first round only warms caches and connections.
        if round > 0 {
            measured.floor.push_millis(floor);
            measured.warm.push_millis(warm);
            measured.cli.push_millis(cli);
            self.until_all_wait()?;
            self.burst(&mut measured.burst)?;
        }
        Ok(())
    }

    /// From the byte that a waiting container is sent to all of its output.
    fn floor(&self) -> Outcome<Duration> {
        let config = ContainerCreate {
            attach_stdin: true,
            open_stdin: true,
            stdin_once: true,
            ..floor::container(&self.label, self.network, &WAITING)
        };
        let name = format!("oneoff-bench-{}", unique());
        let id = self.client.container_create(Some(&name), None, &config)?.id;
        let answered = self.round_trip(&id);
        self.client.container_remove(&id)?;
        answered
    }

    fn round_trip(&self, id: &str) -> Outcome<Duration> {
        let mut output = self.client.container_attach(id)?;
        let mut stdin = self.client.container_attach_stdin(id)?;
        self.client.container_start(id)?;
        sleep(SETTLE);
        let begun = Instant::now();
        stdin.write_all(b"go\n")?;
        let mut printed = Vec::new();
        demultiplex_until(&mut output.stream, &mut |_, piece| {
            printed.extend_from_slice(piece);
            Ok(match printed.len() < PRINTED.len() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        match printed == PRINTED.as_bytes() {
            true => Ok(begun.elapsed()),
            false => Err("the waiting container printed something else".into()),
        }
    }

    fn burst(&self, samples: &mut Samples) -> Outcome<()> {
        let runs = std::thread::scope(|scope| {
            let run = || self.server.run(&self.request).map(|(_, took)| took);
            let threads: Vec<_> = (0..BURST).map(|_| scope.spawn(run)).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.collect::<Vec<_>>()
        });
        for took in runs {
            samples.push_millis(took.map_err(|_| "a thread of the benchmark failed")??);
        }
        Ok(())
    }

    /// Blocks until as many containers wait as may, nothing else of ours is there, and the engine has been quiet for a moment.
    fn until_all_wait(&self) -> Outcome<()> {
        let begun = Instant::now();
        let labels = [self.server.filter()];
        let ours = [format!("{LABEL}={}", self.label)];
        loop {
            let metrics = self.server.get("/metrics")?;
            let text = String::from_utf8_lossy(&metrics.body).into_owned();
            let line = format!("\noneoff_warm_containers {BURST}\n");
            let are_alone = || -> Outcome<bool> {
                Ok(self.client.container_list(&labels)?.len() == BURST
                    && self.client.container_list(&ours)?.is_empty())
            };
            if text.contains(&line) && are_alone()? {
                sleep(SETTLE);
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err("too few containers wait".into());
            }
            sleep(POLL);
        }
    }

    /// Proportional memory of PID 1 in a waiting container, and of the engine's process beside it. In words; both are read from
    /// `/proc`, if the engine is on this machine.
    fn memory(&self) -> Outcome<String> {
        self.until_all_wait()?;
        let labels = [self.server.filter()];
        let containers = self.client.container_list(&labels)?;
        let id = &containers.first().ok_or("no container waits")?.id;
        let inspect = ["inspect", "--format", "{{.State.Pid}}", id];
        let output = Command::new("docker").args(inspect).output()?;
        let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let shim = status(&pid, "status", "PPid:");
        let init = status(&pid, "smaps_rollup", "Pss:");
        let shim = shim.and_then(|shim| status(&shim, "smaps_rollup", "Pss:"));
        let words = |size: Option<String>| size.map_or("?".into(), |size| format!("{size} KiB"));
        Ok(format!(
            "memory: init {}, shim {}",
            words(init),
            words(shim)
        ))
    }
}

/// The first word after `field` in a file of a process.
fn status(pid: &str, file: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next().map(str::to_owned)
}

impl Measured {
    fn report(&self, network: &str, memory: &str, table: &mut Table) {
        let cell = |samples: &Samples| format!("{:.1} ms ({:.1})", samples.median(), samples.p95());
        let times = self.cli.median() / self.warm.median();
        table.row([
            format!("network {network}; {memory}"),
            cell(&self.floor),
            cell(&self.warm),
            cell(&self.burst),
            format!("{}, {times:.0} ×", cell(&self.cli)),
            format!(
                "≤ 5 ms ({}), p95 ≤ 10 ms ({}), ≥ 40 × ({})",
                Target::AtMost(MOST_MILLIS).verdict(self.warm.median()),
                Target::AtMost(MOST_P95_MILLIS).verdict(self.warm.p95()),
                Target::AtLeast(LEAST_RATIO).verdict(times)
            ),
        ]);
    }
}
