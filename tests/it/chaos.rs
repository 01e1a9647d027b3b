//! A mixed load of several clients (files, streams, stdin, asynchronous runs, MCP, cancels, hang-ups, failures, named volumes)
//! while one thing after the other goes wrong. Every answer is true or an error with a code, every accepted run ends once, ran
//! once and can be fetched, nothing is left behind, and the process uses no more than before.
//!
//! `CHAOS_RUNS=2000` makes that many requests in all instead of the usual few, `CHAOS_SEED` repeats the choices of another test
//! run, `CHAOS_FAULTS=freeze,disk` takes only those faults.

mod accepted;
mod clients;
mod faults;
mod jobs;
mod outcome;
mod world;

use world::{Fault, World};

/// Requests in all; clients make more of them while a fault takes longer.
const USUAL_RUNS: i64 = 270;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "kill",
        strike: faults::kill_the_server,
        allowed: &["no answer", "stdin_lost", "not_known_yet"],
    },
    Fault {
        name: "update",
        strike: faults::update_the_server,
        allowed: &[
            "no answer",
            "stdin_lost",
            "not_known_yet",
            // The other server has the run.
            "engine_unreachable",
            "shutting_down",
            "error: cancelled",
        ],
    },
    Fault {
        name: "prune",
        strike: faults::prune_everything,
        allowed: &["object_removed", "volume_not_found", "outputs lacking"],
    },
    Fault {
        name: "restart",
        strike: faults::restart_the_engine,
        allowed: &[
            "outputs lacking",
            "error: 137",
            "error: 143",
            "stdin_lost",
            "stdout lacking",
            "engine_unreachable",
            "engine_error",
            "tool error",
        ],
    },
    Fault {
        name: "freeze",
        strike: faults::freeze_the_engine,
        allowed: &[],
    },
    Fault {
        name: "disk",
        strike: faults::fill_the_disk,
        allowed: &["engine_error", "error: 9", "outputs lacking", "tool error"],
    },
    Fault {
        name: "descriptors",
        strike: faults::exhaust_descriptors,
        allowed: &[
            "no answer",
            "overloaded",
            "too_many_connections",
            "unavailable",
            "tool error",
        ],
    },
    Fault {
        name: "threads",
        strike: faults::exhaust_threads,
        allowed: &[
            "no answer",
            "overloaded",
            "too_many_connections",
            "unavailable",
            "tool error",
        ],
    },
    Fault {
        name: "clock",
        strike: faults::move_the_clock,
        allowed: &[],
    },
];

#[test]
fn whatever_goes_wrong_no_answer_is_false_nothing_is_lost_and_nothing_is_left() {
    let seed = variable("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let runs = variable("CHAOS_RUNS").unwrap_or(USUAL_RUNS);
    let only: Option<String> = variable("CHAOS_FAULTS");
    println!("CHAOS_SEED={seed} CHAOS_RUNS={runs}");
    let mut world = World::new(seed, runs / FAULTS.len() as i64);
    faults::start_server(&mut world);
    for fault in FAULTS {
        if only
            .as_ref()
            .is_some_and(|only| !only.split(',').any(|name| name == fault.name))
        {
            continue;
        }
        match fault.name {
            // It was in a PID namespace of its own.
            "prune" => faults::restart(&mut world),
            "clock" => faults::restart_with_a_movable_clock(&mut world),
            _ => {}
        }
        world.suffer(fault);
    }
    world.take_server().leave();
    world.engine.await_nothing_left(&world.instance);
}
