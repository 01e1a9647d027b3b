//! Calls that run, each on its own named thread: who may start one, how one is cancelled, and that none outlives
//! the server.

use super::jsonrpc::{self, Code, Error, Id, Request};
use super::outgoing::MessageSender;
use crate::cancel::{Cancel, Never};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All calls of the server.
#[derive(Debug)]
pub(super) struct CallLimit {
    limit: usize,
    state: Mutex<CallLimitState>,
    empty: Receiver<Never>,
}

#[derive(Debug)]
struct CallLimitState {
    next: u64,
    running: HashMap<u64, Cancel>,
    // Every call's thread holds a clone; the receiver disconnects when the last is gone.
    open: Option<Sender<Never>>,
}

/// The calls of one peer.
#[derive(Debug)]
pub(super) struct Calls {
    limit_of_server: Arc<CallLimit>,
    limit: usize,
    state: Mutex<CallsState>,
}

#[derive(Debug, Default)]
struct CallsState {
    running: HashMap<Id, Entry>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    cancel: Cancel,
    withdrawn: bool,
}

/// What a call does on its thread.
pub(super) type Work = Box<dyn FnOnce(&Request, &Cancel) -> Result<Value, Error> + Send>;

impl CallLimit {
    /// A limit_of_server for so many calls at once.
    pub(super) fn new(limit: usize) -> Self {
        let (open, empty) = bounded(0);
        Self {
            limit,
            state: Mutex::new(CallLimitState {
                next: 0,
                running: HashMap::new(),
                open: Some(open),
            }),
            empty,
        }
    }

    /// How many calls run.
    pub(super) fn len(&self) -> usize {
        self.lock().running.len()
    }

    /// Cancels every call, lets none start any more, and waits for their threads.
    pub(super) fn close(&self, patience: Duration) {
        let running: Vec<Cancel> = {
            let mut state = self.lock();
            state.open = None;
            state.running.values().cloned().collect()
        };
        running.iter().for_each(Cancel::fire);
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = self.empty.recv_timeout(patience)
        {
            log::warn!("{} calls did not end in time", self.len());
        }
    }

    fn enter(&self, cancel: &Cancel) -> Result<(u64, Sender<Never>), Error> {
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
        Ok((number, open))
    }

    fn leave(&self, number: u64) {
        self.lock().running.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, CallLimitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// A peer that may have `limit` calls running at once.
    pub(super) fn new(limit_of_server: Arc<CallLimit>, limit: usize) -> Self {
        Self {
            limit_of_server,
            limit,
            state: Mutex::new(CallsState::default()),
        }
    }

    /// Starts a call on its own thread. Its answer, a refusal included, goes to the sender, unless the peer withdraws
    /// the request first.
    pub(super) fn start(
        self: &Arc<Self>,
        request: Request,
        sender: Arc<dyn MessageSender>,
        work: Work,
    ) {
        let id = request.id.clone();
        if let Err(error) = self.try_start(request, Arc::clone(&sender), work) {
            sender.respond(jsonrpc::response(&id, Err(error)));
        }
    }

    fn try_start(
        self: &Arc<Self>,
        request: Request,
        sender: Arc<dyn MessageSender>,
        work: Work,
    ) -> Result<(), Error> {
        let cancel = Cancel::new();
        self.admit(&request.id, &cancel)?;
        let (number, open) = self
            .limit_of_server
            .enter(&cancel)
            .inspect_err(|_| drop(self.forget(&request.id)))?;
        let (calls, id) = (Arc::clone(self), request.id.clone());
        let thread = std::thread::Builder::new().name("mcp-call".into());
        let spawned = thread.spawn(move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| work(&request, &cancel)));
            let result =
                outcome.unwrap_or_else(|_| Err(Error::new(Code::Internal, "Internal error")));
            // Before the answer: a peer may use the id again as soon as it has it.
            let wanted = calls.forget(&request.id).is_some_and(|e| !e.withdrawn);
            calls.limit_of_server.leave(number);
            if wanted {
                sender.respond(jsonrpc::response(&request.id, result));
            }
            drop((sender, open));
        });
        spawned.map(drop).map_err(|error| {
            self.forget(&id);
            self.limit_of_server.leave(number);
            busy(format!("no thread for the call: {error}"))
        })
    }

    fn admit(&self, id: &Id, cancel: &Cancel) -> Result<(), Error> {
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
        let entry = Entry {
            cancel: cancel.clone(),
            withdrawn: false,
        };
        state.running.insert(id.clone(), entry);
        Ok(())
    }

    fn forget(&self, id: &Id) -> Option<Entry> {
        self.lock().running.remove(id)
    }

    /// The peer withdraws a request: its call is cancelled and not answered. Unknown ids mean nothing.
    pub(super) fn withdraw(&self, id: &Id) {
        if let Some(entry) = self.lock().running.get_mut(id) {
            entry.withdrawn = true;
            entry.cancel.fire();
        }
    }

    /// Cancels every call and lets none start any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.running.values().for_each(|entry| entry.cancel.fire());
    }

    /// Whether no call runs.
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
    use serde_json::{Map, json};

    fn request(id: u64) -> Request {
        Request {
            id: Id::Number(id.into()),
            method: "tools/call".into(),
            params: Map::new(),
        }
    }

    fn until_cancelled() -> Work {
        Box::new(|_, cancel| {
            let _ = cancel.done().recv();
            Ok(json!({"cancelled": true}))
        })
    }

    #[test]
    fn a_withdrawn_call_is_cancelled_and_not_answered() {
        let calls = Arc::new(Calls::new(Arc::new(CallLimit::new(9)), 9));
        let (pipe, answers) = ChannelSender::new(9);
        calls.start(request(1), Arc::new(pipe), until_cancelled());
        calls.withdraw(&Id::Number(7.into()));
        calls.withdraw(&Id::Number(1.into()));
        assert!(
            answers.recv().is_err(),
            "the pipe closes and carried nothing"
        );
        assert!(calls.is_idle());
    }

    #[test]
    fn limits_refuse_and_name_the_limit() {
        let limit_of_server = Arc::new(CallLimit::new(3));
        let first = Arc::new(Calls::new(Arc::clone(&limit_of_server), 2));
        let second = Arc::new(Calls::new(Arc::clone(&limit_of_server), 2));
        let (pipe, answers) = ChannelSender::new(9);
        for id in [1, 1, 2, 3] {
            first.start(request(id), Arc::new(pipe.clone()), until_cancelled());
        }
        for id in [1, 2] {
            second.start(request(id), Arc::new(pipe.clone()), until_cancelled());
        }
        let refusals: Vec<String> = (0..3)
            .map(|_| answers.recv().unwrap().into_value()["error"]["message"].to_string())
            .collect();
        assert!(refusals[0].contains("still running"), "{refusals:?}");
        assert!(refusals[1].contains("2 tool calls"), "{refusals:?}");
        assert!(refusals[2].contains("3 tool calls"), "{refusals:?}");
        limit_of_server.close(Duration::from_secs(10));
        assert_eq!(limit_of_server.len(), 0);
        assert_eq!(answers.len(), 3, "cancelled by us: each is still answered");
        first.start(request(9), Arc::new(pipe), until_cancelled());
        assert!(
            answers
                .iter()
                .any(|a| a.into_value().to_string().contains("shutting down"))
        );
    }

    #[test]
    fn a_panic_is_an_internal_error_of_that_call_alone() {
        let calls = Arc::new(Calls::new(Arc::new(CallLimit::new(9)), 9));
        let (pipe, answers) = ChannelSender::new(9);
        calls.start(
            request(1),
            Arc::new(pipe.clone()),
            Box::new(|_, _| std::panic::resume_unwind(Box::new("bug"))),
        );
        assert_eq!(
            answers.recv().unwrap().into_value()["error"]["code"],
            -32603
        );
        calls.start(
            request(1),
            Arc::new(pipe),
            Box::new(|_, _| Ok(json!({"ok": true}))),
        );
        assert_eq!(
            answers.recv().unwrap().into_value()["result"]["ok"],
            json!(true)
        );
    }
}
