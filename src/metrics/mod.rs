//! What the service counts: every metric stands here, once per process. Any room may count; nothing here knows any room.
//! Labels are words of the program and status codes, never a caller's text: no secret and no flood of series.

mod metric_types;
mod process;

pub use metric_types::{Counter, CounterVec, HistogramVec, Label, sample};

use metric_types::Label::Word;

/// Seconds; a run's phases take from a millisecond to an hour.
const PHASE_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Runs that ended.
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

/// Time spent in each phase of runs.
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

/// Calls of the engine that failed.
pub static ENGINE_ERRORS: CounterVec<2> = CounterVec::new(
    "oneoff_engine_errors_total",
    "Engine calls that failed, by call and by status or kind of failure.",
    ["call", "error"],
);

/// Requests that were answered.
pub static HTTP_REQUESTS: CounterVec<3> = CounterVec::new(
    "oneoff_http_requests_total",
    "HTTP requests, by method, route and status; 499: the client left before an answer.",
    ["method", "route", "status"],
);

/// How long requests took.
pub static HTTP_DURATION: HistogramVec<1> = HistogramVec::new(
    "oneoff_http_request_duration_seconds",
    "Time from a connection's first byte to the end of its answer, by route.",
    ["route"],
    PHASE_BOUNDS,
);

/// Bytes that clients sent.
pub static HTTP_RECEIVED_BYTES: Counter = Counter::new(
    "oneoff_http_received_bytes_total",
    "Bytes received from clients.",
);

/// Bytes that clients were sent.
pub static HTTP_SENT_BYTES: Counter =
    Counter::new("oneoff_http_sent_bytes_total", "Bytes sent to clients.");

/// Everything above and the process itself, in Prometheus' text format 0.0.4; `more` is appended.
pub fn render(more: &str) -> String {
    let mut text = String::new();
    RUNS.render(&mut text);
    PHASES.render(&mut text);
    ENGINE_ERRORS.render(&mut text);
    HTTP_REQUESTS.render(&mut text);
    HTTP_DURATION.render(&mut text);
    HTTP_RECEIVED_BYTES.render(&mut text);
    HTTP_SENT_BYTES.render(&mut text);
    process::render(&mut text);
    text + more
}
