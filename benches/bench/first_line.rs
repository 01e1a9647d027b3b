//! How soon the first line of a container reaches the client that watches it, the three ways in turns. The line is the
//! time at which the container wrote it. Both clocks must be the same, so the engine has to be on this machine.

use super::Outcome;
use super::engine::{self, ALPINE, LABEL};
use super::figures::{Samples, Table, Target};
use super::server::Server;
use super::stand::{PerWay, WAYS, Way};
use super::{cli, compared, floor};
use oneoff_docker_runner::docker::{Client, ContainerCreate};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A shell builtin writes, so that the time includes no start of a process.
const WORDS: [&str; 3] = ["sh", "-c", "echo $EPOCHREALTIME; sleep 0.3"];
/// The line must arrive at least this long before the end of the container.
const LIVE: Duration = Duration::from_millis(200);
const BOUND_MILLIS: f64 = 20.0;

pub(crate) fn measure(binary: &Path, samples: usize) -> Outcome<Table> {
    let ear = Ear::open(binary)?;
    let mut delays = PerWay::<Samples>::default();
    for round in 0..=samples {
        for turn in 0..WAYS.len() {
            let way = WAYS[(turn + round) % WAYS.len()];
            engine::until_quiet(&ear.watcher, &ear.filter())?;
            let heard = ear.listen(way)?;
            // The first round only warms caches and connections.
            if round > 0 {
                delays.of(way).push_millis(heard.delay()?);
            }
        }
    }
    ear.close()?;
    Ok(report(&delays))
}

struct Ear {
    /// The client of the floor.
    client: Client,
    watcher: Client,
    server: Server,
    label: String,
}

/// A line, and the moment when its last byte was received.
struct Heard {
    line: String,
    at: SystemTime,
}

impl Heard {
    fn now(line: String) -> (Self, Instant) {
        let at = SystemTime::now();
        (Self { line, at }, Instant::now())
    }

    /// The time from writing the line to receiving it.
    fn delay(&self) -> Outcome<Duration> {
        let told = || format!("the container did not tell the time: {:?}", self.line);
        let (secs, micros) = self.line.trim_end().split_once('.').ok_or_else(told)?;
        let written =
            Duration::from_secs(secs.parse()?) + Duration::from_micros(micros.parse::<u64>()?);
        let heard = self.at.duration_since(UNIX_EPOCH)?;
        let ahead = "the container's clock is not ours: it is ahead";
        Ok(heard.checked_sub(written).ok_or(ahead)?)
    }
}

impl Ear {
    fn open(binary: &Path) -> Outcome<Self> {
        Ok(Self {
            client: engine::client()?,
            watcher: engine::client()?,
            server: Server::start(binary)?,
            label: engine::unique(),
        })
    }

    fn filter(&self) -> String {
        format!("{LABEL}={}", self.label)
    }

    fn listen(&self, way: Way) -> Outcome<Heard> {
        let (heard, at) = match way {
            Way::Floor => self.attach(),
            Way::Service => self.watch(),
            Way::Cli => self.pipe(),
        }?;
        if at.elapsed() < LIVE {
            return Err(format!("{way:?}: the line came no sooner than the end").into());
        }
        Ok(heard)
    }

    fn attach(&self) -> Outcome<(Heard, Instant)> {
        let config = ContainerCreate {
            image: ALPINE.into(),
            ..floor::container(&self.label, "none", &WORDS)
        };
        let mut heard = None;
        floor::run(&self.client, &config, &mut |piece| {
            heard.get_or_insert_with(|| Heard::now(String::from_utf8_lossy(piece).into_owned()));
        })?;
        Ok(heard.ok_or("the container wrote nothing")?)
    }

    /// Reads server-sent events line by line. Chunk sizes are lines between events, never within one.
    fn watch(&self) -> Outcome<(Heard, Instant)> {
        let request = json!({
            "image": ALPINE, "command": WORDS, "pull_policy": "never", "network": "none",
            "labels": {LABEL: self.label},
        });
        let mut answer = BufReader::new(self.server.watch(&serde_json::to_vec(&request)?)?);
        let mut line = String::new();
        while line != "event: stdout\n" {
            line.clear();
            if answer.read_line(&mut line)? == 0 {
                return Err("the answer ended before the first line".into());
            }
        }
        line.clear();
        answer.read_line(&mut line)?;
        let (mut heard, at) = Heard::now(line);
        let mut rest = String::new();
        answer.read_to_string(&mut rest)?;
        if !rest.contains("\"status\":\"success\"") {
            return Err(format!("the run did not succeed: {rest}").into());
        }
        let told: Value = serde_json::from_str(heard.line.strip_prefix("data: ").unwrap_or(""))?;
        heard.line = told["data"].as_str().unwrap_or_default().into();
        Ok((heard, at))
    }

    fn pipe(&self) -> Outcome<(Heard, Instant)> {
        let mut command = cli::command(&self.label, "none", (ALPINE, &WORDS));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe from docker run")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let heard = Heard::now(line);
        let status = child.wait()?;
        match status.success() {
            true => Ok(heard),
            false => Err(format!("docker run: {status}").into()),
        }
    }

    fn close(self) -> Outcome<()> {
        let filter = self.filter();
        engine::until_quiet(&self.watcher, &filter)?;
        self.server.stop()?;
        engine::nothing_left(&self.watcher, &filter)
    }
}

fn report(delays: &PerWay<Samples>) -> Table {
    let mut table = Table::new(&compared("first line, from written to read"));
    let PerWay {
        floor,
        service,
        cli,
    } = delays;
    let rows = [
        ("median", [floor, service, cli].map(Samples::median)),
        ("95th percentile", [floor, service, cli].map(Samples::p95)),
        ("maximum", [floor, service, cli].map(Samples::max)),
    ];
    for (name, [floor, service, cli]) in rows {
        let cell = |millis: f64| format!("{millis:.2} ms");
        table.row([
            name.into(),
            cell(floor),
            cell(service),
            cell(cli),
            format!(
                "{:.2} × API, {:.2} × docker run",
                service / floor,
                service / cli
            ),
            format!("< 20 ms ({})", Target::Below(BOUND_MILLIS).verdict(service)),
        ]);
    }
    table
}
