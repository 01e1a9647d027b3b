//! Running tool calls, each on a thread of its own: limits per client and per server, cancellation, and waiting for the
//! threads at shutdown.

use super::jsonrpc::{self, Code, Error, Id};
use super::outgoing::MessageSender;
use crate::cancel::{Cancel, Never};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The running calls of the whole server, and their maximum number.
#[derive(Debug)]
pub(super) struct CallLimit {
    limit: usize,
    state: Mutex<LimitState>,
    /// Disconnects when the last call's thread has ended after [`CallLimit::cancel_all`].
    all_ended: Receiver<Never>,
}

#[derive(Debug)]
struct LimitState {
    next: u64,
    running: HashMap<u64, Cancel>,
    /// Each call's thread holds a clone. `None`: closed.
    open: Option<Sender<Never>>,
}

/// A call's place within the server's limit.
struct Permit {
    number: u64,
    /// Held until the thread has sent its response; see [`CallLimit::all_ended`].
    open: Sender<Never>,
}

/// The running calls of one client, by request id.
#[derive(Debug)]
pub(super) struct RunningCalls {
    server: Arc<CallLimit>,
    limit: usize,
    state: Mutex<CallsState>,
}

#[derive(Debug, Default)]
struct CallsState {
    running: HashMap<Id, RunningCall>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct RunningCall {
    cancel: Cancel,
    /// The client cancelled it: no response is sent (see `notifications/cancelled`).
    is_cancelled: bool,
}

/// A call to start.
pub(super) struct Call {
    /// The id of its request.
    pub id: Id,
    /// Ends `work` early when fired.
    pub cancel: Cancel,
    /// Where the response goes.
    pub sender: Arc<dyn MessageSender>,
    /// Executes the call. Runs on the call's thread.
    pub work: Box<dyn FnOnce() -> Result<Value, Error> + Send>,
}

impl CallLimit {
    /// Allows `limit` calls at a time.
    pub(super) fn new(limit: usize) -> Self {
        let (open, all_ended) = bounded(0);
        Self {
            limit,
            state: Mutex::new(LimitState {
                next: 0,
                running: HashMap::new(),
                open: Some(open),
            }),
            all_ended,
        }
    }

    /// The number of running calls.
    pub(super) fn len(&self) -> usize {
        self.lock().running.len()
    }

    /// Cancels every call and refuses new ones.
    pub(super) fn cancel_all(&self) {
        let running: Vec<Cancel> = {
            let mut state = self.lock();
            state.open = None;
            state.running.values().cloned().collect()
        };
        running.iter().for_each(Cancel::fire);
    }

    /// After [`CallLimit::cancel_all`]: waits for the threads to end, at most until `deadline`.
    pub(super) fn wait_until_ended(&self, deadline: Instant) {
        let waited = self.all_ended.recv_deadline(deadline);
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = waited {
            log::warn!(
                "{} calls were still in progress at the end of the grace period",
                self.len()
            );
        }
    }

    /// Adds a call. Errors: the limit is reached, or the server is shutting down.
    fn acquire(&self, cancel: &Cancel) -> Result<Permit, Error> {
        let mut state = self.lock();
        let Some(open) = state.open.clone() else {
            return Err(busy("the server is shutting down".into()));
        };
        if state.running.len() >= self.limit {
            let limit = self.limit;
            return Err(busy(format!(
                "the server runs {limit} tool calls already; try again later"
            )));
        }
        state.next += 1;
        let number = state.next;
        state.running.insert(number, cancel.clone());
        Ok(Permit { number, open })
    }

    /// Removes a call.
    fn release(&self, number: u64) {
        self.lock().running.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, LimitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningCalls {
    /// No calls yet; `limit` may run at a time.
    pub(super) fn new(server: Arc<CallLimit>, limit: usize) -> Self {
        Self {
            server,
            limit,
            state: Mutex::new(CallsState::default()),
        }
    }

    /// Starts a call on a thread of its own and returns at once. That thread sends the response to the call's sender, unless
    /// the client cancels the request first. Errors: the call is refused, and its sender gets nothing.
    pub(super) fn start(self: &Arc<Self>, call: Call) -> Result<(), Error> {
        self.add(&call.id, &call.cancel)?;
        let permit = self
            .server
            .acquire(&call.cancel)
            .inspect_err(|_| drop(self.remove(&call.id)))?;
        let (number, id) = (permit.number, call.id.clone());
        let calls = Arc::clone(self);
        let thread = std::thread::Builder::new().name("mcp-call".into());
        let spawned = thread.spawn(move || calls.execute(call, permit));
        spawned.map(drop).map_err(|error| {
            self.remove(&id);
            self.server.release(number);
            busy(format!("no thread for the call: {error}"))
        })
    }

    /// Executes a call on the current thread and sends its response. A panic becomes an internal error.
    fn execute(&self, call: Call, permit: Permit) {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(call.work));
        let result = outcome.unwrap_or_else(|_| Err(Error::new(Code::Internal, "Internal error")));
        // Before the response: the client may use the id again as soon as it has it.
        let is_wanted = self
            .remove(&call.id)
            .is_some_and(|running| !running.is_cancelled);
        self.server.release(permit.number);
        if is_wanted {
            call.sender.respond(jsonrpc::response(&call.id, result));
        }
        drop((call.sender, permit.open));
    }

    /// Errors: the session has ended, the id is in use, or the client's limit is reached.
    fn add(&self, id: &Id, cancel: &Cancel) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(busy("the session has ended".into()));
        }
        if state.running.contains_key(id) {
            let what = "Invalid request: this id belongs to a request that is still running";
            return Err(Error::new(Code::InvalidRequest, what));
        }
        if state.running.len() >= self.limit {
            let limit = self.limit;
            return Err(busy(format!(
                "this session has {limit} tool calls running; wait for one to end, or cancel one"
            )));
        }
        let running = RunningCall {
            cancel: cancel.clone(),
            is_cancelled: false,
        };
        state.running.insert(id.clone(), running);
        Ok(())
    }

    fn remove(&self, id: &Id) -> Option<RunningCall> {
        self.lock().running.remove(id)
    }

    /// Cancels a call at the client's request: it gets no response. Unknown ids are ignored.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some(call) = self.lock().running.get_mut(id) {
            call.is_cancelled = true;
            call.cancel.fire();
        }
    }

    /// Cancels every call and refuses new ones. Cancelled calls still get a response.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.running.values().for_each(|call| call.cancel.fire());
    }

    /// Whether no call is running.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().running.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, CallsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn busy(message: String) -> Error {
    Error::new(Code::Internal, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::mcp::outgoing::ChannelSender;
    use serde_json::json;

    fn call(id: u64, sender: &ChannelSender) -> Call {
        Call {
            id: Id::Number(id.into()),
            cancel: Cancel::new(),
            sender: Arc::new(sender.clone()),
            work: Box::new(|| Ok(json!({"ok": true}))),
        }
    }

    fn until_cancelled(id: u64, sender: &ChannelSender) -> Call {
        let call = call(id, sender);
        let cancel = call.cancel.clone();
        let work = Box::new(move || {
            let _ = cancel.done().recv();
            Ok(json!({"cancelled": true}))
        });
        Call { work, ..call }
    }

    #[test]
    fn a_call_that_the_client_cancels_gets_no_response() {
        let calls = Arc::new(RunningCalls::new(Arc::new(CallLimit::new(9)), 9));
        let (sender, responses) = ChannelSender::new(9);
        calls.start(until_cancelled(1, &sender)).unwrap();
        drop(sender);
        calls.cancel(&Id::Number(7.into()));
        calls.cancel(&Id::Number(1.into()));
        assert!(
            responses.recv().is_err(),
            "the channel disconnects without a message"
        );
        assert!(calls.is_idle());
    }

    #[test]
    fn limits_refuse_and_name_the_limit() {
        let server = Arc::new(CallLimit::new(3));
        let first = Arc::new(RunningCalls::new(Arc::clone(&server), 2));
        let second = Arc::new(RunningCalls::new(Arc::clone(&server), 2));
        let (sender, responses) = ChannelSender::new(9);
        let start = |calls: &Arc<RunningCalls>, id| calls.start(until_cancelled(id, &sender));
        let first_four = [1, 1, 2, 3].map(|id| start(&first, id));
        let last_two = [1, 2].map(|id| start(&second, id));
        let outcomes = first_four.into_iter().chain(last_two);
        let refusals: Vec<String> = outcomes
            .filter_map(Result::err)
            .map(|error| error.message)
            .collect();
        assert_eq!(refusals.len(), 3, "{refusals:?}");
        assert!(refusals[0].contains("still running"), "{refusals:?}");
        assert!(refusals[1].contains("2 tool calls"), "{refusals:?}");
        assert!(refusals[2].contains("3 tool calls"), "{refusals:?}");
        server.cancel_all();
        server.wait_until_ended(Instant::now() + std::time::Duration::from_secs(10));
        assert_eq!(server.len(), 0);
        assert_eq!(responses.len(), 3, "cancelled by us: each gets a response");
        let refused = start(&first, 9).unwrap_err();
        assert!(refused.message.contains("shutting down"));
    }

    #[test]
    fn a_panic_is_an_internal_error_of_that_call_alone() {
        let calls = Arc::new(RunningCalls::new(Arc::new(CallLimit::new(9)), 9));
        let (sender, responses) = ChannelSender::new(9);
        let panics = Call {
            work: Box::new(|| std::panic::resume_unwind(Box::new("bug"))),
            ..call(1, &sender)
        };
        calls.start(panics).unwrap();
        assert_eq!(
            responses.recv().unwrap().into_value()["error"]["code"],
            -32603
        );
        calls.start(call(1, &sender)).unwrap();
        assert_eq!(
            responses.recv().unwrap().into_value()["result"]["ok"],
            json!(true)
        );
    }
}
