//! Progress of a call, for a client that sent a `progressToken`: paced, strictly increasing, with a beat when nothing
//! else happens, and silent once the call is answered.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress>

use super::jsonrpc;
use super::outgoing::MessageSender;
use crate::cancel::Cancel;
use crossbeam_channel::{Receiver, Sender, never, tick, unbounded};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shortest time between two notifications of one call.
const PACE: Duration = Duration::from_millis(300);
/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 200;
/// Longest token that is echoed, in bytes.
const LONGEST_TOKEN: usize = 1024;

/// The progress of one call.
pub(super) struct Progress {
    token: Value,
    sender: Arc<dyn MessageSender>,
    beat: Duration,
    state: Mutex<State>,
}

struct State {
    step: u64,
    started: Instant,
    told: Option<Instant>,
    message: String,
    unsaid: bool,
    finished: bool,
}

/// The token in a request's `_meta`, of any type that the protocol allows.
pub(super) fn token(meta: Option<&Map<String, Value>>) -> Option<Value> {
    match meta?.get("progressToken")? {
        Value::String(text) if text.len() > LONGEST_TOKEN => None,
        token @ (Value::String(_) | Value::Number(_)) => Some(token.clone()),
        _ => None,
    }
}

impl Progress {
    /// Tells what happens now. Told at once, or with the next beat when something was told just before.
    pub(super) fn tell(&self, message: &str) {
        let mut state = self.lock();
        state.message = message.chars().take(LONGEST_MESSAGE).collect();
        state.unsaid = true;
        if state.told.is_none_or(|told| told.elapsed() >= PACE) {
            self.send(&mut state);
        }
    }

    /// Tells a measured step, as test tools do: `step` of `total`.
    pub(super) fn measure(&self, step: u64, total: u64) {
        let params = json!({"progressToken": self.token, "progress": step, "total": total});
        self.sender
            .notify(jsonrpc::notification("notifications/progress", params));
    }

    /// Nothing more is told. Call it before the answer goes out.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
    }

    fn beat(&self) {
        let mut state = self.lock();
        let silence = state.told.unwrap_or(state.started).elapsed();
        if (state.unsaid && silence >= PACE) || silence >= self.beat {
            self.send(&mut state);
        }
    }

    fn send(&self, state: &mut State) {
        if state.finished {
            return;
        }
        let seconds = state.started.elapsed().as_secs();
        let message = match (state.unsaid, state.message.is_empty()) {
            (true, _) => state.message.clone(),
            (false, true) => format!("still running after {seconds} s"),
            (false, false) => format!("still running after {seconds} s; last: {}", state.message),
        };
        state.step += 1;
        state.unsaid = false;
        state.told = Some(Instant::now());
        let params =
            json!({"progressToken": self.token, "progress": state.step, "message": message});
        self.sender
            .notify(jsonrpc::notification("notifications/progress", params));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one thread that beats for every call, idle while there is none.
#[derive(Debug)]
pub(super) struct ProgressTicker {
    registrations: Sender<Weak<Progress>>,
    beat: Duration,
    stop: Cancel,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ProgressTicker {
    /// Starts the thread. `beat` is the longest silence of a call. Errors: no thread can be had.
    pub(super) fn start(beat: Duration) -> std::io::Result<Self> {
        let (registrations, registered) = unbounded();
        let stop = Cancel::new();
        let watch = stop.clone();
        let thread = std::thread::Builder::new()
            .name("mcp-beats".into())
            .spawn(move || run(&registered, &watch, beat.min(PACE)))?;
        Ok(Self {
            registrations,
            beat,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The progress of a new call.
    pub(super) fn progress(&self, token: Value, sender: Arc<dyn MessageSender>) -> Arc<Progress> {
        let progress = Arc::new(Progress {
            token,
            sender,
            beat: self.beat,
            state: Mutex::new(State {
                step: 0,
                started: Instant::now(),
                told: None,
                message: String::new(),
                unsaid: false,
                finished: false,
            }),
        });
        // The thread ends only with us, so this cannot fail before nobody needs it.
        let _ = self.registrations.send(Arc::downgrade(&progress));
        progress
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.stop.fire();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the progress thread panicked");
        }
    }
}

fn run(registered: &Receiver<Weak<Progress>>, stop: &Cancel, pace: Duration) {
    let mut calls: Vec<Weak<Progress>> = Vec::new();
    let idle = never();
    let mut ticks: Option<Receiver<Instant>> = None;
    loop {
        crossbeam_channel::select! {
            recv(stop.done()) -> _ => return,
            recv(registered) -> call => match call {
                Ok(call) => calls.push(call),
                Err(_) => return,
            },
            recv(ticks.as_ref().unwrap_or(&idle)) -> _ => calls.retain(|call| {
                call.upgrade().inspect(|progress| progress.beat()).is_some()
            }),
        }
        // No tick without a call: an idle server does not wake up.
        ticks = match calls.is_empty() {
            true => None,
            false => ticks.or_else(|| Some(tick(pace))),
        };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::mcp::outgoing::{ChannelSender, Item};

    fn params(item: Item) -> Value {
        item.into_value()["params"].clone()
    }

    #[test]
    fn progress_increases_beats_in_silence_and_ends_with_the_call() {
        let beats = ProgressTicker::start(Duration::from_millis(50)).unwrap();
        let (pipe, told) = ChannelSender::new(64);
        let progress = beats.progress(json!(0), Arc::new(pipe));
        progress.tell("pulling");
        progress.tell("one line");
        progress.tell("the last line");
        let first = params(told.recv().unwrap());
        assert_eq!(
            first,
            json!({"progressToken": 0, "progress": 1, "message": "pulling"})
        );
        let second = params(told.recv().unwrap());
        assert_eq!(second["message"], "the last line", "paced: only the newest");
        let third = params(told.recv().unwrap());
        assert_eq!(third["progress"], 3);
        assert!(
            third["message"]
                .as_str()
                .unwrap()
                .starts_with("still running")
        );
        progress.finish();
        let before = told.len();
        progress.tell("too late");
        progress.beat();
        assert_eq!(told.len(), before, "nothing after the answer");
        drop(progress);
        while told.recv_timeout(Duration::from_secs(5)).is_ok() {}
        beats.close();
    }

    #[test]
    fn tokens_are_strings_or_numbers_zero_included() {
        for (meta, expected) in [
            (json!({"progressToken": 0}), Some(json!(0))),
            (json!({"progressToken": "a"}), Some(json!("a"))),
            (json!({"progressToken": null}), None),
            (json!({"progressToken": {}}), None),
            (json!({}), None),
        ] {
            assert_eq!(token(meta.as_object()), expected, "{meta}");
        }
        assert_eq!(token(None), None);
    }
}
