//! Where the time of a run goes, step by step.

use super::figures::{Samples, Table};
use super::floor::Times;
use serde_json::Value;
use std::time::Duration;

/// Milliseconds of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    create: f64,
    start: f64,
    run: f64,
    /// All that is none of these: attach and wait, and whatever the server does besides.
    rest: f64,
}

impl Steps {
    /// Of a server's answer: its own account, in whole milliseconds.
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

/// Those of many runs.
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
