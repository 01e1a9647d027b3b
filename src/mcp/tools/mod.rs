//! The tools: what each takes and returns. Knows no JSON-RPC and no transport.
//! <https://modelcontextprotocol.io/specification/2025-11-25/server/tools>
//!
//! A call: JSON arguments → `tool_call` (`ToolCall`) → `backend` (the runner; `ToolOutcome`) → `report` (JSON
//! result). In reading order:
//!
//! | file | what it does |
//! |---|---|
//! | `catalogue` | the list of tools, as `tools/list` returns it; `schema` makes the JSON schemas |
//! | `call` | one call, start to end; forwards run events as progress |
//! | `arguments`, `tool_call` | argument types, and reading them |
//! | `backend` | executes a call with the runner |
//! | `report` | outcome → result; `text` writes the text block, `structured` has the types of the rest |
//! | `decode`, `truncate` | volumes as text; output cut to size |
//! | `result`, `failure` | the result object; errors as text |
//! | `conformance` | tools of the MCP conformance suite, served only on request |

mod arguments;
mod backend;
mod call;
mod catalogue;
pub(crate) mod conformance;
mod decode;
mod failure;
mod report;
mod result;
mod schema;
mod structured;
mod text;
mod tool_call;
mod truncate;

pub(crate) use backend::Backend;
#[cfg(test)]
pub(crate) use backend::ToolOutcome;
pub(crate) use call::call;
pub use catalogue::Toolset;
pub(crate) use catalogue::{Tool, definitions};
#[cfg(test)]
pub(crate) use tool_call::ToolCall;
