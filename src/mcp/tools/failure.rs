//! A failed call as text: what failed, every fault of the arguments, and what a model can do about it.

use super::{result as call_tool_result, truncate};
use crate::runner::{Encoding, Error};
use serde_json::Value;

/// Longest text, in bytes.
const LONGEST_TEXT: usize = 20_000;

/// The error result of a failed call of `tool`.
pub(super) fn result(tool: &str, error: &Error) -> Value {
    call_tool_result::error(&text(tool, error))
}

/// The text for an error; `subject` names what failed.
pub(super) fn text(subject: &str, error: &Error) -> String {
    let (text, _) = truncate::head_and_tail(&advice(subject, error), Encoding::Utf8, LONGEST_TEXT);
    text
}

/// What failed and how to correct it.
fn advice(subject: &str, error: &Error) -> String {
    match error {
        Error::Invalid(faults) => {
            let lines: Vec<String> = faults
                .iter()
                .map(|fault| format!("- {}: {}", fault.loc.join("."), fault.msg))
                .collect();
            format!(
                "The arguments of {subject} are wrong; correct all of these and call it again:\n{}",
                lines.join("\n")
            )
        }
        other => format!("{subject} failed: {other}{}", hint(other)),
    }
}

/// A hint for a model, on a line of its own; empty where the error says enough.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::QueueFull { .. } => "",
        Error::NotKnownYet(_) => "\nTry again in a few seconds.",
        Error::ImageNotFound(_) => {
            "\nCheck the image's name and tag; list_images shows what runs without a pull."
        }
        Error::RegistryDenied(_) => "\nA private registry needs auth_config.",
        Error::RegistryUnreachable(_) | Error::PullTimeout { .. } => {
            "\nlist_images shows what runs without a pull."
        }
        Error::StartFailed(_) => {
            "\nCheck that the image has the executable, the user and the working directory; \
             shell syntax needs [\"sh\", \"-c\", \"…\"]."
        }
        Error::EngineUnreachable(_) => "\ndocker_health tells when the engine is back.",
        Error::NotFound {
            code: "run_not_found",
            ..
        } => "\nlist_runs shows which there are; only runs with detach have an id to ask for.",
        Error::TooLarge(_) => "\nSend or ask for less.",
        _ => "",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::problem::Fault;

    fn first_text(result: &Value) -> &str {
        result["content"][0]["text"].as_str().unwrap()
    }

    #[test]
    fn a_failure_with_many_faults_is_truncated() {
        let fault = Fault {
            loc: vec!["arguments".into(), "x".into()],
            msg: "unknown field".into(),
        };
        let result = result("run_container", &Error::Invalid(vec![fault; 100_000]));
        assert!(first_text(&result).len() < LONGEST_TEXT + 100);
    }

    #[test]
    fn all_faults_are_listed_in_one_text() {
        let faults = vec![
            Fault {
                loc: vec!["arguments".into(), "image".into()],
                msg: "required".into(),
            },
            Fault {
                loc: vec!["arguments".into(), "x".into()],
                msg: "unknown field".into(),
            },
        ];
        let result = result("run_container", &Error::Invalid(faults));
        assert_eq!(result["isError"], true);
        assert_eq!(
            first_text(&result),
            "The arguments of run_container are wrong; correct all of these and call it again:\n\
             - arguments.image: required\n- arguments.x: unknown field"
        );
    }
}
