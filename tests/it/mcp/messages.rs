//! The messages that the tests of MCP send, and calls of tools without a session.

use crate::support::Server;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub const IMAGE: &str = "alpine:latest";

pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

pub fn initialize(revision: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

pub fn call(id: u64, name: &str, arguments: Value, meta: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": meta}})
}

pub fn run(id: u64, command: &str) -> Value {
    let arguments = json!({"image": IMAGE, "command": ["sh", "-c", command], "network": "none"});
    call(id, "run_container", arguments, json!({"progressToken": id}))
}

pub fn stateless() -> Value {
    json!({META_VERSION: "2026-07-28", META_CAPABILITIES: {}, "progressToken": "t"})
}

/// Waits until the engine holds nothing of this server; fails after two seconds.
#[track_caller]
pub fn gone_within_two_seconds(server: &Server) {
    let begun = Instant::now();
    while !server.leftovers().is_empty() {
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(2),
            "still there: {:?}",
            server.leftovers()
        );
    }
}

/// Calls a tool without a session. Returns its result.
pub fn ask(server: &Server, name: &str, arguments: Value) -> Value {
    let body = call(1, name, arguments, json!({})).to_string();
    server.request("POST", "/mcp", &body).json()["result"].clone()
}

pub fn detached(command: &str) -> Value {
    json!({"image": IMAGE, "command": ["sh", "-c", command], "network": "none", "detach": true})
}
