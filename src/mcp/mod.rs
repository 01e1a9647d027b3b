//! The MCP server: three transports, one dispatcher, nine tools.
//!
//! A message's path, in reading order:
//!
//! | file | what it does |
//! |---|---|
//! | `stdio`, `http_sse`, `streamable_http` | the transports: bytes → messages, messages → bytes. They know no tools |
//! | `jsonrpc`, `batch` | messages, batches and their bounds, the cancellation notification; no I/O |
//! | `protocol` | protocol revisions, and the era of a request |
//! | `server` | `Mcp`: settings, sessions, limits; starts a tool call on a thread of its own, answers the rest at once |
//! | `context` | `CallContext`: what a request is answered with, from the transport down to the tool |
//! | `client` | what is remembered of a client between messages: revision, log level, running calls |
//! | `calls` | running tool calls: threads, limits, cancellation |
//! | `dispatch` | method → result. Knows no transport |
//! | `tools` | the tools; their backend is the runner |
//! | `outgoing`, `progress`, `logging` | messages to the client: responses, progress, log messages |
//!
//! Only for HTTP: `post` (posted bodies and refusals), `session` (ids, registry), `sse_session` (the event
//! stream of an HTTP+SSE session), `mirrored_headers` (headers that must match the body) and `pending` (a POST that
//! waits for its responses: JSON or an event stream).
//!
//! A `tools/call`: transport → `Mcp::serve` → `RunningCalls::start` (new thread) → `Dispatcher::answer` → `tools::call`
//! → `Runner`; the response goes back through the context's `MessageSender`. Every call ends with its client or with
//! the server. Any other request is answered by the return value of `Mcp::serve`: a thread that empties a bounded channel
//! never fills it.

mod batch;
mod calls;
mod client;
mod context;
mod dispatch;
pub mod http_sse;
mod jsonrpc;
mod logging;
mod mirrored_headers;
mod outgoing;
mod pending;
mod post;
mod progress;
mod protocol;
mod server;
mod session;
mod sse_session;
pub mod stdio;
pub mod streamable_http;
mod tools;

#[cfg(test)]
mod tests;

pub use server::{Counts, Mcp, Settings};
pub use tools::Toolset;
