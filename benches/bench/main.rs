//! `make bench`: what `POST /run` costs beyond the engine's own work, and what the server holds in memory.
//!
//! Compares three ways to run a container, in turns: the bare Engine API calls (`floor`), `POST /run` of the release
//! binary (`server`), and `docker run --rm` (`cli`). A slow result never fails this program; a run that fails, a wrong
//! answer, or anything left in the engine does.

#![allow(clippy::print_stdout)]

mod after_load;
mod arguments;
mod backlog;
mod bulk;
mod cli;
mod engine;
mod figures;
mod first_line;
mod floor;
#[path = "../../tests/it/support/http.rs"]
mod http;
mod latency;
mod pages;
mod process;
mod server;
mod stand;
mod steps;
mod throughput;
mod warm;

use arguments::{Arguments, Part};
use figures::Table;
use stand::Stand;
use std::io::Write;
use std::process::ExitCode;

/// Any error ends the program with its message.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Outcome<()> {
    let arguments = Arguments::from_command_line()?;
    let binary = server::binary()?;
    let stand = Stand::open(&binary)?;
    println!("{}\n", stand.describe(&arguments)?);
    if arguments.includes(Part::Latency) {
        latencies(&stand, &arguments)?;
    }
    if arguments.includes(Part::Throughput) {
        let mut table = Table::new(&compared("throughput"));
        for network in &arguments.networks {
            throughput::measure(&stand, network, &arguments)?.report(network, &mut table);
        }
        println!("{table}");
    }
    stand.close()?;
    if arguments.includes(Part::Warm) {
        let networks = &arguments.networks;
        println!("{}", warm::measure(&binary, networks, arguments.samples)?);
    }
    if arguments.includes(Part::FirstLine) {
        println!("{}", first_line::measure(&binary, arguments.samples)?);
    }
    if arguments.includes(Part::Backlog) {
        println!("{}", backlog::measure(&binary, arguments.backlog)?);
    }
    let mut table = Table::new(&["the server", "measured", "target"]);
    if arguments.includes(Part::Bulk) {
        bulk::stdout(&binary, &mut table)?;
        bulk::directory(&binary, &mut table)?;
    }
    if arguments.includes(Part::Process) {
        process::measure(&binary, &mut table)?;
        after_load::measure(&binary, &mut table)?;
    }
    if arguments.includes(Part::Pages) {
        pages::measure(&binary, arguments.samples, &mut table)?;
    }
    if !table.is_empty() {
        println!("{table}");
    }
    Ok(())
}

fn latencies(stand: &Stand, arguments: &Arguments) -> Outcome<()> {
    let mut table = Table::new(&compared("time of a run (median, p95)"));
    let mut steps = steps::table();
    for network in &arguments.networks {
        let measured = latency::measure(stand, network, arguments.samples)?;
        measured.report(network, &mut table);
        steps::report(network, &measured.steps, &mut steps);
    }
    println!("{table}");
    if arguments.steps {
        println!("{steps}");
    }
    Ok(())
}

/// The header of a table that compares the three ways.
fn compared(what: &str) -> [&str; 6] {
    [
        what,
        "engine API",
        "POST /run",
        "docker run",
        "ratios",
        "target",
    ]
}
