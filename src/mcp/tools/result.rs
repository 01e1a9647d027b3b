//! `CallToolResult`: text for a model as the first block, and structured content, small enough for one event.
//! <https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result>

use serde_json::{Value, json};

/// Largest result, serialized, in bytes: the Python SDK drops a connection over an event of 1 MiB.
pub(super) const LARGEST_RESULT: usize = 890_000;
/// The budgets to try, in bytes per stream and per volume. The last one nearly always fits.
const BUDGETS: [usize; 7] = [300_000, 150_000, 75_000, 30_000, 10_000, 2_000, 100];

/// The value of `isError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultKind {
    /// `false`
    Success,
    /// `true`
    Error,
}

/// A successful result.
pub(super) fn success(text: &str, structured: Value) -> Value {
    with_kind(text, structured, ResultKind::Success)
}

/// A result of either kind with structured content, which is repeated as JSON in the second text block.
pub(super) fn with_kind(text: &str, structured: Value, kind: ResultKind) -> Value {
    call_tool_result(text, Some(structured), kind)
}

/// An error result without structured content.
pub(super) fn error(text: &str) -> Value {
    call_tool_result(text, None, ResultKind::Error)
}

fn call_tool_result(text: &str, structured: Option<Value>, kind: ResultKind) -> Value {
    let mut content = vec![json!({"type": "text", "text": text})];
    let mut result = json!({});
    if let Some(structured) = structured {
        // For clients that parse JSON from text. Low priority: a model has read the first block.
        content.push(json!({"type": "text", "text": structured.to_string(),
            "annotations": {"priority": 0}}));
        result["structuredContent"] = structured;
    }
    result["content"] = Value::Array(content);
    result["isError"] = json!(kind == ResultKind::Error);
    result
}

/// Builds the result with ever smaller budgets until it fits into [`LARGEST_RESULT`].
pub(super) fn fitting(build: impl Fn(usize) -> Value) -> Value {
    let mut last = Value::Null;
    for budget in BUDGETS {
        last = build(budget);
        if last.to_string().len() <= LARGEST_RESULT {
            return last;
        }
    }
    // The names of the volumes alone are too large.
    log::warn!("a result of {} bytes is too large", last.to_string().len());
    error("The result is too large to show: ask for fewer volumes.")
}
