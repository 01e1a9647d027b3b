//! `GET /metrics`, for Prometheus.

use crate::http::Reply;
use crate::metrics::{Sample, render};
use crate::runner::Runner;

/// Counts of the MCP side, which the caller provides because this module does not import `mcp`.
#[derive(Clone, Copy, Debug)]
pub struct McpCounts {
    /// Open sessions, over any transport.
    pub sessions: usize,
    /// Tool calls in progress.
    pub calls: usize,
}

/// All metrics of this process.
pub fn get(runner: &Runner, mcp: McpCounts) -> Reply {
    let text = render(&current_values(runner, mcp));
    Reply::bytes(
        200,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into_bytes(),
    )
}

/// The metrics whose values are read now: gauges, and the reaper's counter.
fn current_values(runner: &Runner, mcp: McpCounts) -> String {
    let now = runner.occupancy();
    let gauges = [
        ("oneoff_slots", "Runs that may go on at once.", now.slots),
        (
            "oneoff_slots_in_use",
            "Slots that runs hold.",
            now.slots.saturating_sub(now.free),
        ),
        (
            "oneoff_queue_capacity",
            "Runs that may wait for a slot.",
            now.queue_length,
        ),
        (
            "oneoff_queue_waiting",
            "Runs that wait for a slot.",
            now.waiting,
        ),
        (
            "oneoff_objects_in_use",
            "Runs and other work that the engine holds objects for.",
            now.active,
        ),
        (
            "oneoff_warm_containers",
            "Containers that wait for runs.",
            now.warm.waiting,
        ),
        (
            "oneoff_warm_shapes",
            "Shapes of containers that were used lately, or are kept.",
            now.warm.shapes,
        ),
        ("oneoff_mcp_sessions", "Open MCP sessions.", mcp.sessions),
        (
            "oneoff_mcp_calls",
            "Calls of MCP tools in progress.",
            mcp.calls,
        ),
    ];
    let mut text = String::new();
    for (name, help, value) in gauges {
        Sample::gauge(name, help, value as f64).render(&mut text);
    }
    let oldest = now
        .warm
        .oldest
        .map_or(0.0, |since| since.elapsed().as_secs_f64());
    let help = "How long the oldest container that waits for runs has waited.";
    Sample::gauge("oneoff_warm_oldest_seconds", help, oldest).render(&mut text);
    let reaped = Sample {
        metric_type: "counter",
        name: "oneoff_reaped_objects_total",
        help: "Leftovers that the reaper found and removed.",
        value: now.reaped as f64,
    };
    reaped.render(&mut text);
    text
}
