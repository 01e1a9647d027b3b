//! The events of `/events`, encoded.

use crate::rest::run_body::RunBody;
use crate::rest::stream::{Delivery, WireEvent};
use crate::runner::RunState;
use serde::Serialize;

/// How many runs one event has at most.
pub(super) const RUNS_PER_EVENT: usize = 64;

/// The data of a `runs` event.
#[derive(Serialize)]
struct Runs<'a> {
    /// New or changed ones, without their results.
    runs: Vec<RunBody<'a>>,
    /// Ids of those that are no longer known.
    gone: &'a [String],
}

/// An event with the states of these runs.
pub(super) fn runs_frame(states: &[RunState], gone: &[String]) -> Vec<u8> {
    let runs = states.iter().map(RunBody::brief).collect();
    frame("runs", &Runs { runs, gone })
}

/// An event.
pub(super) fn frame(name: &'static str, data: &impl Serialize) -> Vec<u8> {
    Delivery::Sse.frame(&WireEvent::new(name, data), None)
}
