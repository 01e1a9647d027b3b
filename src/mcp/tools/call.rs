//! One call of one of our tools, blocking until its result is there.

use super::catalogue::{Images, VolumeCreated, VolumeName};
use super::report::Streams;
use super::{Containers, Tool, arguments, detached, report};
use crate::cancel::Cancel;
use crate::mcp::outgoing::Journal;
use crate::mcp::progress::Progress;
use crate::mcp::protocol::Level;
use crate::runner::{Error, Event, Sink};
use serde_json::{Value, json};
use std::sync::Arc;

/// What surrounds a call.
pub(crate) struct CallContext<'a> {
    /// What the tools work with.
    pub containers: &'a dyn Containers,
    /// Fires when nobody wants the result any more.
    pub cancel: &'a Cancel,
    /// Where progress is told, when the client wants it.
    pub progress: Option<Arc<Progress>>,
    /// Where log messages go.
    pub journal: Journal,
}

/// Calls a tool. Whatever goes wrong is a result that says so (`isError`), for a model to act on.
pub(crate) fn call(tool: Tool, arguments: Option<&Value>, context: &CallContext<'_>) -> Value {
    let result = match tool {
        Tool::RunContainer => run_container(arguments, context),
        Tool::RunStatus => detached::run_status(arguments, context),
        Tool::RunLogs => detached::run_logs(arguments, context),
        Tool::CancelRun => detached::cancel_run(arguments, context),
        Tool::ListRuns => detached::list_runs(arguments, context),
        Tool::CreateVolume => create_volume(arguments, context),
        Tool::ReadVolume => read_volume(arguments, context),
        Tool::ListImages => list_images(arguments, context),
        Tool::DockerHealth => docker_health(arguments, context),
    };
    result.unwrap_or_else(|error| {
        context
            .journal
            .tell(Level::Info, &format!("{} failed", tool.name()));
        report::failure(tool.name(), &error)
    })
}

fn run_container(arguments: Option<&Value>, context: &CallContext<'_>) -> Result<Value, Error> {
    let mut request = arguments::object(arguments)?;
    if detached::take_detach(&mut request, context.containers)? {
        return detached::submit(request, context);
    }
    let streams = match request.get("output_encoding").and_then(Value::as_str) {
        Some("base64") => Streams::Base64,
        _ => Streams::Text,
    };
    let sink = Teller {
        progress: context.progress.clone(),
        journal: context.journal.clone(),
    };
    let run = context
        .containers
        .run(Value::Object(request), context.cancel, &sink)?;
    for warning in &run.warnings {
        context.journal.tell(Level::Warning, warning);
    }
    Ok(report::run(&run, streams))
}

fn create_volume(arguments: Option<&Value>, context: &CallContext<'_>) -> Result<Value, Error> {
    let request = arguments::object(arguments)?;
    let detail = context.containers.create_volume(Value::Object(request))?;
    let created = VolumeCreated {
        status: "success",
        detail,
    };
    Ok(report::success(&created.detail, json!(created)))
}

fn read_volume(arguments: Option<&Value>, context: &CallContext<'_>) -> Result<Value, Error> {
    let name = arguments::read(arguments, |request: VolumeName, reader| {
        arguments::required(request.name, "name", reader)
    })?;
    let content = context.containers.read_volume(&name)?;
    Ok(report::volume(&name, &content))
}

fn list_images(arguments: Option<&Value>, context: &CallContext<'_>) -> Result<Value, Error> {
    arguments::none(arguments)?;
    let images = context.containers.images()?;
    Ok(report::images(Images { images }))
}

fn docker_health(arguments: Option<&Value>, context: &CallContext<'_>) -> Result<Value, Error> {
    arguments::none(arguments)?;
    let health = context.containers.health()?;
    let essence = format!(
        "{}: Docker {} answers (API {})",
        health.status, health.docker_version, health.api_version
    );
    Ok(report::success(&essence, json!(health)))
}

/// Tells a run's events as progress.
struct Teller {
    progress: Option<Arc<Progress>>,
    journal: Journal,
}

impl Sink for Teller {
    fn event(&self, event: Event) {
        if matches!(event, Event::Started) {
            self.journal.tell(Level::Info, "the container runs");
        }
        if let Some(progress) = &self.progress
            && let Some(message) = sentence(&event)
        {
            progress.tell(&message);
        }
    }
}

fn sentence(event: &Event) -> Option<String> {
    match event {
        Event::Queued { position: 0 } => Some("waiting for a free slot, next in line".into()),
        Event::Queued { position } => Some(format!("waiting behind {position} other runs")),
        Event::Pull {
            status,
            id,
            current,
            total,
        } => Some(match total {
            0 => format!("pulling {id}: {status}"),
            total => format!("pulling {id}: {status} {} of {}", mb(*current), mb(*total)),
        }),
        Event::Started => Some("the container runs".into()),
        Event::Stdout(piece) | Event::Stderr(piece) => last_line(piece),
    }
}

fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The last line with something on it, of the end of a piece of output.
fn last_line(piece: &[u8]) -> Option<String> {
    const LOOKED_AT: usize = 2000;
    let end = &piece[piece.len().saturating_sub(LOOKED_AT)..];
    let text = String::from_utf8_lossy(end);
    // A progress bar returns to the start of its line.
    let mut lines = text.rsplit(['\n', '\r']).map(str::trim);
    let line = lines.find(|line| !line.is_empty())?;
    Some(line.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_in_words() {
        let pull = Event::Pull {
            status: "Downloading".into(),
            id: "abc".into(),
            current: 1_500_000,
            total: 3_000_000,
        };
        for (event, expected) in [
            (
                Event::Queued { position: 2 },
                Some("waiting behind 2 other runs"),
            ),
            (pull, Some("pulling abc: Downloading 1.5 MB of 3.0 MB")),
            (Event::Stdout(b"one\ntwo \n\n".to_vec()), Some("two")),
            (Event::Stdout(b"10%\r20%\r".to_vec()), Some("20%")),
            (Event::Stderr(b"\n".to_vec()), None),
            (Event::Stderr(b"\xff\n".to_vec()), Some("\u{fffd}")),
        ] {
            assert_eq!(sentence(&event).as_deref(), expected, "{event:?}");
        }
    }
}
