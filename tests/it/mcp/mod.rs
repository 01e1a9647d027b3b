//! The MCP server as its clients see it: over every transport, with pinned clients, and under the conformance suite.

mod batches;
mod calls;
mod clients;
mod conformance;
mod detached;
mod headers;
mod installed;
pub mod messages;
mod schema;
mod sessions;
mod stdio;
mod stream;
mod transports;
