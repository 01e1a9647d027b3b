//! JSON schemas of the tools, generated from the Rust types and reduced to what every client understands: no `$ref`, no
//! Rust-specific `format`, plain `enum`s, and no null for a member that can be left out.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The input schema for arguments of type `T`.
pub(super) fn input<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = generate::<T>(settings.into_generator());
    trim(&mut schema);
    members_are_optional(&mut schema);
    schema
}

/// The output schema for structured content of type `T`.
pub(super) fn output<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = generate::<T>(settings.into_generator());
    trim(&mut schema);
    schema
}

/// The input schema of a tool without arguments.
pub(super) fn nothing() -> Value {
    json!({"type": "object", "properties": {}})
}

fn generate<T: JsonSchema>(generator: SchemaGenerator) -> Value {
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("title");
        root.remove("description");
    }
    schema
}

/// Removes `format`, and turns a `oneOf` of constants into an `enum`, at any depth.
fn trim(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("format");
            if let Some(words) = object
                .get("oneOf")
                .and_then(Value::as_array)
                .and_then(|variants| all_words(variants))
            {
                object.remove("oneOf");
                object.insert("type".into(), json!("string"));
                object.insert("enum".into(), words);
            }
            object.values_mut().for_each(trim);
        }
        Value::Array(items) => items.iter_mut().for_each(trim),
        _ => {}
    }
}

/// The values of a `oneOf` that consists of constants, to be an `enum`; `None` for any other `oneOf`.
fn all_words(variants: &[Value]) -> Option<Value> {
    let words: Option<Vec<Value>> = variants.iter().map(|v| v.get("const").cloned()).collect();
    words.map(Value::Array)
}

/// Removes null from the type of every member: a client leaves an optional member out.
fn members_are_optional(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(members)) = object.get_mut("properties") {
                members.values_mut().for_each(forbid_null);
            }
            object.values_mut().for_each(members_are_optional);
        }
        Value::Array(items) => items.iter_mut().for_each(members_are_optional),
        _ => {}
    }
}

fn forbid_null(member: &mut Value) {
    let Some(member) = member.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = member.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            member.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = member.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Array(variants)) = member.get_mut("anyOf") {
        variants.retain(|variant| variant.get("type") != Some(&json!("null")));
        if let [only] = variants.as_slice() {
            let only = only.as_object().cloned().unwrap_or_default();
            member.remove("anyOf");
            merge(member, only);
        }
    }
}

/// Adds the members of `from` that `member` lacks: its own description takes precedence over its type's.
fn merge(member: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        member.entry(key).or_insert(value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runner::{RunRequest, RunResult};

    #[test]
    fn inputs_have_no_references_formats_or_needless_nulls() {
        let schema = input::<RunRequest>();
        let text = schema.to_string();
        for word in ["$ref", "$defs", "\"format\"", "oneOf", "$schema"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert_eq!(schema["properties"]["image"]["type"], "string");
        assert_eq!(
            schema["properties"]["pull_policy"]["enum"],
            json!(["always", "missing", "never"])
        );
        let values = &schema["properties"]["env_vars"]["additionalProperties"]["type"];
        assert!(
            values.as_array().unwrap().contains(&json!("null")),
            "null removes a variable: {values}"
        );
    }

    #[test]
    fn outputs_keep_the_null_that_an_exit_code_can_be() {
        let schema = output::<RunResult>();
        assert_eq!(
            schema["properties"]["exit_code"]["type"],
            json!(["integer", "null"])
        );
        assert!(
            schema["required"]
                .as_array()
                .unwrap()
                .contains(&json!("exit_code"))
        );
    }
}
