//! `make test-engines`: the core of the suite against many engines. Prints a table, engine by capability, and fails if a test
//! fails that is not a known exception, if an exception holds no longer, or if README's table is another.
//!
//! No test is written here: `core` names tests of `tests/it`, and `lane` runs that binary with `DOCKER_HOST` set. Names of
//! engines as arguments (`make test-engines ENGINES="podman vm"`) run only those, without looking at README.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod binary;
mod core;
mod engine;
mod exceptions;
mod lane;
mod machine;
mod outcome;
mod table;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen: Vec<&engine::Engine> = engine::ENGINES
        .iter()
        .filter(|engine| wanted.is_empty() || wanted.iter().any(|name| name == engine.name))
        .collect();
    assert!(!chosen.is_empty(), "no engine is called {wanted:?}");
    let setup = lane::Setup::new(&chosen);
    let mut rows = Vec::new();
    for engine in chosen {
        let begun = Instant::now();
        println!("\n{}", engine.title);
        let outcome = match engine.kind {
            engine::Kind::Machine => machine::run(engine, &setup),
            _ => lane::run(engine, &setup),
        };
        println!("  {} s", begun.elapsed().as_secs());
        let row = table::Row::new(engine, &outcome);
        for fault in &row.faults {
            println!("  FAILED: {fault}");
        }
        rows.push(row);
    }
    report(&rows, wanted.is_empty())
}

/// Prints the table and what is wrong. Succeeds if nothing is.
fn report(rows: &[table::Row], is_complete: bool) -> ExitCode {
    let table = table::markdown(rows);
    println!("\n{table}");
    let mut faults: Vec<String> = rows.iter().flat_map(|row| row.faults.clone()).collect();
    if is_complete && !table::readme().contains(&table) {
        faults.push("README's table of engines is not this one: put it there".into());
    }
    for fault in &faults {
        // The rest was said when it was seen.
        println!("FAILED: {}", fault.lines().next().unwrap_or_default());
    }
    let passed: usize = rows.iter().map(|row| row.passed).sum();
    println!("\n{passed} passed, {} failed", faults.len());
    match faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
