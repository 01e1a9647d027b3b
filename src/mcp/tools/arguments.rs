//! The arguments of the tools: their types, and reading them from JSON with every fault found in one pass.

use crate::json;
use crate::runner::request::wire::{Reader, Wire, kind_of, wire_struct};
use crate::runner::{ApiProfile, Error, Phase, PullPolicy, Spelling};
use serde_json::{Map, Value};

/// How the runner reads the arguments of a tool.
pub(super) const PROFILE: ApiProfile = ApiProfile {
    root: "arguments",
    pull_policy: PullPolicy::Missing,
    spelling: Spelling::Lenient,
};
/// Members that n8n adds to the arguments of every call.
const IGNORED: [&str; 5] = ["toolCallId", "tool", "sessionId", "action", "chatInput"];

wire_struct! {
    /// Arguments of `run_status`.
    #[schemars(extend("required" = ["id"]))]
    pub(super) struct StatusRequest {
        /// The run's id, as run_container gave it.
        id: String,
        /// Seconds to wait at most for the run to finish before its state is returned; default 0.
        wait_secs: u64,
    }
}

wire_struct! {
    /// Arguments of `run_logs`.
    #[schemars(extend("required" = ["id"]))]
    pub(super) struct LogsRequest {
        /// The run's id, as run_container gave it.
        id: String,
        /// Only what was printed after this: the `cursor` of an earlier run_logs. From the start unless given.
        cursor: String,
        /// Seconds to wait at most for new output, or for the end; default 0.
        wait_secs: u64,
    }
}

wire_struct! {
    /// Arguments of `cancel_run`.
    #[schemars(extend("required" = ["id"]))]
    pub(super) struct CancelRequest {
        /// The run's id, as run_container gave it.
        id: String,
    }
}

wire_struct! {
    /// Arguments of `list_runs`.
    pub(super) struct ListRequest {
        /// Only runs that have come this far.
        state: Phase,
        /// How many to list, newest first; default 20, at most 200.
        limit: u64,
    }
}

wire_struct! {
    /// Arguments of `read_volume`.
    #[schemars(extend("required" = ["name"]))]
    pub(super) struct VolumeName {
        /// Name of a volume that `create_volume` made.
        name: String,
    }
}

/// Longest arguments that are a string of JSON, in bytes: their values are not charged to the memory budget.
const MOST_ENCODED_BYTES: usize = 1 << 20;

/// The arguments object without the [`IGNORED`] members. Errors: neither an object nor a string of JSON that is one.
pub(super) fn object(arguments: Option<&Value>) -> Result<Map<String, Value>, Error> {
    let encoded = arguments.and_then(Value::as_str).and_then(decode);
    let mut object = match encoded.as_ref().or(arguments) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(object)) => object.clone(),
        Some(other) => {
            let found = kind_of(other);
            return Err(Error::invalid(
                &[PROFILE.root],
                format!("expected an object, got {found}"),
            ));
        }
    };
    object.retain(|name, _| !IGNORED.contains(&name.as_str()));
    Ok(object)
}

/// Some models encode the arguments twice. An empty string is no arguments.
fn decode(text: &str) -> Option<Value> {
    match text.trim() {
        "" => Some(Value::Null),
        text if text.len() > MOST_ENCODED_BYTES => None,
        text => json::parse(text.as_bytes(), None)
            .ok()
            .filter(Value::is_object),
    }
}

/// Checks the arguments of a tool that takes none. Errors: one fault for each argument.
pub(super) fn none(arguments: Option<&Value>) -> Result<(), Error> {
    let mut reader = Reader::new(PROFILE.root);
    for name in object(arguments)?.keys() {
        reader.fault_at(name, "unknown field; this tool takes no arguments");
    }
    match reader.is_clean() {
        true => Ok(()),
        false => Err(Error::Invalid(reader.into_faults())),
    }
}

/// Reads the arguments as `T` and converts them with `check`, which may record more faults. Errors: all faults.
pub(super) fn read<T: Wire, C>(
    arguments: Option<&Value>,
    check: impl FnOnce(T, &mut Reader) -> C,
) -> Result<C, Error> {
    let object = object(arguments)?;
    let mut reader = Reader::new(PROFILE.root).with_spelling(PROFILE.spelling);
    let checked =
        T::take(Value::Object(object), &mut reader).map(|request| check(request, &mut reader));
    match checked {
        Some(checked) if reader.is_clean() => Ok(checked),
        _ => Err(Error::Invalid(reader.into_faults())),
    }
}

/// The value of a required argument. If it is missing, records a fault, unless its type was already wrong.
pub(super) fn required<T: Default>(value: Option<T>, name: &str, reader: &mut Reader) -> T {
    if value.is_none() && reader.is_clean_at(name) {
        reader.fault_at(name, "required");
    }
    value.unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_that_n8n_adds_are_ignored_and_no_others() {
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
    fn missing_arguments_and_all_other_faults_are_reported() {
        let name = |arguments: Option<&Value>| {
            read(arguments, |request: VolumeName, reader| {
                required(request.name, "name", reader)
            })
        };
        assert_eq!(
            name(Some(&json!({"name": "v", "action": "x"}))).unwrap(),
            "v"
        );
        for (arguments, expected) in [
            (json!({}), "arguments.name: required"),
            (
                json!({"name": true}),
                "arguments.name: expected a string, got a boolean",
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
            assert_eq!(name(Some(&arguments)).unwrap_err().to_string(), expected);
        }
    }
}
