//! What the engine remembers of a detached run for us: a container that is never started and carries JSON, in its own
//! configuration while it is short, else in a volume. First the request, under a name that says whether the run may
//! have started; at the end the outcome, in its place. Credentials are in neither.

use crate::archive::{self, Collected, UidGid};
use crate::docker::{self, Labels, Mount, VolumeOptions};
use crate::runner::cleanup::labels::{ASYNC, Role};
use crate::runner::cleanup::removal::Object;
use crate::runner::clock::Moment;
use crate::runner::jobs::registry::Key;
use crate::runner::run::stage::{STAGE, Stage, staged_name};
use crate::runner::{Encoding, Error, RunResult, RunSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// A request as the engine keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// As [`crate::runner::RunSpec::from_json`] takes it, without credentials.
    pub(crate) request: Value,
    pub(crate) facts: Facts,
    /// Whether there were credentials, which are gone with the process that was given them.
    pub(crate) had_auth: bool,
}

/// What is known of a run from its acceptance on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// In milliseconds since 1970.
    pub(crate) created: u64,
    /// Places runs in the order in which they were accepted.
    pub(crate) order: u64,
    pub(crate) base64: bool,
    /// Name and digest, in hexadecimal, of the idempotency key.
    pub(crate) key: Option<(String, String)>,
}

impl Facts {
    pub(crate) fn new(spec: &RunSpec, key: Option<&Key>) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        static LAST: AtomicU64 = AtomicU64::new(0);
        let now = Moment::now();
        // Later than every one before it, within this process and across restarts.
        let micros = now.0 * 1000;
        let last = LAST.fetch_update(Relaxed, Relaxed, |last| Some(micros.max(last + 1)));
        Self {
            created: now.0,
            order: micros.max(last.unwrap_or(0) + 1),
            base64: spec.output_encoding == Encoding::Base64,
            key: key.map(|key| (key.name.clone(), format!("{:x}", key.digest))),
        }
    }

    pub(crate) fn key(&self) -> Option<Key> {
        let (name, digest) = self.key.clone()?;
        let digest = u128::from_str_radix(&digest, 16).ok()?;
        Some(Key { name, digest })
    }
}

/// An outcome as the engine keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) facts: Facts,
    pub(crate) started: Option<u64>,
    pub(crate) finished: u64,
    result: Option<Value>,
    error: Option<(String, String)>,
}

const VARIABLE: &str = "ONEOFF_RECORD=";
/// Longer records go into a volume: the engine keeps configurations in memory.
const INLINE_BYTES: usize = 32 * 1024;
/// How long the objects of a detached run may stay in the engine without any server that answers for them.
pub(crate) const ASYNC_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The name of a run's request while it is certain that the run has not started.
pub(crate) fn waiting_name(run: &str) -> String {
    format!("oneoff-{run}-request")
}

/// Its name from just before the start on.
pub(crate) fn started_name(run: &str) -> String {
    format!("oneoff-{run}-started")
}

/// The name of its outcome.
pub(crate) fn result_name(run: &str) -> String {
    format!("oneoff-{run}-result")
}

impl Stage {
    /// Keeps a record in the engine; gives its container's id.
    pub(crate) fn keep<T: Serialize>(
        &self,
        run: &str,
        role: Role,
        record: &T,
    ) -> Result<String, Error> {
        let json = serde_json::to_vec(record).map_err(|error| Error::Engine(error.to_string()))?;
        let labels = self.identity.async_labels(run, role);
        let name = match role {
            Role::Result => result_name(run),
            _ => waiting_name(run),
        };
        if json.len() <= INLINE_BYTES {
            let variable = format!("{VARIABLE}{}", String::from_utf8_lossy(&json));
            let helper = self.helper_with(&name, labels, (Vec::new(), vec![variable]))?;
            return Ok(helper.release());
        }
        let mount = volume_mount(&labels);
        let helper = self.helper_with(&name, labels, (vec![mount], Vec::new()))?;
        self.put(helper.id(), UidGid::default(), move |packer| {
            packer.file(&staged_name("record"), 0o600, &json)
        })?;
        Ok(helper.release())
    }

    /// Reads a record. `None`: it is not complete.
    pub(crate) fn recall<T: for<'de> Deserialize<'de>>(
        &self,
        container: &str,
    ) -> Result<Option<T>, docker::Error> {
        const LIMIT_BYTES: u64 = 4 << 30;
        let inspected = self.client.container_inspect(container)?;
        let inline = inspected
            .config
            .env
            .iter()
            .find_map(|line| line.strip_prefix(VARIABLE));
        if let Some(json) = inline {
            return Ok(serde_json::from_str(json).ok());
        }
        let tar = self
            .client
            .archive_get(container, &format!("{STAGE}/record"));
        match tar.map(|mut tar| archive::collect_file(&mut *tar, LIMIT_BYTES)) {
            Ok(Ok(Collected::File(json))) => Ok(serde_json::from_slice(&json).ok()),
            Err(error) if !matches!(error, docker::Error::Status { status: 404, .. }) => Err(error),
            _ => Ok(None),
        }
    }

    /// Says, before it is done, that the run is going to be started.
    pub(crate) fn mark_started(&self, run: &str, record: &str) -> Result<(), docker::Error> {
        let name = started_name(run);
        self.client
            .container_rename(record, &name)
            .or_else(|error| {
                // The answer to an earlier attempt may have been lost; what counts is the name.
                match self.client.container_inspect(record) {
                    Ok(found) if found.name == format!("/{name}") => Ok(()),
                    _ => Err(error),
                }
            })
    }

    /// Removes an object of a run behind the answers.
    pub(crate) fn discard(&self, container: &str) {
        self.removal.remove(Object::Container(container.to_owned()));
    }
}

fn volume_mount(labels: &Labels) -> Mount {
    Mount {
        kind: "volume".into(),
        target: STAGE.into(),
        volume_options: Some(VolumeOptions {
            no_copy: true,
            labels: labels.clone(),
            ..Default::default()
        }),
        ..Mount::default()
    }
}

impl Ended {
    pub(crate) fn new(
        facts: Facts,
        (started, finished): (Option<Moment>, Moment),
        outcome: Result<&RunResult, &Error>,
    ) -> Self {
        Self {
            facts,
            started: started.map(|moment| moment.0),
            finished: finished.0,
            result: outcome
                .ok()
                .and_then(|result| serde_json::to_value(result).ok()),
            error: outcome.err().map(told),
        }
    }

    pub(crate) fn outcome(self) -> Result<RunResult, Error> {
        let Some(mut result) = self.result else {
            let (kind, detail) = self.error.unwrap_or_default();
            return Err(understood(&kind, detail));
        };
        if let Value::Object(members) = &mut result {
            // What is left out when there is nothing to tell.
            members.entry("oom_killed").or_insert(json!(false));
            members.entry("warnings").or_insert(json!([]));
        }
        serde_json::from_value(result)
            .map_err(|error| Error::Engine(format!("the result that was kept is broken: {error}")))
    }
}

/// An error that a detached run can end with, as a word and its words.
fn told(error: &Error) -> (String, String) {
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

fn understood(kind: &str, detail: String) -> Error {
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
        "invalid" => {
            let (loc, msg) = detail.split_once('\n').unwrap_or(("body", &detail));
            Error::invalid(&loc.split('\u{1f}').collect::<Vec<_>>(), msg)
        }
        _ => Error::Engine(detail),
    }
}

/// The role that an object plays for a detached run.
pub(crate) fn role(labels: &Labels) -> Option<Role> {
    labels.get(ASYNC).and_then(|word| Role::parse(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_were_kept_say_the_same() {
        let errors = [
            Error::ImageNotFound("x".into()),
            Error::RegistryDenied("y".into()),
            Error::PullTimeout { timeout_secs: 5 },
            Error::StartFailed("z".into()),
            Error::invalid(&["body", "volumes"], "broken"),
            Error::NotFound {
                code: "volume_not_found",
                detail: "no v".into(),
            },
        ];
        for error in errors {
            let (kind, detail) = told(&error);
            assert_eq!(
                format!("{:?}", understood(&kind, detail)),
                format!("{error:?}")
            );
        }
    }
}
