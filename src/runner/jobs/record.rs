//! The JSON that the engine stores of an asynchronous run: its request, later its outcome. Pure. Credentials are in neither.
//! Field names are a format: the next version of this program reads what this one wrote.

use crate::runner::clock::Moment;
use crate::runner::error::Error;
use crate::runner::jobs::shown_command::ShownCommand;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::Encoding;
use crate::runner::run::result::RunResult;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The idempotency key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyKey {
    pub(crate) name: String,
    /// Digest of the request, without credentials.
    pub(crate) digest: u128,
}

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestRecord {
    /// As [`RunSpec::from_json`] takes it, without credentials.
    pub(crate) request: Value,
    /// How it is spelt.
    #[serde(default)]
    pub(crate) spelling: Spelling,
    pub(crate) facts: RunFacts,
    /// Whether the request had credentials. They are lost with the process that received them.
    pub(crate) had_auth: bool,
}

/// What is known of a run from its acceptance on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunFacts {
    /// When it was accepted, in milliseconds since 1970.
    pub(crate) created: u64,
    /// Sorts runs by their acceptance.
    pub(crate) order: u64,
    /// Whether the output is returned as base64.
    pub(crate) base64: bool,
    /// Name and digest, in hexadecimal, of the idempotency key.
    pub(crate) key: Option<(String, String)>,
    /// The image; empty in records of version 0.1.0.
    #[serde(default)]
    pub(crate) image: String,
    /// The command, as far as lists show it.
    #[serde(default)]
    pub(crate) command: ShownCommand,
}

/// The `order` of the run that was accepted last.
static LAST_ORDER: AtomicU64 = AtomicU64::new(0);

impl RunFacts {
    /// The facts of a run that is accepted now.
    pub(crate) fn new(spec: &RunSpec, key: Option<&IdempotencyKey>) -> Self {
        let now = Moment::now();
        // Larger than every one before it, within this process and across restarts.
        let micros = now.0 * 1000;
        // Saturating: the last one may come from a stored record, which may say anything.
        let after = |last: u64| micros.max(last.saturating_add(1));
        let last = LAST_ORDER.fetch_update(Relaxed, Relaxed, |last| Some(after(last)));
        Self {
            created: now.0,
            order: after(last.unwrap_or(0)),
            base64: spec.output_encoding == Encoding::Base64,
            key: key.map(|key| (key.name.clone(), format!("{:x}", key.digest))),
            image: spec.image.clone(),
            command: ShownCommand::of(spec.command.as_deref()),
        }
    }

    /// Makes every later run follow this one in order, even if the clock was set back since it was accepted.
    pub(crate) fn precede_new_runs(&self) {
        LAST_ORDER.fetch_max(self.order, Relaxed);
    }

    pub(crate) fn key(&self) -> Option<IdempotencyKey> {
        let (name, digest) = self.key.clone()?;
        let digest = u128::from_str_radix(&digest, 16).ok()?;
        Some(IdempotencyKey { name, digest })
    }
}

/// An outcome.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutcomeRecord {
    pub(crate) facts: RunFacts,
    /// In milliseconds since 1970.
    pub(crate) started: Option<u64>,
    /// In milliseconds since 1970.
    pub(crate) finished: u64,
    /// From when on the outcome could be asked for, in milliseconds since 1970. Absent in records of version 0.1.0: it was there
    /// when it finished.
    #[serde(default)]
    kept: Option<u64>,
    result: Option<Value>,
    /// Kind and detail.
    error: Option<(String, String)>,
}

/// When a run started and finished, and from when on its outcome could be asked for.
pub(crate) struct RunTimes {
    pub(crate) started: Option<Moment>,
    pub(crate) finished: Moment,
    pub(crate) kept: Moment,
}

impl OutcomeRecord {
    pub(crate) fn new(
        facts: RunFacts,
        times: &RunTimes,
        outcome: Result<&RunResult, &Error>,
    ) -> Self {
        Self {
            facts,
            started: times.started.map(|moment| moment.0),
            finished: times.finished.0,
            kept: Some(times.kept.0),
            result: outcome
                .ok()
                .and_then(|result| serde_json::to_value(result).ok()),
            error: outcome.err().map(encode),
        }
    }

    /// The outcome of a run of which nothing else is known.
    pub(crate) fn lost(error: &Error) -> Self {
        let now = Moment::now();
        Self {
            facts: RunFacts {
                created: now.0,
                order: now.0 * 1000,
                base64: false,
                key: None,
                image: String::new(),
                command: ShownCommand::default(),
            },
            started: None,
            finished: now.0,
            kept: Some(now.0),
            result: None,
            error: Some(encode(error)),
        }
    }

    /// From when on the outcome could be asked for.
    pub(crate) fn kept(&self) -> Moment {
        Moment(self.kept.unwrap_or(self.finished))
    }

    pub(crate) fn outcome(self) -> Result<RunResult, Error> {
        let Some(mut result) = self.result else {
            let (kind, detail) = self.error.unwrap_or_default();
            return Err(decode(&kind, detail));
        };
        if let Value::Object(members) = &mut result {
            // These are left out of the JSON when they have their default.
            members.entry("oom_killed").or_insert(json!(false));
            members.entry("warnings").or_insert(json!([]));
        }
        serde_json::from_value(result)
            .map_err(|error| Error::Engine(format!("the result that was kept is broken: {error}")))
    }
}

/// Kind and detail of an error that an asynchronous run can end with.
fn encode(error: &Error) -> (String, String) {
    let kind = match error {
        Error::InvalidReference(_) => "invalid_reference",
        Error::ImageNotFound(_) => "image_not_found",
        Error::RegistryDenied(_) => "registry_denied",
        Error::RegistryUnreachable(_) => "registry_unreachable",
        Error::PullTimeout { timeout_secs } => {
            return ("pull_timeout".into(), timeout_secs.to_string());
        }
        Error::StartFailed(_) => "start_failed",
        Error::NotFound { code, .. } if *code == "volume_not_found" => "volume_not_found",
        Error::TooLarge(_) => "too_large",
        Error::StdinLost(_) => "stdin_lost",
        Error::Overloaded(_) => "overloaded",
        Error::EngineUnreachable(_) => "engine_unreachable",
        Error::Vanished(_) => "object_removed",
        Error::Invalid(faults) if faults.len() == 1 => {
            let fault = &faults[0];
            return (
                "invalid".into(),
                format!("{}\n{}", fault.loc.join("\u{1f}"), fault.msg),
            );
        }
        _ => "engine",
    };
    (kind.into(), error.to_string())
}

fn decode(kind: &str, detail: String) -> Error {
    match kind {
        "invalid_reference" => Error::InvalidReference(detail),
        "image_not_found" => Error::ImageNotFound(detail),
        "registry_denied" => Error::RegistryDenied(detail),
        "registry_unreachable" => Error::RegistryUnreachable(detail),
        "pull_timeout" => Error::PullTimeout {
            timeout_secs: detail.parse().unwrap_or(0),
        },
        "start_failed" => Error::StartFailed(detail),
        "volume_not_found" => Error::NotFound {
            code: "volume_not_found",
            detail,
        },
        "too_large" => Error::TooLarge(detail),
        "stdin_lost" => Error::StdinLost(detail),
        "overloaded" => Error::Overloaded(detail),
        "engine_unreachable" => Error::EngineUnreachable(detail),
        "object_removed" => Error::Vanished(detail),
        "invalid" => {
            let (loc, msg) = detail.split_once('\n').unwrap_or(("body", &detail));
            Error::invalid(&loc.split('\u{1f}').collect::<Vec<_>>(), msg)
        }
        _ => Error::Engine(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_an_encoded_error_gives_the_same_error() {
        let errors = [
            Error::ImageNotFound("x".into()),
            Error::RegistryDenied("y".into()),
            Error::PullTimeout { timeout_secs: 5 },
            Error::StartFailed("z".into()),
            Error::StdinLost("half".into()),
            Error::Overloaded("threads".into()),
            Error::EngineUnreachable("away".into()),
            Error::invalid(&["body", "volumes"], "broken"),
            Error::NotFound {
                code: "volume_not_found",
                detail: "no v".into(),
            },
        ];
        for error in errors {
            let (kind, detail) = encode(&error);
            assert_eq!(format!("{:?}", decode(&kind, detail)), format!("{error:?}"));
        }
    }
}
