//! The tools that the MCP conformance suite calls, served only with a hidden switch. Each returns a kind of content or
//! sends a kind of message that the other tools do not. Names and texts are prescribed by the suite.
//! <https://github.com/modelcontextprotocol/conformance>

use crate::mcp::context::CallContext;
use crate::mcp::logging::LoggingLevel;
use serde_json::{Value, json};
use std::time::Duration;

/// A red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// One sample of silence.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA==";

const NAMES: [(&str, &str); 12] = [
    ("test_simple_text", "Returns text"),
    ("test_image_content", "Returns an image"),
    ("test_audio_content", "Returns a sound"),
    ("test_embedded_resource", "Returns an embedded resource"),
    (
        "test_multiple_content_types",
        "Returns several kinds of content",
    ),
    ("test_tool_with_logging", "Logs while it works"),
    ("test_logging_tool", "Logs while it works"),
    ("test_error_handling", "Always fails"),
    ("test_tool_with_progress", "Tells its progress"),
    ("test_streaming_elicitation", "Tells its progress"),
    ("test_missing_capability", "Needs the sampling capability"),
    ("test_wait", "Waits until it is cancelled, or for a minute"),
];

/// The definitions for `tools/list`, in a fixed order.
pub(crate) fn definitions() -> Vec<Value> {
    let plain = NAMES.iter().map(|(name, description)| {
        json!({"name": name, "description": description,
            "inputSchema": {"type": "object", "properties": {}}})
    });
    plain.chain([dialect()]).collect()
}

/// A tool whose schema uses features of JSON Schema 2020-12.
fn dialect() -> Value {
    json!({
        "name": "json_schema_2020_12_tool",
        "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {
                "street": {"type": "string"}, "city": {"type": "string"}}}},
            "properties": {
                "name": {"type": "string"},
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"}, "email": {"type": "string"},
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false,
        },
    })
}

/// Whether the client must have declared the sampling capability to call this tool.
pub(crate) fn needs_sampling(name: &str) -> bool {
    name == "test_missing_capability"
}

/// Calls a tool; `None` if there is none with this name.
pub(crate) fn call(name: &str, context: &CallContext) -> Option<Value> {
    let content = match name {
        "test_simple_text" => json!([text("This is a simple text response for testing.")]),
        "test_image_content" => json!([image()]),
        "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => json!([resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content."
        )]),
        "test_multiple_content_types" => json!([
            text("Multiple content types test:"),
            image(),
            resource(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#
            )
        ]),
        "test_tool_with_logging" | "test_logging_tool" => logs(context),
        "test_tool_with_progress" | "test_streaming_elicitation" => progresses(context),
        "test_missing_capability" | "json_schema_2020_12_tool" => json!([text("done")]),
        "test_wait" => {
            pause(context, Duration::from_secs(60));
            json!([text("waited")])
        }
        "test_error_handling" => {
            let content = text("This tool intentionally returns an error for testing");
            return Some(json!({"content": [content], "isError": true}));
        }
        _ => return None,
    };
    Some(json!({"content": content}))
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn image() -> Value {
    json!({"type": "image", "data": PNG, "mimeType": "image/png"})
}

fn resource(uri: &str, mime: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}})
}

fn logs(context: &CallContext) -> Value {
    for line in [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ] {
        context.log.send(LoggingLevel::Info, line);
        pause(context, Duration::from_millis(50));
    }
    json!([text("logged")])
}

fn progresses(context: &CallContext) -> Value {
    for step in [0, 50, 100] {
        if let Some(progress) = &context.progress {
            progress.report_step(step, 100);
        }
        pause(context, Duration::from_millis(50));
    }
    json!([text("progressed")])
}

/// Waits, unless the call is cancelled.
fn pause(context: &CallContext, time: Duration) {
    context.cancel.wait(time);
}
