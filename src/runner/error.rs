//! The error of every operation of the runner: the request's fault, the engine's or the server's. How the container ended
//! is never an error but part of the result.

use crate::docker;
use crate::problem::Fault;
use std::fmt;

/// Why an operation has no result.
#[derive(Clone, Debug)]
pub enum Error {
    /// The request is invalid. Has every fault that was found.
    Invalid(Vec<Fault>),
    /// The server's policy does not allow it; `code` names the rule.
    Forbidden {
        /// A stable code, such as `image_not_allowed`.
        code: &'static str,
        /// What is not allowed, and what is.
        detail: String,
    },
    /// The server takes no more runs just now.
    QueueFull {
        /// The limit that was reached.
        limit: RunLimit,
        /// When to try again, in seconds.
        retry_after_secs: u64,
    },
    /// The engine cannot parse the image reference.
    InvalidReference(String),
    /// The engine does not have the image and may not pull it, or the registry does not have it.
    ImageNotFound(String),
    /// The registry refused the credentials, or requires some.
    RegistryDenied(String),
    /// The registry cannot be reached or failed.
    RegistryUnreachable(String),
    /// The pull took too long.
    PullTimeout {
        /// The limit, in seconds.
        timeout_secs: u64,
    },
    /// The container cannot start because of the request: no such executable, unknown user, …
    StartFailed(String),
    /// The server was restarted before it had delivered all of the run's stdin.
    StdinLost(String),
    /// The object does not exist; `code` names its kind.
    NotFound {
        /// A stable code, such as `volume_not_found`.
        code: &'static str,
        /// What was not found.
        detail: String,
    },
    /// The object exists already and was not created by this service, or is in use.
    Conflict {
        /// A stable code, such as `volume_in_use`.
        code: &'static str,
        /// What conflicts.
        detail: String,
    },
    /// The requested content is larger than the server's limit.
    TooLarge(String),
    /// The run may be one of an earlier server that is not adopted yet. It will be known soon.
    NotKnownYet(String),
    /// The memory budget is used up. Nothing was started.
    OutOfMemory,
    /// This process has reached a limit of its own, such as its number of threads.
    Overloaded(String),
    /// Another client of the engine removed an object that the operation needs, such as a helper container or the image.
    Vanished(String),
    /// The engine failed, or sent an answer that makes no sense.
    Engine(String),
    /// The engine cannot be reached.
    EngineUnreachable(String),
}

/// Words of the engine that say what it lacks itself. An error that has them is its own fault, whatever its status: engines send a
/// full disk as a 400 too.
const ENGINE_LACKS: [&str; 4] = [
    "no space left on device",
    "disk quota exceeded",
    "too many open files",
    "input/output error",
];

/// A limit on the number of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLimit {
    /// Every slot is taken and the queue is full.
    Queue,
    /// As many asynchronous runs wait or run as may.
    Asynchronous,
    /// As many requests wait for the check of their archives, or to fill a volume, as may.
    Checks,
}

impl Error {
    /// A request with one fault.
    pub fn invalid(loc: &[&str], msg: impl Into<String>) -> Self {
        let loc = loc.iter().map(|part| (*part).to_owned()).collect();
        Self::Invalid(vec![Fault {
            loc,
            msg: msg.into(),
        }])
    }

    /// The error of a call that an engine refuses with a status because of what the request asks for, such as an unknown volume
    /// driver: [`Error::StartFailed`], unless an object of ours is gone or the engine lacks something itself.
    pub(crate) fn of_the_request(error: docker::Error) -> Self {
        let is_engines_own = error.is_object_gone();
        match error {
            docker::Error::Status { message, .. } if !is_engines_own && !engine_lacks(&message) => {
                Self::StartFailed(message)
            }
            other => other.into(),
        }
    }

    /// Whether the engine failed or cannot be reached, so that the same may succeed later.
    pub(crate) fn is_of_engine(&self) -> bool {
        matches!(self, Self::Engine(_) | Self::EngineUnreachable(_))
    }

    /// The caller left, or the server stops, before anything was done. Hardly anybody reads this.
    pub(crate) fn left() -> Self {
        Self::Overloaded("the request was cancelled before anything was done".into())
    }
}

/// Whether this message of the engine says that it lacks something itself.
pub(crate) fn engine_lacks(message: &str) -> bool {
    ENGINE_LACKS.iter().any(|words| message.contains(words))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(faults) => {
                let lines: Vec<String> = faults
                    .iter()
                    .map(|fault| format!("{}: {}", fault.loc.join("."), fault.msg))
                    .collect();
                write!(f, "{}", lines.join("; "))
            }
            Self::Forbidden { detail, .. }
            | Self::NotFound { detail, .. }
            | Self::Conflict { detail, .. } => f.write_str(detail),
            Self::QueueFull {
                limit,
                retry_after_secs,
            } => write!(f, "{limit}; try again in {retry_after_secs} s"),
            Self::PullTimeout { timeout_secs } => {
                write!(f, "the image was not pulled within {timeout_secs} s")
            }
            Self::OutOfMemory => f.write_str(
                "there is no memory for the answer just now: other requests and answers use it (RUNNER_MAX_BODY_MEMORY)",
            ),
            Self::InvalidReference(detail)
            | Self::ImageNotFound(detail)
            | Self::RegistryDenied(detail)
            | Self::RegistryUnreachable(detail)
            | Self::StartFailed(detail)
            | Self::StdinLost(detail)
            | Self::TooLarge(detail)
            | Self::NotKnownYet(detail)
            | Self::Overloaded(detail)
            | Self::Vanished(detail)
            | Self::Engine(detail)
            | Self::EngineUnreachable(detail) => f.write_str(detail),
        }
    }
}

impl fmt::Display for RunLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => {
                "every slot is busy and the queue is full (RUNNER_MAX_CONCURRENT_RUNS, RUNNER_QUEUE_LENGTH)"
            }
            Self::Asynchronous => {
                "as many asynchronous runs wait or run as may (RUNNER_MAX_ASYNC_RUNS)"
            }
            Self::Checks => {
                "as many requests wait for the check of their archives, or to fill a volume, as may"
            }
        })
    }
}

impl std::error::Error for Error {}

impl From<docker::Error> for Error {
    fn from(error: docker::Error) -> Self {
        let is_object_gone = error.is_object_gone();
        match error {
            docker::Error::Status { call, message, .. } if is_object_gone => {
                Self::Vanished(format!(
                    "{call}: an object that this service needs was removed from the engine by another client: {message}"
                ))
            }
            docker::Error::Unreachable { detail, .. } => Self::EngineUnreachable(detail),
            docker::Error::Misconfigured { detail, .. } => Self::Engine(detail),
            docker::Error::TimedOut { call, timeout_secs } => Self::Engine(format!(
                "the engine did not answer {call} within {timeout_secs} s"
            )),
            docker::Error::Status {
                call,
                status,
                message,
            } => Self::Engine(format!(
                "the engine answered {call} with {status}: {message}"
            )),
            docker::Error::Malformed { call, detail } => {
                Self::Engine(format!("the engine's answer to {call} is broken: {detail}"))
            }
            docker::Error::Exhausted { call, detail } => {
                Self::Overloaded(format!("no thread or descriptor for {call}: {detail}"))
            }
            docker::Error::Source { call, detail } => {
                Self::Engine(format!("nothing could be sent to {call}: {detail}"))
            }
        }
    }
}
