//! What open pages of the browser cost: memory, and the time of the runs beside them.

use super::Outcome;
use super::engine::{self, IMAGE};
use super::figures::{Samples, Table, Target};
use super::server::Server;
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::thread::{Builder, JoinHandle};

const PAGES: usize = 200;
const MOST_MEGABYTES: f64 = 40.0;
/// A run beside the pages may take this much longer.
const MOST_RATIO: f64 = 1.1;
const MEGABYTE: f64 = 1e6;
/// What a page has received when it shows everything.
const COMPLETE: &str = "event: complete\n";

/// Runs alone and runs beside open pages, in turns.
pub(crate) fn measure(binary: &Path, samples: usize, table: &mut Table) -> Outcome<()> {
    let [quiet, watched] = [Server::start(binary)?, Server::start(binary)?];
    let request = json!({
        "image": IMAGE, "command": ["echo", "hello"], "pull_policy": "never", "network": "none",
    });
    let request = serde_json::to_vec(&request)?;
    let watcher = engine::client()?;
    let run = |server: &Server| -> Outcome<_> {
        for server in [&quiet, &watched] {
            engine::until_quiet(&watcher, &server.filter())?;
        }
        Ok(server.run(&request)?.1)
    };
    run(&quiet)?;
    run(&watched)?;
    let before = watched.memory("VmRSS")?;
    let pages = (0..PAGES).map(|_| open(&watched));
    let pages = pages.collect::<Outcome<Vec<_>>>()?;
    let (mut alone, mut beside) = (Samples::default(), Samples::default());
    for _ in 0..samples {
        alone.push_millis(run(&quiet)?);
        beside.push_millis(run(&watched)?);
    }
    let cost = (watched.memory("VmRSS")? - before) / MEGABYTE;
    quiet.stop()?;
    watched.stop()?;
    for page in pages {
        page.join().map_err(|_| "a page's thread panicked")?;
    }
    let ratio = beside.median() / alone.median();
    table.row([
        format!("{PAGES} open pages"),
        format!(
            "{cost:.1} MB; a run {:.1} ms beside them, {:.1} ms without",
            beside.median(),
            alone.median()
        ),
        format!(
            "< 40 MB ({}), ≤ {MOST_RATIO} × ({})",
            Target::Below(MOST_MEGABYTES).verdict(cost),
            Target::AtMost(MOST_RATIO).verdict(ratio)
        ),
    ]);
    Ok(())
}

/// Opens a page's stream. It has received everything that there is when this returns; a thread reads on until the server ends it.
fn open(server: &Server) -> Outcome<JoinHandle<()>> {
    let mut stream: BufReader<TcpStream> = BufReader::new(server.listen("/events")?);
    let mut line = String::new();
    while line != COMPLETE {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err("a page's stream ended".into());
        }
    }
    let read = move || {
        let mut piece = [0; 4096];
        while matches!(stream.read(&mut piece), Ok(1..)) {}
    };
    Ok(Builder::new().stack_size(64 * 1024).spawn(read)?)
}
