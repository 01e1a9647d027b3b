//! Many asynchronous runs at once on few slots: whether any is lost or overtakes others, how fast they are, and the
//! memory of the server meanwhile. They are compared with runs by the bare Engine API, half before and half after.

use super::Outcome;
use super::engine::{self, ALPINE, LABEL};
use super::figures::{Table, Target};
use super::floor;
use super::server::{Server, succeeded};
use super::throughput::at_once;
use oneoff_docker_runner::docker::{Client, ContainerCreate};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SLOTS: usize = 4;
/// One bare run in each half for this many asynchronous ones.
const BARE_SHARE: usize = 10;
const POLL: Duration = Duration::from_millis(250);
/// How long to wait for the next run to finish, and for the engine to remove what was deleted.
const PATIENCE: Duration = Duration::from_secs(300);
const MEGABYTE: f64 = 1e6;

pub(crate) fn measure(binary: &Path, runs: usize) -> Outcome<Table> {
    let label = engine::unique();
    let client = engine::client()?;
    let bare_runs = (runs / BARE_SHARE).max(SLOTS);
    let before = bare(&client, &label, bare_runs)?;
    let slots = SLOTS.to_string();
    let backlog = Backlog {
        server: Server::start_with(binary, &[("RUNNER_MAX_CONCURRENT_RUNS", &slots)])?,
        client: &client,
        label: &label,
    };
    let measured = backlog.work_off(runs);
    let measured = measured.inspect_err(|_| backlog.sweep())?;
    backlog.server.stop()?;
    let after = bare(&client, &label, bare_runs)?;
    engine::nothing_left(&client, &format!("{LABEL}={label}"))?;
    Ok(report(&measured, runs, (before, after)))
}

/// As many at once as the server has slots. Returns runs per second, removals included.
fn bare(client: &Client, label: &str, runs: usize) -> Outcome<f64> {
    engine::until_quiet(client, &format!("{LABEL}={label}"))?;
    let begun = Instant::now();
    at_once(SLOTS, runs, |number| {
        let number = number.to_string();
        let config = ContainerCreate {
            image: ALPINE.into(),
            ..floor::container(label, "none", &["echo", &number])
        };
        let mut printed = Vec::new();
        floor::run(client, &config, &mut |piece| {
            printed.extend_from_slice(piece);
        })?;
        match printed == format!("{number}\n").as_bytes() {
            true => Ok(()),
            false => Err("a bare run printed something else".into()),
        }
    })?;
    Ok(runs as f64 / begun.elapsed().as_secs_f64())
}

struct Backlog<'a> {
    server: Server,
    client: &'a Client,
    label: &'a str,
}

/// Figures of all runs; memory in MB.
struct Measured {
    accepted: Duration,
    finished_meanwhile: usize,
    finished: Duration,
    /// The largest number of earlier accepted runs that a run overtook.
    overtaken: usize,
    memory_before: f64,
    memory_accepted: f64,
    memory_finished: f64,
    memory_deleted: f64,
    peak: f64,
    delete: Duration,
}

impl Backlog<'_> {
    fn work_off(&self, runs: usize) -> Outcome<Measured> {
        let memory = |field| -> Outcome<f64> { Ok(self.server.memory(field)? / MEGABYTE) };
        let memory_before = memory("VmRSS")?;
        let begun = Instant::now();
        let ids = self.submit(runs)?;
        let accepted = begun.elapsed();
        let memory_accepted = memory("VmRSS")?;
        let finished_meanwhile = self.list("?state=finished&limit=1000")?.len();
        self.until_finished(runs)?;
        let finished = begun.elapsed();
        let memory_finished = memory("VmRSS")?;
        let overtaken = self.check(&ids)?;
        let begun = Instant::now();
        self.delete(&ids)?;
        Ok(Measured {
            accepted,
            finished_meanwhile,
            finished,
            overtaken,
            memory_before,
            memory_accepted,
            memory_finished,
            memory_deleted: memory("VmRSS")?,
            peak: memory("VmHWM")?,
            delete: begun.elapsed(),
        })
    }

    /// Sends every request on a separate connection, all at once. Returns the ids, indexed by what their runs print.
    fn submit(&self, runs: usize) -> Outcome<Vec<String>> {
        let ids = Mutex::new(vec![String::new(); runs]);
        at_once(runs, runs, |number| {
            let request = json!({
                "image": ALPINE, "command": ["echo", number.to_string()], "pull_policy": "never",
                "network": "none", "labels": {LABEL: self.label},
            });
            let id = self.server.submit(&serde_json::to_vec(&request)?)?;
            ids.lock().unwrap_or_else(PoisonError::into_inner)[number] = id;
            Ok(())
        })?;
        Ok(ids.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn until_finished(&self, runs: usize) -> Outcome<()> {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let finished = self.list("?state=finished&limit=1000")?.len();
            if finished == runs {
                return Ok(());
            }
            if finished > seen {
                (seen, since) = (finished, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("{finished} of {runs} runs have finished, and no more").into());
            }
            sleep(POLL);
        }
    }

    fn list(&self, query: &str) -> Outcome<Vec<Value>> {
        let answer = self.server.get(&format!("/runs{query}"))?;
        let mut list: Value = serde_json::from_slice(&answer.body)?;
        match list["runs"].take() {
            Value::Array(runs) => Ok(runs),
            _ => Err(format!("GET /runs answered {}", answer.status).into()),
        }
    }

    /// Checks that no run is missing and each has its own output. Returns the most runs that one overtook.
    fn check(&self, ids: &[String]) -> Outcome<usize> {
        let number_of: HashMap<&str, usize> = ids.iter().map(String::as_str).zip(0..).collect();
        let runs = self.list("?limit=1000")?;
        let known = runs
            .iter()
            .filter(|run| number_of.contains_key(run["id"].as_str().unwrap_or_default()));
        if (number_of.len(), known.count(), runs.len()) != (ids.len(), ids.len(), ids.len()) {
            return Err("the runs that are listed are not those that were accepted".into());
        }
        at_once(SLOTS, ids.len(), |number| {
            let answer = self.server.get(&format!("/runs/{}", ids[number]))?;
            let run: Value = serde_json::from_slice(&answer.body)?;
            succeeded(&run["result"])?;
            match run["result"]["stdout"] == format!("{number}\n") {
                true => Ok(()),
                false => Err(format!("run {number} printed {}", run["result"]["stdout"]).into()),
            }
        })?;
        // The newest is listed first.
        let started = runs.iter().rev().map(|run| run["started_at"].as_str());
        let started: Option<Vec<&str>> = started.collect();
        let started = started.ok_or("a run that finished was never started")?;
        Ok(most_overtaken(&started))
    }

    /// Deletes all runs and waits until the engine holds nothing of the server, which continues to run.
    fn delete(&self, ids: &[String]) -> Outcome<()> {
        at_once(SLOTS, ids.len(), |number| {
            let answer = self.server.delete(&format!("/runs/{}", ids[number]))?;
            match answer.status {
                200 => Ok(()),
                status => Err(format!("DELETE of a finished run answered {status}").into()),
            }
        })?;
        let begun = Instant::now();
        while let Err(error) = engine::nothing_left(self.client, &self.server.filter()) {
            if begun.elapsed() > PATIENCE {
                return Err(error);
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// After a failure: kills the server and removes its containers, which it would have kept for days.
    fn sweep(&self) {
        self.server.kill();
        let left = self.client.container_list(&[self.server.filter()]);
        for container in left.unwrap_or_default() {
            let _ = self.client.container_remove(&container.id);
        }
    }
}

/// `started` has the start of each run in RFC 3339, which sorts as text, in the order of acceptance. A run that has a
/// slot may start later than runs accepted after it, but only as many as there are other slots.
fn most_overtaken(started: &[&str]) -> usize {
    let overtaken = |(place, start): (usize, &&str)| {
        let earlier = started[..place].iter();
        earlier.filter(|other| *other > start).count()
    };
    started.iter().enumerate().map(overtaken).max().unwrap_or(0)
}

/// `bare` are the rates of bare runs before and after.
fn report(measured: &Measured, runs: usize, bare: (f64, f64)) -> Table {
    let (accepted, finished) = (measured.accepted, measured.finished);
    let later = runs - measured.finished_meanwhile;
    let overtaken = measured.overtaken as f64;
    let secs = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let rows = [
        ("all accepted", secs(accepted)),
        ("all finished, each with its own output", secs(finished)),
        ("rate from the first request on", rate(runs, finished, bare)),
        (
            "rate once all were accepted",
            rate(later, finished - accepted, bare),
        ),
        (
            "all deleted, and gone from the engine",
            secs(measured.delete),
        ),
        (
            "RSS before; accepted, finished, deleted; peak",
            memory(measured),
        ),
    ];
    let what = format!("{runs} asynchronous runs of `echo` at once, {SLOTS} slots");
    let mut table = Table::new(&[&what, "measured", "target"]);
    for (what, figure) in rows {
        table.row([what.into(), figure, String::new()]);
    }
    let verdict = Target::Below(SLOTS as f64).verdict(overtaken);
    table.row([
        "accepted earlier than a run and started later, at most".into(),
        overtaken.to_string(),
        format!("< {SLOTS} ({verdict})"),
    ]);
    table
}

fn rate(runs: usize, time: Duration, (before, after): (f64, f64)) -> String {
    let rate = runs as f64 / time.as_secs_f64();
    let ratio = rate / f64::midpoint(before, after);
    format!("{rate:.1}/s, {ratio:.2} × API ({before:.1}/s before, {after:.1} after)")
}

fn memory(measured: &Measured) -> String {
    format!(
        "{:.1}; {:.1}, {:.1}, {:.1}; {:.1} MB",
        measured.memory_before,
        measured.memory_accepted,
        measured.memory_finished,
        measured.memory_deleted,
        measured.peak
    )
}
