//! How the client of the Engine API reports engines that misbehave, and servers that are no engine at all.

mod answers;
mod connections;
mod ends;
mod fake_engine;
mod secrets;
mod streams;
mod versions;

use fake_engine::{FakeEngine, Reply};
use oneoff_docker_runner::docker::Error;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn answer(head: &str, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes())
}

fn message(error: &Error) -> &str {
    match error {
        Error::Status { message, .. } => message,
        Error::Misconfigured { detail, .. }
        | Error::Unreachable { detail, .. }
        | Error::Malformed { detail, .. }
        | Error::Exhausted { detail, .. }
        | Error::Source { detail, .. } => detail,
        Error::TimedOut { .. } => "",
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
