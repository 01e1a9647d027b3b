//! The attack table: every attack and fault that comparable systems were hurt by, one row a case or several, done to the
//! running server with a real engine. `attacks/cases.txt` lists the cases; each section has a file, in which a row reads
//! `case, expected answer, what is done`. `attacks/table.rs` asserts after each row, beside the answer: the process is the
//! same and alive; it took bounded memory; `/health` answered all the time; nothing is left in the engine. At the end of a
//! table the server stops by itself and leaves no file.

mod archives_in;
mod archives_out;
mod browser;
mod crash;
mod engine;
mod host_reach;
mod http;
mod no_engine;
mod raw;
mod resources;
mod secrets;
mod table;
mod tarball;

use std::collections::BTreeSet;
use table::Table;

fn tables() -> Vec<Table> {
    let sections = [
        archives_in::tables(),
        archives_out::tables(),
        host_reach::tables(),
        resources::tables(),
        http::tables(),
        browser::tables(),
        secrets::tables(),
        engine::tables(),
        crash::tables(),
    ];
    sections.into_iter().flatten().collect()
}

#[test]
fn every_case_has_a_row() {
    let mut section = "";
    let mut cases = BTreeSet::new();
    for line in include_str!("attacks/cases.txt").lines() {
        match line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            Some(name) => section = name,
            None if line.is_empty() || line.starts_with('#') => {}
            None => assert!(cases.insert((section, line)), "twice: {line}"),
        }
    }
    let tables = tables();
    let rows = tables
        .iter()
        .flat_map(|table| table.rows.iter().map(|row| (table.section, row.case)));
    let rows: BTreeSet<_> = rows.collect();
    let without_a_row: Vec<_> = cases.difference(&rows).collect();
    let not_listed: Vec<_> = rows.difference(&cases).collect();
    assert!(
        without_a_row.is_empty(),
        "cases without a row: {without_a_row:?}"
    );
    assert!(
        not_listed.is_empty(),
        "rows that the list does not have: {not_listed:?}"
    );
}

/// Runs the tables of a section at once, each on a server of its own.
fn run(tables: Vec<Table>) {
    let threads = tables
        .into_iter()
        .map(|table| std::thread::spawn(|| table.run()));
    let threads: Vec<_> = threads.collect();
    let outcomes: Vec<_> = threads
        .into_iter()
        .map(std::thread::JoinHandle::join)
        .collect();
    assert!(outcomes.iter().all(Result::is_ok), "see above");
}

#[test]
fn archives_that_come_in() {
    run(archives_in::tables());
}

#[test]
fn archives_that_go_out() {
    run(archives_out::tables());
}

#[test]
fn reaching_for_the_host() {
    run(host_reach::tables());
}

#[test]
fn taking_resources() {
    run(resources::tables());
}

#[test]
fn confusing_the_http_parser() {
    run(http::tables());
}

#[test]
fn browsers_as_a_way_in() {
    run(browser::tables());
}

#[test]
fn secrets_that_must_not_turn_up() {
    run(secrets::tables());
}

#[test]
fn engines_that_confuse() {
    run(engine::tables());
}

#[test]
fn ends_of_the_server() {
    run(crash::tables());
}
