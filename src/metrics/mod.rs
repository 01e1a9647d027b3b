//! The metrics of this process, as statics that any module may update. `metric_types` defines their types; `process` reads
//! `/proc`. Imports no other module.
//!
//! Label values are constants of the program and status codes, never text from a caller, so that they contain no secret and
//! the number of time series is bounded.

mod metric_types;
mod process;

pub use metric_types::{Counter, CounterVec, HistogramVec, Label, Sample};
pub(crate) use process::resident_bytes;

use metric_types::Label::Word;

/// Upper bounds of histogram buckets, in seconds: from a few milliseconds to an hour.
const PHASE_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Runs that ended, by reason.
pub static RUNS: CounterVec<1> = CounterVec::new(
    "oneoff_runs_total",
    "Runs that ended, by reason; failed: without a result, refused: the queue was full.",
    ["reason"],
)
.with_initial(&[
    [Word("exited")],
    [Word("signalled")],
    [Word("timeout")],
    [Word("oom")],
    [Word("cancelled")],
    [Word("failed")],
    [Word("refused")],
]);

/// Duration of each phase of a run.
pub static PHASES: HistogramVec<1> = HistogramVec::new(
    "oneoff_run_phase_seconds",
    "Time that runs spent in each phase.",
    ["phase"],
    PHASE_BOUNDS,
)
.with_initial(&[
    [Word("queue")],
    [Word("pull")],
    [Word("create")],
    [Word("stage")],
    [Word("start")],
    [Word("run")],
    [Word("collect")],
    [Word("remove")],
]);

/// Containers of runs, by their PID 1.
pub static RUN_CONTAINERS: CounterVec<1> = CounterVec::new(
    "oneoff_run_containers_total",
    "Containers that were started for runs, by their PID 1; init: this service's, command: the command, as asked for or set; \
     others: the command, for this reason.",
    ["pid_1"],
)
.with_initial(&[[Word("init")], [Word("command")]]);

/// Runs that could have a container that had waited for them.
pub static WARM_RUNS: CounterVec<1> = CounterVec::new(
    "oneoff_warm_runs_total",
    "Runs while containers may wait for runs; hit: it had one, none_waiting: none of its shape waited, died: one that waited had \
     ended, was paused or removed, others: why it cannot have one.",
    ["outcome"],
)
.with_initial(&[[Word("hit")], [Word("none_waiting")], [Word("died")]]);

/// Failed calls of the engine, by call and by status or kind of failure.
pub static ENGINE_ERRORS: CounterVec<2> = CounterVec::new(
    "oneoff_engine_errors_total",
    "Engine calls that failed, by call and by status or kind of failure.",
    ["call", "error"],
);

/// HTTP requests, by method, route and status.
pub static HTTP_REQUESTS: CounterVec<3> = CounterVec::new(
    "oneoff_http_requests_total",
    "HTTP requests, by method, route and status; 499: the client left before an answer.",
    ["method", "route", "status"],
);

/// Duration of HTTP requests, by route.
pub static HTTP_DURATION: HistogramVec<1> = HistogramVec::new(
    "oneoff_http_request_duration_seconds",
    "Time from a connection's first byte to the end of its answer, by route.",
    ["route"],
    PHASE_BOUNDS,
);

/// Bytes received from clients.
pub static HTTP_RECEIVED_BYTES: Counter = Counter::new(
    "oneoff_http_received_bytes_total",
    "Bytes received from clients.",
);

/// Bytes sent to clients.
pub static HTTP_SENT_BYTES: Counter =
    Counter::new("oneoff_http_sent_bytes_total", "Bytes sent to clients.");

/// All metrics above and those of the process, in Prometheus' text format 0.0.4. Appends `additional`, which is in the same
/// format.
pub fn render(additional: &str) -> String {
    let mut text = String::new();
    RUNS.render(&mut text);
    PHASES.render(&mut text);
    RUN_CONTAINERS.render(&mut text);
    WARM_RUNS.render(&mut text);
    ENGINE_ERRORS.render(&mut text);
    HTTP_REQUESTS.render(&mut text);
    HTTP_DURATION.render(&mut text);
    HTTP_RECEIVED_BYTES.render(&mut text);
    HTTP_SENT_BYTES.render(&mut text);
    process::render(&mut text);
    text + additional
}
