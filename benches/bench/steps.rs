//! The time of a run, step by step.

use super::figures::{Samples, Table};
use super::floor::Times;
use serde_json::Value;
use std::time::Duration;

/// Times of one run in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    create: f64,
    start: f64,
    run: f64,
    /// The remaining time: attach and wait, and the server's own work.
    rest: f64,
}

impl Steps {
    /// From the `timings` of a server's answer, which are whole milliseconds.
    pub(crate) fn of_result(result: &Value, took: Duration) -> Self {
        let step = |name: &str| result["timings"][name].as_f64().unwrap_or(f64::NAN);
        Self::of(step("create_ms"), step("start_ms"), step("run_ms"), took)
    }

    fn of(create: f64, start: f64, run: f64, took: Duration) -> Self {
        let rest = millis(took) - create - start - run;
        Self {
            create,
            start,
            run,
            rest,
        }
    }
}

impl From<Times> for Steps {
    fn from(times: Times) -> Self {
        let (create, start, run) = (times.create, times.start, times.run);
        Self::of(millis(create), millis(start), millis(run), times.answer)
    }
}

/// The steps of many runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepSamples {
    create: Samples,
    start: Samples,
    run: Samples,
    rest: Samples,
}

impl StepSamples {
    pub(crate) fn push(&mut self, steps: Steps) {
        self.create.push(steps.create);
        self.start.push(steps.start);
        self.run.push(steps.run);
        self.rest.push(steps.rest);
    }
}

pub(crate) fn table() -> Table {
    Table::new(&[
        "steps (median, ms)",
        "way",
        "create",
        "start",
        "run",
        "rest",
    ])
}

/// One row for the floor, one for the service.
pub(crate) fn report(
    network: &str,
    (floor, service): &(StepSamples, StepSamples),
    table: &mut Table,
) {
    for (way, steps) in [("engine API", floor), ("POST /run", service)] {
        let cell = |samples: &Samples| format!("{:.1}", samples.median());
        table.row([
            network.into(),
            way.into(),
            cell(&steps.create),
            cell(&steps.start),
            cell(&steps.run),
            cell(&steps.rest),
        ]);
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
