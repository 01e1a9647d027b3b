//! Blocks of runs, 2 × cores at a time, the three ways in turns. The clock stops when the engine is empty again, so
//! that removals are included for all three.

use super::Outcome;
use super::arguments::Arguments;
use super::figures::{Samples, Table, Target};
use super::stand::{PerWay, Stand, WAYS, Way, cores};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Runs per second.
pub(crate) struct Throughput {
    emptied: PerWay<Samples>,
    answered: PerWay<Samples>,
}

pub(crate) fn measure(stand: &Stand, network: &str, arguments: &Arguments) -> Outcome<Throughput> {
    let runs = arguments.samples.max(4 * cores());
    let mut throughput = Throughput {
        emptied: PerWay::default(),
        answered: PerWay::default(),
    };
    for round in 0..arguments.blocks {
        for turn in 0..WAYS.len() {
            let way = WAYS[(turn + round) % WAYS.len()];
            stand.quiet()?;
            let begun = Instant::now();
            let answered = block(stand, (way, network), runs)?;
            let emptied = stand.empty()?;
            let rate = |until: Instant| runs as f64 / (until - begun).as_secs_f64();
            throughput.answered.of(way).push(rate(answered));
            throughput.emptied.of(way).push(rate(emptied));
        }
    }
    Ok(throughput)
}

/// Runs one block. Returns the moment of the last answer.
fn block(stand: &Stand, (way, network): (Way, &str), runs: usize) -> Outcome<Instant> {
    at_once(2 * cores(), runs, |_| stand.run(way, network).map(drop))?;
    Ok(Instant::now())
}

/// Runs the tasks `0..count` on `workers` threads, started in the order of their numbers.
pub(crate) fn at_once(
    workers: usize,
    count: usize,
    task: impl Fn(usize) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Outcome<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            task(number)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    })
}

impl Throughput {
    pub(crate) fn report(&self, network: &str, table: &mut Table) {
        let at_once = 2 * cores();
        let row = |what: String, rates: &PerWay<Samples>| {
            let cell = |samples: &Samples| format!("{:.1}/s", samples.median());
            let ratio = rates.service.median() / rates.floor.median();
            [
                what,
                cell(&rates.floor),
                cell(&rates.service),
                cell(&rates.cli),
                format!(
                    "{ratio:.3} × API, {:.2} × docker run",
                    rates.service.median() / rates.cli.median()
                ),
                format!("≥ 0.95 ({})", Target::AtLeast(0.95).verdict(ratio)),
            ]
        };
        table.row(row(
            format!("network {network}, {at_once} at once"),
            &self.emptied,
        ));
        table.row(row(
            "the same, up to the last answer".into(),
            &self.answered,
        ));
    }
}
