//! The MCP server as its clients see it: over every transport, with pinned clients, and under the conformance suite.

mod clients;
mod conformance;
mod installed;
mod live;
mod schema;
mod stream;
