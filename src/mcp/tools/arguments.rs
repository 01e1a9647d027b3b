//! Arguments as clients really send them.

use super::FRONT;
use crate::problem::Fault;
use crate::runner::Error;
use crate::runner::wire::kind_of;
use serde_json::{Map, Value};

/// What n8n adds to every call's arguments.
const FOREIGN: [&str; 5] = ["toolCallId", "tool", "sessionId", "action", "chatInput"];

/// The arguments object, without what clients add of their own. Errors: not an object.
pub(super) fn object(arguments: Option<&Value>) -> Result<Map<String, Value>, Error> {
    let mut object = match arguments {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(object)) => object.clone(),
        Some(other) => {
            let found = kind_of(other);
            return Err(Error::invalid(
                &[FRONT.root],
                format!("expected an object, got {found}"),
            ));
        }
    };
    object.retain(|name, _| !FOREIGN.contains(&name.as_str()));
    Ok(object)
}

/// The arguments of a tool that takes none. Errors: every argument that was sent.
pub(super) fn none(arguments: Option<&Value>) -> Result<(), Error> {
    let unknown = unknown(&object(arguments)?, &[]);
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(unknown)),
    }
}

/// The one argument of a tool that takes a name. Errors: all that is wrong.
pub(super) fn name(arguments: Option<&Value>) -> Result<String, Error> {
    let object = object(arguments)?;
    let mut faults = unknown(&object, &["name"]);
    let found = match object.get("name") {
        Some(Value::String(name)) if faults.is_empty() => return Ok(name.clone()),
        Some(Value::String(_)) => return Err(Error::Invalid(faults)),
        None | Some(Value::Null) => "required".to_owned(),
        Some(other) => format!("expected a string, got {}", kind_of(other)),
    };
    faults.insert(0, fault("name", found));
    Err(Error::Invalid(faults))
}

fn unknown(object: &Map<String, Value>, known: &[&str]) -> Vec<Fault> {
    let expected = match known {
        [] => "this tool takes no arguments".to_owned(),
        known => format!("expected one of: {}", known.join(", ")),
    };
    let names = object.keys().filter(|name| !known.contains(&name.as_str()));
    names
        .map(|name| fault(name, format!("unknown field; {expected}")))
        .collect()
}

fn fault(name: &str, msg: String) -> Fault {
    let name: String = name.chars().take(128).collect();
    Fault {
        loc: vec![FRONT.root.into(), name],
        msg,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_n8n_adds_is_ignored_and_nothing_else() {
        let extras =
            json!({"toolCallId": "x", "tool": {}, "sessionId": 1, "action": "a", "chatInput": "b"});
        assert!(none(Some(&extras)).is_ok());
        assert!(none(None).is_ok() && none(Some(&Value::Null)).is_ok());
        let error = none(Some(&json!({"a": 1, "b": 2}))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "arguments.a: unknown field; this tool takes no arguments; \
             arguments.b: unknown field; this tool takes no arguments"
        );
    }

    #[test]
    fn a_name_is_a_string() {
        assert_eq!(
            name(Some(&json!({"name": "v", "action": "x"}))).unwrap(),
            "v"
        );
        for (arguments, told) in [
            (json!({}), "arguments.name: required"),
            (
                json!({"name": 5}),
                "arguments.name: expected a string, got an integer",
            ),
            (
                json!({"name": "v", "x": 1}),
                "arguments.x: unknown field; expected one of: name",
            ),
            (json!([]), "arguments: expected an object, got an array"),
        ] {
            assert_eq!(name(Some(&arguments)).unwrap_err().to_string(), told);
        }
    }
}
