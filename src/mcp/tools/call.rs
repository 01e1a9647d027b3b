//! One tool call from its arguments to its result, with progress and log messages on the way.

use super::backend::{Backend, ToolOutcome};
use super::catalogue::Tool;
use super::tool_call::ToolCall;
use super::{failure, report};
use crate::mcp::context::CallContext;
use crate::mcp::logging::LoggingLevel;
use crate::runner::{Event, Sink};
use serde_json::Value;

/// Calls a tool. Blocks until the result is there; firing the context's cancel token ends a run or a wait early. A
/// failure is a result, too (`isError`), with a text that a model can act on.
pub(crate) fn call(
    tool: Tool,
    arguments: Option<&Value>,
    backend: &dyn Backend,
    context: &CallContext,
) -> Value {
    let call = ToolCall::from_arguments(tool, arguments, |request| backend.check_run(request));
    let sink = ProgressSink { context };
    match call.and_then(|call| backend.execute(call, &context.cancel, &sink)) {
        Ok(outcome) => {
            if let ToolOutcome::Run { result, .. } = &outcome {
                for warning in &result.warnings {
                    context.log.send(LoggingLevel::Warning, warning);
                }
            }
            report::outcome(&outcome)
        }
        Err(error) => {
            let text = format!("{} failed", tool.name());
            context.log.send(LoggingLevel::Info, &text);
            failure::result(tool.name(), &error)
        }
    }
}

/// Reports a run's events as progress.
struct ProgressSink<'a> {
    context: &'a CallContext,
}

impl Sink for ProgressSink<'_> {
    fn event(&self, event: Event) {
        if matches!(event, Event::Started) {
            self.context
                .log
                .send(LoggingLevel::Info, "the container runs");
        }
        if let Some(progress) = &self.context.progress
            && let Some(message) = sentence(&event)
        {
            progress.report(&message);
        }
    }
}

/// The progress message for an event; `None` for output without visible text.
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

/// The last line that is not blank, from the last 2000 bytes of some output.
fn last_line(piece: &[u8]) -> Option<String> {
    const TAIL: usize = 2000;
    let end = &piece[piece.len().saturating_sub(TAIL)..];
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
    fn progress_messages_describe_events() {
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
