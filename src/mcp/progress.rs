//! Progress of a tool call, for a client that sent a `progressToken`: rate-limited, strictly increasing, repeated while
//! nothing new happens, and silent once the call has ended.
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
const MIN_INTERVAL: Duration = Duration::from_millis(300);
/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 200;
/// Longest token that is echoed, in bytes.
const LONGEST_TOKEN: usize = 1024;

/// The progress of one call.
pub(super) struct Progress {
    token: Value,
    sender: Arc<dyn MessageSender>,
    max_interval: Duration,
    state: Mutex<State>,
}

struct State {
    /// `progress` of the last notification.
    step: u64,
    started: Instant,
    last_sent: Option<Instant>,
    /// The newest message.
    message: String,
    /// Whether the newest message was not sent yet.
    is_pending: bool,
    finished: bool,
}

/// The `progressToken` of a request's `_meta`: a string or an integer. `None`: there is none, or it is too long to echo, or a
/// number that would not be echoed as it was sent.
pub(super) fn token(meta: Option<&Map<String, Value>>) -> Option<Value> {
    match meta?.get("progressToken")? {
        Value::String(text) if text.len() > LONGEST_TOKEN => None,
        Value::Number(number) => jsonrpc::whole(number).map(Value::Number),
        token @ Value::String(_) => Some(token.clone()),
        _ => None,
    }
}

impl Progress {
    /// Reports what happens now: sent at once, or with a later tick if the last notification was less than
    /// [`MIN_INTERVAL`] ago. A newer report replaces one that was not sent. Never blocks.
    pub(super) fn report(&self, message: &str) {
        let mut state = self.lock();
        state.message = message.chars().take(LONGEST_MESSAGE).collect();
        state.is_pending = true;
        let last_sent = state.last_sent;
        if last_sent.is_none_or(|last_sent| last_sent.elapsed() >= MIN_INTERVAL) {
            self.send(&mut state);
        }
    }

    /// Sends `step` of `total` at once, without a message and without rate limit. For the conformance tools.
    pub(super) fn report_step(&self, step: u64, total: u64) {
        let params = json!({"progressToken": self.token, "progress": step, "total": total});
        self.sender
            .notify(jsonrpc::notification("notifications/progress", params));
    }

    /// Stops all notifications. Must be called before the response is sent.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
    }

    /// Sends a pending message, or a reminder when nothing was sent for `max_interval`.
    fn tick(&self) {
        let mut state = self.lock();
        let silence = state.last_sent.unwrap_or(state.started).elapsed();
        if (state.is_pending && silence >= MIN_INTERVAL) || silence >= self.max_interval {
            self.send(&mut state);
        }
    }

    fn send(&self, state: &mut State) {
        if state.finished {
            return;
        }
        let seconds = state.started.elapsed().as_secs();
        let message = match (state.is_pending, state.message.is_empty()) {
            (true, _) => state.message.clone(),
            (false, true) => format!("still running after {seconds} s"),
            (false, false) => format!("still running after {seconds} s; last: {}", state.message),
        };
        state.step += 1;
        state.is_pending = false;
        state.last_sent = Some(Instant::now());
        let params =
            json!({"progressToken": self.token, "progress": state.step, "message": message});
        self.sender
            .notify(jsonrpc::notification("notifications/progress", params));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that sends the pending and repeated notifications of all calls. It sleeps while no call has progress.
#[derive(Debug)]
pub(super) struct ProgressTicker {
    registrations: Sender<Weak<Progress>>,
    max_interval: Duration,
    stop: Cancel,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ProgressTicker {
    /// Starts the thread. `max_interval`: longest time without a notification of a call. Errors: the thread cannot be
    /// spawned.
    pub(super) fn start(max_interval: Duration) -> std::io::Result<Self> {
        let (registrations, registered) = unbounded();
        let stop = Cancel::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("mcp-progress".into())
            .spawn(move || run(&registered, &stopped, max_interval.min(MIN_INTERVAL)))?;
        Ok(Self {
            registrations,
            max_interval,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The progress of a new call. The thread forgets it when the last clone is dropped.
    pub(super) fn progress(&self, token: Value, sender: Arc<dyn MessageSender>) -> Arc<Progress> {
        let progress = Arc::new(Progress {
            token,
            sender,
            max_interval: self.max_interval,
            state: Mutex::new(State {
                step: 0,
                started: Instant::now(),
                last_sent: None,
                message: String::new(),
                is_pending: false,
                finished: false,
            }),
        });
        // Fails only after `close`; then no tick is needed.
        let _ = self.registrations.send(Arc::downgrade(&progress));
        progress
    }

    /// Ends the thread and waits for it.
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

fn run(registered: &Receiver<Weak<Progress>>, stop: &Cancel, interval: Duration) {
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
                call.upgrade().inspect(|progress| progress.tick()).is_some()
            }),
        }
        // No timer without a call: an idle server does not wake up.
        ticks = match calls.is_empty() {
            true => None,
            false => ticks.or_else(|| Some(tick(interval))),
        };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::mcp::outgoing::{ChannelSender, Outgoing};

    fn params(message: Outgoing) -> Value {
        message.into_value()["params"].clone()
    }

    #[test]
    fn progress_increases_repeats_while_idle_and_ends_with_the_call() {
        let ticker = ProgressTicker::start(Duration::from_millis(50)).unwrap();
        let (sender, received) = ChannelSender::new(64);
        let progress = ticker.progress(json!(0), Arc::new(sender));
        progress.report("pulling");
        progress.report("one line");
        progress.report("the last line");
        let first = params(received.recv().unwrap());
        assert_eq!(
            first,
            json!({"progressToken": 0, "progress": 1, "message": "pulling"})
        );
        let second = params(received.recv().unwrap());
        assert_eq!(
            second["message"], "the last line",
            "rate-limited: only the newest"
        );
        let third = params(received.recv().unwrap());
        assert_eq!(third["progress"], 3);
        assert!(
            third["message"]
                .as_str()
                .unwrap()
                .starts_with("still running")
        );
        progress.finish();
        let before = received.len();
        progress.report("too late");
        progress.tick();
        assert_eq!(received.len(), before, "nothing after the call has ended");
        drop(progress);
        while received.recv_timeout(Duration::from_secs(5)).is_ok() {}
        ticker.close();
    }

    #[test]
    fn a_token_is_a_string_or_an_integer_zero_included() {
        for (meta, expected) in [
            (json!({"progressToken": 0}), Some(json!(0))),
            (json!({"progressToken": "a"}), Some(json!("a"))),
            (json!({"progressToken": 1e30}), None),
            (json!({"progressToken": null}), None),
            (json!({"progressToken": {}}), None),
            (json!({}), None),
        ] {
            assert_eq!(token(meta.as_object()), expected, "{meta}");
        }
        assert_eq!(token(None), None);
    }
}
