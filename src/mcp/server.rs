//! The MCP server: what the transports share. It starts tool calls on threads of their own and answers every other
//! request at once.

use super::batch::BatchBudget;
use super::calls::{Call, CallLimit, RunningCalls};
use super::client::ClientState;
use super::context::CallContext;
use super::dispatch::{self, Dispatcher};
use super::jsonrpc::{self, Code, Error, Message, Payload, Rejection, Request};
use super::progress::ProgressTicker;
use super::protocol::Era;
use super::session::{Registry, Session};
use super::sse_session::SseSession;
use super::tools::{Backend, Toolset};
use crate::cancel::Cancel;
use crate::runner::Runner;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most memory of the answer to a tool call: its value, which repeats the structured content as text, and its bytes.
const ANSWER_BYTES: u64 = 4 << 20;

/// Limits and intervals of the MCP server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether a client may choose its session id with `GET /sse?sessionId=…`.
    pub client_session_ids: bool,
    /// Which tools are served.
    pub toolset: Toolset,
    /// Longest time without a byte on an event stream.
    pub keep_alive: Duration,
    /// Longest time between two progress notifications of a call.
    pub progress_interval: Duration,
    /// How long a POST to `/mcp` waits for its response before the reply becomes an event stream.
    pub stream_after: Duration,
    /// Maximum number of running tool calls.
    pub max_calls: usize,
    /// Maximum number of running tool calls of one client.
    pub max_calls_per_session: usize,
    /// Maximum number of sessions of each HTTP transport.
    pub max_sessions: usize,
    /// Maximum number of messages queued for a slow HTTP+SSE client; one more ends its session. What a batch is answered
    /// with at once counts as one.
    pub queue_messages: usize,
    /// Maximum size of the messages queued for a slow HTTP+SSE client; one byte more ends its session.
    pub queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_session_ids: true,
            toolset: Toolset::Own,
            keep_alive: Duration::from_secs(15),
            progress_interval: Duration::from_secs(5),
            stream_after: Duration::from_secs(2),
            max_calls: 512,
            max_calls_per_session: 32,
            max_sessions: 4096,
            queue_messages: 256,
            queue_bytes: 8 << 20,
        }
    }
}

/// What became of one message.
#[derive(Debug)]
pub(super) enum Served {
    /// It was answered at once: any request but a tool call, a tool call that was refused, an invalid message.
    Answered(Value),
    /// A tool call was started. Its thread sends the response through the context's sender.
    Started,
    /// It gets no response: it was a notification or a response.
    Silent,
}

impl Served {
    /// The response, if there is one already.
    pub(super) fn response(self) -> Option<Value> {
        match self {
            Self::Answered(response) => Some(response),
            Self::Started | Self::Silent => None,
        }
    }
}

/// The MCP server. Clones share everything.
#[derive(Clone)]
pub struct Mcp {
    shared: Arc<Shared>,
}

struct Shared {
    dispatcher: Dispatcher,
    settings: Settings,
    call_limit: Arc<CallLimit>,
    sse_sessions: Arc<Registry<SseSession>>,
    http_sessions: Registry<Session>,
    closed: Cancel,
}

/// What is open and running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions of the HTTP+SSE transport.
    pub sse_sessions: usize,
    /// Sessions of the Streamable HTTP transport.
    pub http_sessions: usize,
    /// Tool calls.
    pub calls: usize,
}

impl Mcp {
    /// A server whose tools use this runner. Errors: the progress thread cannot be spawned.
    pub fn new(runner: Runner, settings: Settings) -> io::Result<Self> {
        Self::with_backend(Arc::new(runner), settings)
    }

    /// A server whose tools use this backend.
    pub(super) fn with_backend(backend: Arc<dyn Backend>, settings: Settings) -> io::Result<Self> {
        let ticker = ProgressTicker::start(settings.progress_interval)?;
        let shared = Shared {
            dispatcher: Dispatcher::new(backend, settings.toolset, ticker),
            call_limit: Arc::new(CallLimit::new(settings.max_calls)),
            sse_sessions: Arc::new(Registry::new(settings.max_sessions)),
            http_sessions: Registry::new(settings.max_sessions),
            closed: Cancel::new(),
            settings,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The number of open sessions and running calls.
    pub fn counts(&self) -> Counts {
        Counts {
            sse_sessions: self.shared.sse_sessions.len(),
            http_sessions: self.shared.http_sessions.len(),
            calls: self.shared.call_limit.len(),
        }
    }

    /// Ends every session, cancels every call and refuses new ones. Does not wait for the calls to end.
    pub fn cancel(&self) {
        self.shared.closed.fire();
        for session in self.shared.sse_sessions.end_all() {
            session.end();
        }
        self.shared.http_sessions.end_all();
        self.shared.call_limit.cancel_all();
    }

    /// As [`Mcp::cancel`], and waits for the calls to end, at most until `deadline`.
    pub fn shut_down(&self, deadline: Instant) {
        self.cancel();
        self.shared.call_limit.wait_until_ended(deadline);
        self.shared.dispatcher.close();
    }

    /// The settings that the server was made with.
    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Fires when the server closes: no response waits for a slow client any more.
    pub(super) fn closed(&self) -> &Cancel {
        &self.shared.closed
    }

    /// The open sessions of the HTTP+SSE transport.
    pub(super) fn sse_sessions(&self) -> &Arc<Registry<SseSession>> {
        &self.shared.sse_sessions
    }

    /// The open sessions of the Streamable HTTP transport.
    pub(super) fn http_sessions(&self) -> &Registry<Session> {
        &self.shared.http_sessions
    }

    /// The state of a new client.
    pub(super) fn new_client(&self) -> Arc<ClientState> {
        let limit = self.settings().max_calls_per_session;
        let calls = RunningCalls::new(Arc::clone(&self.shared.call_limit), limit);
        Arc::new(ClientState::new(calls))
    }

    /// Handles the messages of one line or of one HTTP+SSE body, and sends what is answered at once through the context's
    /// sender. May block until the client has read that, so the calling thread must not be the one that writes to the client.
    /// Errors, to be answered by the transport: a single invalid message, or a batch that the negotiated revision
    /// does not allow.
    pub(super) fn receive(&self, payload: Payload, context: &CallContext) -> Result<(), Rejection> {
        let served = match payload {
            Payload::One(message) => vec![self.handle(message?, context)],
            Payload::Batch(messages) => {
                context.client.check_batch()?;
                self.serve_batch(messages, context)
            }
        };
        let responses = served.into_iter().filter_map(Served::response).collect();
        context.sender.respond_all(responses);
        Ok(())
    }

    /// Handles the messages of a batch in their order; each invalid one is answered with an error of its own. Sends nothing
    /// itself. The answers are bounded in size: see [`BatchBudget`].
    pub(super) fn serve_batch(
        &self,
        messages: Vec<Result<Message, Rejection>>,
        context: &CallContext,
    ) -> Vec<Served> {
        let mut budget = BatchBudget::new();
        let serve = |message| match message {
            Ok(Message::Request(request)) if budget.is_used_up() => {
                Served::Answered(BatchBudget::refusal(&request.id))
            }
            Ok(message) => match self.handle(message, context) {
                Served::Answered(response) => Served::Answered(budget.charge(response)),
                other => other,
            },
            Err(rejected) => Served::Answered(jsonrpc::rejection(&rejected)),
        };
        messages.into_iter().map(serve).collect()
    }

    fn handle(&self, message: Message, context: &CallContext) -> Served {
        match message {
            Message::Request(request) => {
                let era = Era::of(&request, None);
                self.serve(request, era, context)
            }
            Message::Notification(notification) => {
                if let Some(id) = notification.cancelled_request() {
                    context.client.calls.cancel(&id);
                }
                Served::Silent
            }
            Message::Response => Served::Silent,
        }
    }

    /// Serves a request: starts a tool call, answers any other request, and one whose `era` is an error, at once. An invalid
    /// version is thus refused before the limits of calls are looked at. Sends nothing itself.
    pub(super) fn serve(
        &self,
        request: Request,
        era: Result<Era, Error>,
        context: &CallContext,
    ) -> Served {
        let id = request.id.clone();
        let outcome = match era {
            Err(error) => Err(error),
            Ok(era) if dispatch::is_long(&request) => {
                match self.start(request, context.for_request(era)) {
                    Ok(()) => return Served::Started,
                    Err(refused) => Err(refused),
                }
            }
            Ok(era) => self
                .shared
                .dispatcher
                .answer(&request, context.for_request(era)),
        };
        Served::Answered(jsonrpc::response(&id, outcome))
    }

    /// Starts a tool call on a thread of its own. Errors: a limit is reached, there is no memory for the answer, or the id is in use.
    fn start(&self, request: Request, context: CallContext) -> Result<(), Error> {
        if let Some(answer) = &context.answer
            && !answer.grow(ANSWER_BYTES)
        {
            let what = "there is no memory for the answer just now; try again later (RUNNER_MAX_BODY_MEMORY)";
            return Err(Error::new(Code::Internal, what));
        }
        let calls = Arc::clone(&context.client.calls);
        let shared = Arc::clone(&self.shared);
        calls.start(Call {
            id: request.id.clone(),
            cancel: context.cancel.clone(),
            sender: Arc::clone(&context.sender),
            work: Box::new(move || shared.dispatcher.answer(&request, context)),
        })
    }
}
