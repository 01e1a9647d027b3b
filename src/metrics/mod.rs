//! What the service counts: every metric stands here, once per process. Any room may count; nothing here knows any room.
//! Labels are words of the program and status codes, never a caller's text: no secret and no flood of series.

mod kinds;
mod process;

pub use kinds::{Counter, Counters, Histograms, Label, sample};

use kinds::Label::Word;

/// Seconds; a run's phases take from a millisecond to an hour.
const PHASE_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Runs that ended.
pub static RUNS: Counters<1> = Counters::new(
    "oneoff_runs_total",
    "Runs that ended, by reason; failed: without a result, refused: the queue was full.",
    ["reason"],
)
.starting_with(&[
    [Word("exited")],
    [Word("signalled")],
    [Word("timeout")],
    [Word("oom")],
    [Word("cancelled")],
    [Word("failed")],
    [Word("refused")],
]);

/// Time spent in each phase of runs.
pub static PHASES: Histograms<1> = Histograms::new(
    "oneoff_run_phase_seconds",
    "Time that runs spent in each phase.",
    ["phase"],
    PHASE_BOUNDS,
)
.starting_with(&[
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
pub static ENGINE_ERRORS: Counters<2> = Counters::new(
    "oneoff_engine_errors_total",
    "Engine calls that failed, by call and by status or kind of failure.",
    ["call", "error"],
);

/// Requests that were answered.
pub static HTTP_REQUESTS: Counters<3> = Counters::new(
    "oneoff_http_requests_total",
    "HTTP requests, by method, route and status; 499: the client left before an answer.",
    ["method", "route", "status"],
);

/// How long requests took.
pub static HTTP_DURATION: Histograms<1> = Histograms::new(
    "oneoff_http_request_duration_seconds",
    "Time from a connection's first byte to the end of its answer, by route.",
    ["route"],
    PHASE_BOUNDS,
);

/// Bytes that clients sent.
pub static BYTES_IN: Counter = Counter::new(
    "oneoff_http_received_bytes_total",
    "Bytes received from clients.",
);

/// Bytes that clients were sent.
pub static BYTES_OUT: Counter =
    Counter::new("oneoff_http_sent_bytes_total", "Bytes sent to clients.");

/// Everything above and the process itself, in Prometheus' text format 0.0.4; `more` is appended.
pub fn render(more: &str) -> String {
    let mut text = String::new();
    RUNS.render(&mut text);
    PHASES.render(&mut text);
    ENGINE_ERRORS.render(&mut text);
    HTTP_REQUESTS.render(&mut text);
    HTTP_DURATION.render(&mut text);
    BYTES_IN.render(&mut text);
    BYTES_OUT.render(&mut text);
    process::render(&mut text);
    text + more
}
