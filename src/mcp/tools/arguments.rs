//! Arguments as clients really send them.

use super::FRONT;
use crate::runner::Error;
use crate::runner::request::wire::{Reader, Wire, kind_of};
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
    let mut reader = Reader::new(FRONT.root);
    for name in object(arguments)?.keys() {
        reader.fault_at(name, "unknown field; this tool takes no arguments");
    }
    match reader.is_clean() {
        true => Ok(()),
        false => Err(Error::Invalid(reader.into_faults())),
    }
}

/// The arguments as `T`, made into what the tool needs by `check`, which may find more faults. Errors: all that is wrong.
pub(super) fn read<T: Wire, C>(
    arguments: Option<&Value>,
    check: impl FnOnce(T, &mut Reader) -> C,
) -> Result<C, Error> {
    let object = object(arguments)?;
    let mut reader = Reader::new(FRONT.root);
    let checked =
        T::take(Value::Object(object), &mut reader).map(|request| check(request, &mut reader));
    match checked {
        Some(checked) if reader.is_clean() => Ok(checked),
        _ => Err(Error::Invalid(reader.into_faults())),
    }
}

/// The value, or a fault where there is none; it has had one already if it was of another kind.
pub(super) fn required<T: Default>(value: Option<T>, name: &str, reader: &mut Reader) -> T {
    if value.is_none() && reader.is_clean_at(name) {
        reader.fault_at(name, "required");
    }
    value.unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::catalogue::VolumeName;
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
    fn what_is_required_is_asked_for_and_all_faults_are_told() {
        let name = |arguments: Option<&Value>| {
            read(arguments, |request: VolumeName, reader| {
                required(request.name, "name", reader)
            })
        };
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
            (
                json!({"x": 1}),
                "arguments.x: unknown field; expected one of: name; arguments.name: required",
            ),
            (json!([]), "arguments: expected an object, got an array"),
        ] {
            assert_eq!(name(Some(&arguments)).unwrap_err().to_string(), told);
        }
    }
}
