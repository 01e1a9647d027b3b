//! A failed call as text: what failed, every fault of the arguments, and what a model can do about it.

use super::arguments::PROFILE;
use super::{result as call_tool_result, truncate};
use crate::problem::Fault;
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
                .map(|fault| format!("- {}: {}", location(fault), fault.msg))
                .collect();
            format!(
                "The arguments of {subject} are wrong; correct all of these and call it again:\n{}",
                lines.join("\n")
            )
        }
        other => format!("{subject} failed: {other}{}", hint(other)),
    }
}

/// Where the fault is. The runner names parts of a REST request in what it finds after the check, such as the path of
/// `GET /volume/{name}`; a tool has arguments only.
fn location(fault: &Fault) -> String {
    let mut loc: Vec<&str> = fault.loc.iter().map(String::as_str).collect();
    let is_of_rest = |root: &str| ["body", "path", "query"].contains(&root);
    if loc.first().is_some_and(|root| is_of_rest(root)) {
        loc[0] = PROFILE.root;
    }
    loc.join(".")
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
        Error::StdinLost(_) => "\nCall run_container again with the same arguments.",
        Error::Vanished(_) => "\nSomething prunes the engine at this moment; call it again.",
        Error::EngineUnreachable(_) => "\ndocker_health shows when the engine is back.",
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
    fn a_fault_is_located_in_the_arguments_whatever_part_of_a_rest_request_it_would_be_in() {
        for (loc, shown) in [
            (&["path", "name"][..], "- arguments.name: wrong"),
            (&["body", "volumes"], "- arguments.volumes: wrong"),
            (&["arguments", "path"], "- arguments.path: wrong"),
        ] {
            let result = result("read_volume", &Error::invalid(loc, "wrong"));
            let text = first_text(&result);
            assert_eq!(text.lines().last(), Some(shown), "{text}");
        }
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
