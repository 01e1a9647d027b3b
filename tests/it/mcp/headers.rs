//! The header fields of MCP over HTTP.

/// What every MCP client accepts.
pub const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");

pub const PROTOCOL_VERSION: &str = "MCP-Protocol-Version";
pub const SESSION_ID: &str = "Mcp-Session-Id";
pub const METHOD: &str = "Mcp-Method";
pub const NAME: &str = "Mcp-Name";

/// A call of `run_container` without a session (revision 2026-07-28).
pub const STATELESS_CALL: [(&str, &str); 4] = [
    ACCEPT,
    (PROTOCOL_VERSION, "2026-07-28"),
    (METHOD, "tools/call"),
    (NAME, "run_container"),
];
