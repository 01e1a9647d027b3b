//! Validates messages against the published schemas of MCP.

use serde_json::{Value, json};

/// Every supported revision. All but the last start with `initialize`.
pub const REVISIONS: [&str; 5] = [
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
];

/// Fails unless the instance is valid as the type `kind` of this revision.
#[track_caller]
pub fn assert_valid(revision: &str, kind: &str, instance: &Value) {
    let path = format!(
        "{}/tests/mcp/schemas/{revision}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let place = match schema.get("$defs") {
        Some(_) => "$defs",
        None => "definitions",
    };
    schema["$ref"] = json!(format!("#/{place}/{kind}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|e| e.to_string())
        .collect();
    assert!(
        errors.is_empty(),
        "{revision} {kind}: {errors:?} in {instance:.1000}"
    );
}
