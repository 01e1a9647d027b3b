//! What language models send in place of what a schema says, over MCP: a boolean or a number as a string, an object or an array
//! as a string of JSON, a number as text, one item in place of a list, and empty strings for what they leave out. Read only where
//! nothing else can be meant.

use crate::json;
use serde_json::{Map, Number, Value};

/// How exactly a request must be spelt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spelling {
    /// As the schema says.
    #[default]
    Exact,
    /// Also as language models write it.
    Lenient,
}

/// The kinds of values that a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A string whose form is checked, or values that may be written as a string anyway.
    Text,
    /// Any string.
    String,
    /// A boolean.
    Boolean,
    /// A number.
    Number,
    /// An array.
    Array,
    /// An object.
    Object,
    /// An array or an object.
    Collection,
    /// An array of strings or a string.
    WordsOrText,
}

/// Most bytes of JSON within strings, of one request: their values are not charged to the memory budget.
pub(crate) const MOST_EMBEDDED_BYTES: usize = 1 << 20;

/// The value that is written as a string where `takes` is expected, as the member `name`. `None`: it is only a string.
pub(crate) fn meant_by(text: &str, takes: Takes, name: &str) -> Option<Value> {
    let trimmed = text.trim();
    match takes {
        Takes::Text | Takes::String => None,
        Takes::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Takes::Number => trimmed.parse::<Number>().ok().map(Value::Number),
        Takes::Array => embedded(trimmed, name).filter(Value::is_array),
        Takes::Object => embedded(trimmed, name).filter(Value::is_object),
        Takes::Collection => embedded(trimmed, name),
        Takes::WordsOrText => embedded(trimmed, name).filter(are_words),
    }
}

/// Whether a string may be JSON of an array or an object.
pub(crate) fn may_be_embedded(text: &str) -> bool {
    text.trim_start().starts_with(['[', '{'])
}

/// An array or an object. Parsed as the member that it is: what numbers keep depends on its name.
fn embedded(text: &str, name: &str) -> Option<Value> {
    if !may_be_embedded(text) {
        return None;
    }
    let whole = format!("{{{}:{text}}}", Value::from(name));
    match json::parse(whole.as_bytes(), None) {
        Ok(Value::Object(mut members)) if members.len() == 1 => members.remove(name),
        _ => None,
    }
}

/// Whether it is a command: numbers may be among its arguments.
fn are_words(value: &Value) -> bool {
    let is_word = |item: &Value| item.is_string() || item.is_number();
    value.as_array().is_some_and(|items| {
        items.first().is_none_or(Value::is_string) && items.iter().all(is_word)
    })
}

/// The value that is meant by one of a near type: a number where a string is expected, or one item where a list is.
pub(crate) fn near(value: Value, takes: Takes) -> Value {
    match (takes, value) {
        (Takes::String, Value::Number(number)) => {
            let text = number.to_string();
            Value::String(text.strip_suffix(".0").unwrap_or(&text).to_owned())
        }
        (Takes::Array | Takes::Collection, Value::String(text)) if !may_be_embedded(&text) => {
            Value::Array(vec![Value::String(text)])
        }
        (Takes::Array, Value::Number(number)) => Value::Array(vec![Value::Number(number)]),
        (_, value) => value,
    }
}

/// As [`near`], for a member of an object whose names the caller chooses, such as a label: a boolean is meant as its word.
pub(crate) fn near_member(value: Value, takes: Takes) -> Value {
    match (takes, value) {
        (Takes::String, Value::Bool(value)) => Value::String(value.to_string()),
        (_, value) => value,
    }
}

/// Removes the known members of an object that are empty strings: they count as absent. Also `auth_config` if nothing else is
/// in it. An empty `text` is an empty file, unless something else says what the file has.
pub(crate) fn drop_empty(object: &mut Map<String, Value>, known: &[&str]) {
    let is_empty = |value: &Value| value.is_null() || value == "";
    let has_content = object
        .get("content")
        .is_some_and(|content| !is_empty(content));
    let is_file = object.get("type").is_some_and(|kind| kind == "file");
    object.retain(|name, value| match (name.as_str(), &*value) {
        (name, _) if !known.contains(&name) => true,
        ("text", Value::String(text)) if text.is_empty() => is_file && !has_content,
        ("auth_config", Value::Object(members)) => !members.values().all(is_empty),
        (_, value) => value != "",
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_string_stands_for_a_value_only_where_nothing_else_can_be_meant() {
        for (text, takes, meant) in [
            ("true", Takes::Boolean, Some(json!(true))),
            ("False", Takes::Boolean, Some(json!(false))),
            ("yes", Takes::Boolean, None),
            ("1", Takes::Boolean, None),
            ("30", Takes::Number, Some(json!(30))),
            (" 0.5 ", Takes::Number, Some(json!(0.5))),
            ("64.0", Takes::Number, Some(json!(64.0))),
            ("30s", Takes::Number, None),
            ("0x10", Takes::Number, None),
            ("", Takes::Number, None),
            ("NaN", Takes::Number, None),
            (r#"["ALL"]"#, Takes::Array, Some(json!(["ALL"]))),
            ("ALL", Takes::Array, None),
            (r#"{"A":"b"}"#, Takes::Array, None),
            (" {\"A\":\"b\"}\n", Takes::Object, Some(json!({"A": "b"}))),
            (r#"{"A":1,"A":2}"#, Takes::Object, None),
            (r#"{"A":1},"B":{"C":2}"#, Takes::Object, None),
            ("{'A': 1}", Takes::Object, None),
            ("{", Takes::Object, None),
            (
                r#"["h:1.2.3.4"]"#,
                Takes::Collection,
                Some(json!(["h:1.2.3.4"])),
            ),
            (
                r#"["sh","-c","x"]"#,
                Takes::WordsOrText,
                Some(json!(["sh", "-c", "x"])),
            ),
            ("[ -f x ]", Takes::WordsOrText, None),
            ("[1]", Takes::WordsOrText, None),
            ("echo [1]", Takes::WordsOrText, None),
            (
                r#"["sleep", 5]"#,
                Takes::WordsOrText,
                Some(json!(["sleep", 5])),
            ),
            ("true", Takes::Text, None),
            ("5", Takes::String, None),
        ] {
            assert_eq!(meant_by(text, takes, "x"), meant, "{text} {takes:?}");
        }
        let variables = meant_by(r#"{"A": 1.10}"#, Takes::Object, "env_vars").unwrap();
        assert_eq!(variables, json!({"A": "1.10"}), "digits are kept");
    }

    #[test]
    fn a_value_of_a_near_type_is_taken_for_what_it_can_only_mean() {
        for (value, takes, meant) in [
            (json!(1000), Takes::String, json!("1000")),
            (json!(1000.0), Takes::String, json!("1000")),
            (json!(3.12), Takes::String, json!("3.12")),
            (json!(-1), Takes::String, json!("-1")),
            (json!(755), Takes::Text, json!(755)),
            (json!(true), Takes::String, json!(true)),
            (json!("ALL"), Takes::Array, json!(["ALL"])),
            (json!("['ALL']"), Takes::Array, json!("['ALL']")),
            (json!("/tmp"), Takes::Collection, json!(["/tmp"])),
            (json!("{'/tmp'}"), Takes::Collection, json!("{'/tmp'}")),
            (json!("A=1"), Takes::Object, json!("A=1")),
            (json!("ls"), Takes::WordsOrText, json!("ls")),
            (json!({"a": 1}), Takes::String, json!({"a": 1})),
        ] {
            assert_eq!(near(value.clone(), takes), meant, "{value} {takes:?}");
        }
        assert_eq!(near_member(json!(true), Takes::String), json!("true"));
        assert_eq!(near_member(json!(true), Takes::Text), json!(true));
    }

    #[test]
    fn empty_strings_count_as_absent_but_an_empty_text_is_a_file() {
        const KNOWN: &[&str] = &["type", "text", "content", "mode", "auth_config", "env_vars"];
        for (given, left) in [
            (
                json!({"type": "file", "text": "", "mode": ""}),
                json!({"type": "file", "text": ""}),
            ),
            (
                json!({"type": "file", "text": "", "content": "eA=="}),
                json!({"type": "file", "content": "eA=="}),
            ),
            (
                json!({"type": "file", "text": "x", "content": ""}),
                json!({"type": "file", "text": "x"}),
            ),
            (
                json!({"type": "directory", "text": "", "content": ""}),
                json!({"type": "directory"}),
            ),
            (json!({"unknown": ""}), json!({"unknown": ""})),
            (
                json!({"auth_config": {"username": "", "email": null}}),
                json!({}),
            ),
            (json!({"auth_config": {}}), json!({})),
            (
                json!({"auth_config": {"username": "u"}}),
                json!({"auth_config": {"username": "u"}}),
            ),
            (
                json!({"env_vars": {"A": ""}}),
                json!({"env_vars": {"A": ""}}),
            ),
        ] {
            let mut object = given.as_object().unwrap().clone();
            drop_empty(&mut object, KNOWN);
            assert_eq!(Value::Object(object), left, "{given}");
        }
    }
}
