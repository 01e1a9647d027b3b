//! MCP: three transports around one dispatch. Transports know no tools, the dispatch knows no transport, and every
//! call runs on a thread of its own that ends with its client or with the server.
//!
//! `jsonrpc` → `protocol` → `dispatch` → `tools`; `outgoing`, `progress`, `calls` and `session` carry what a call needs;
//! `http_sse`, `streamable_http` and `stdio` are the transports.

mod calls;
mod dispatch;
mod http_sse;
mod jsonrpc;
mod outgoing;
mod pending;
mod post;
mod progress;
mod protocol;
mod session;
pub mod stdio;
mod streamable_http;
mod tools;

#[cfg(test)]
mod tests;
#[cfg(test)]
use tests::trial_run;

pub use tools::{Containers, Toolset};

use crate::http::{BodyReservation, Reply, Request};
use calls::{CallLimit, Calls};
use dispatch::{Context, Service};
use jsonrpc::Request as Asked;
use outgoing::MessageSender;
use progress::ProgressTicker;
use protocol::{Peer, Revision};
use serde_json::Value;
use session::{Registry, Session};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long cancelled calls may take to end at shutdown.
const CLOSING: Duration = Duration::from_secs(15);

/// Limits and times of the MCP front.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether `GET /sse?sessionId=…` may choose its id.
    pub client_session_ids: bool,
    /// Which tools are served.
    pub toolset: Toolset,
    /// Longest silence of an event stream.
    pub keep_alive: Duration,
    /// Longest silence of a call whose client wants progress.
    pub beat: Duration,
    /// How long `/mcp` waits for an answer before it turns to an event stream.
    pub patience: Duration,
    /// Calls that may run at once, in all.
    pub max_calls: usize,
    /// Calls that may run at once in one session.
    pub max_calls_per_session: usize,
    /// Sessions of each HTTP transport.
    pub max_sessions: usize,
    /// Messages that may wait for a slow reader; one more ends its session.
    pub queue_messages: usize,
    /// Bytes that may wait for a slow reader; one more ends its session.
    pub queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_session_ids: true,
            toolset: Toolset::Own,
            keep_alive: Duration::from_secs(15),
            beat: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            max_calls: 512,
            max_calls_per_session: 32,
            max_sessions: 4096,
            queue_messages: 256,
            queue_bytes: 8 << 20,
        }
    }
}

/// The MCP front. Clones share everything.
#[derive(Clone)]
pub struct Mcp {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    settings: Settings,
    beats: ProgressTicker,
    limit_of_server: Arc<CallLimit>,
    streams: Arc<Registry<http_sse::SseSession>>,
    sessions: Arc<Registry<Session>>,
}

/// Who asks: what was agreed with them, and their calls.
#[derive(Clone, Debug)]
struct Caller {
    peer: Arc<Peer>,
    calls: Arc<Calls>,
    // What an MCP-Protocol-Version header of this request said.
    declared: Option<Revision>,
    // The memory that this request's body takes up, as long as its calls run.
    room: Option<BodyReservation>,
}

impl Mcp {
    /// A front on these containers. Errors: no thread can be had.
    pub fn new(containers: impl Containers + 'static, settings: Settings) -> io::Result<Self> {
        let shared = Shared {
            service: Service::new(Arc::new(containers), settings.toolset),
            beats: ProgressTicker::start(settings.beat)?,
            limit_of_server: Arc::new(CallLimit::new(settings.max_calls)),
            streams: Arc::new(Registry::new(settings.max_sessions)),
            sessions: Arc::new(Registry::new(settings.max_sessions)),
            settings,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Answers `/sse`.
    pub fn sse(&self, request: &Request) -> Reply {
        http_sse::open(self, request)
    }

    /// Answers `/messages`.
    pub fn messages(&self, request: Request) -> Reply {
        http_sse::post(self, request)
    }

    /// Answers `/mcp`.
    pub fn streamable(&self, request: Request) -> Reply {
        streamable_http::answer(self, request)
    }

    /// How many SSE and how many `/mcp` sessions live, and how many calls run.
    pub fn census(&self) -> [usize; 3] {
        let shared = &self.shared;
        [
            shared.streams.len(),
            shared.sessions.len(),
            shared.limit_of_server.len(),
        ]
    }

    /// Ends every session, cancels every call and waits for the threads, for a bounded time.
    pub fn close(&self) {
        for stream in self.shared.streams.end_all() {
            stream.end();
        }
        self.shared.sessions.end_all();
        self.shared.limit_of_server.close(CLOSING);
        self.shared.beats.close();
    }

    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// A caller of whom nothing is known yet.
    fn stranger(&self, declared: Option<Revision>) -> Caller {
        let limit = self.settings().max_calls_per_session;
        Caller {
            peer: Arc::default(),
            calls: Arc::new(Calls::new(Arc::clone(&self.shared.limit_of_server), limit)),
            declared,
            room: None,
        }
    }

    /// Has a request answered through the sender: at once, or later from a thread of its own.
    fn serve(&self, asked: Asked, caller: &Caller, sender: Arc<dyn MessageSender>) {
        if !dispatch::is_long(&asked) {
            let never = crate::cancel::Cancel::new();
            let result = self.dispatch(&asked, caller, &sender, &never);
            sender.respond(jsonrpc::response(&asked.id, result));
            return;
        }
        let (mcp, who, told) = (self.clone(), caller.clone(), Arc::clone(&sender));
        let work: calls::Work =
            Box::new(move |asked, cancel| mcp.dispatch(asked, &who, &told, cancel));
        caller.calls.start(asked, sender, work);
    }

    fn dispatch(
        &self,
        asked: &Asked,
        caller: &Caller,
        sender: &Arc<dyn MessageSender>,
        cancel: &crate::cancel::Cancel,
    ) -> Result<Value, jsonrpc::Error> {
        let context = Context {
            peer: &caller.peer,
            declared: caller.declared,
            cancel,
            sender: Arc::clone(sender),
            beats: &self.shared.beats,
        };
        self.shared.service.answer(asked, &context)
    }
}
