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

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// How many lanes run at once.
const AT_ONCE: usize = 2;
/// How often what failed unexpectedly is run once more.
const MORE_ATTEMPTS: usize = 2;
/// How many tests at most are run once more, on a new engine and one after the other. On a busy machine, engines
/// from 26 on lose what a short run prints now and then, as README says.
const MOST_AGAIN: usize = 5;

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
    let rows = rows(&chosen, &setup);
    report(&rows, wanted.is_empty())
}

/// Runs the lanes, [`AT_ONCE`] at a time: they wait more than they compute. The emulated machine takes longest and begins first.
fn rows(chosen: &[&'static engine::Engine], setup: &lane::Setup) -> Vec<table::Row> {
    let (machines, others): (Vec<_>, Vec<_>) = chosen
        .iter()
        .copied()
        .partition(|engine| engine.kind == engine::Kind::Machine);
    let waiting = Mutex::new(machines.into_iter().chain(others).collect::<VecDeque<_>>());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(engine) = { waiting.lock().unwrap().pop_front() } {
                    let row = row(engine, setup);
                    rows.lock().unwrap().push((engine.name, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(name, _)| chosen.iter().position(|engine| engine.name == *name));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn row(engine: &'static engine::Engine, setup: &lane::Setup) -> table::Row {
    let begun = Instant::now();
    let tests = table::tests_of(engine);
    let mut outcome = attempt(engine, setup, &tests);
    for _ in 0..MORE_ATTEMPTS {
        let again = table::unexpected(engine, &outcome);
        if again.is_empty() || again.len() > MOST_AGAIN && outcome.failure.is_none() {
            break;
        }
        println!("\n{}: once more, one after the other:", engine.name);
        for test in &again {
            println!("  {test}: {}", outcome.of(test).err().unwrap_or_default());
        }
        outcome.replace(attempt(engine, setup, &again));
    }
    let row = table::Row::new(engine, &outcome);
    let mut said = format!(
        "\n{}: {}\n  version {}, {} s",
        engine.name,
        engine.title,
        outcome.version,
        begun.elapsed().as_secs()
    );
    for fault in &row.faults {
        said += &format!("\n  FAILED: {fault}");
    }
    println!("{said}");
    row
}

fn attempt(engine: &engine::Engine, setup: &lane::Setup, tests: &[&str]) -> outcome::Outcome {
    match engine.kind {
        engine::Kind::Machine => machine::run(engine, setup, tests),
        _ => lane::run(engine, setup, tests),
    }
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
