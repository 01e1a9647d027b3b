//! The result of each tool: its text and its structured content.

use super::backend::ToolOutcome;
use super::decode::{self, DecodedVolume};
use super::result::{ResultKind, fitting, success, with_kind};
use super::structured::{self, RunBrief, RunBriefs, VolumeCreated};
use super::{failure, text, truncate};
use crate::runner::{
    Encoding, Health, Image, Phase, Reason, RunLogs, RunResult, RunState, RunStates,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The `CallToolResult` for an outcome. A run that did not end with exit code 0 is an error result.
pub(super) fn outcome(outcome: &ToolOutcome) -> Value {
    match outcome {
        ToolOutcome::Run { result, encoding } => run(result, *encoding),
        ToolOutcome::Submitted(state) => submitted(state),
        ToolOutcome::Status(state) => run_state(state),
        ToolOutcome::Logs(logs) => run_logs(logs),
        ToolOutcome::Forgotten(state) => ended(state, "It is forgotten now."),
        ToolOutcome::Cancelled(state) => ended(
            state,
            "It is remembered for a while, or until the next cancel_run.",
        ),
        ToolOutcome::Runs(states) => runs(states),
        ToolOutcome::VolumeCreated { detail } => volume_created(detail),
        ToolOutcome::Volume { name, content } => volume(name, &content.content),
        ToolOutcome::Images(found) => images(found),
        ToolOutcome::Health(found) => health(found),
    }
}

fn run(run: &RunResult, encoding: Encoding) -> Value {
    fitting(|budget| {
        let shown = shown_run(run, encoding, budget);
        with_kind(&shown.text, shown.structured, kind_of(run))
    })
}

/// A run as it is shown.
struct ShownRun {
    structured: Value,
    text: String,
}

/// Shows each stream and each volume in about `budget` bytes.
fn shown_run(run: &RunResult, encoding: Encoding, budget: usize) -> ShownRun {
    let volumes: BTreeMap<&String, Option<DecodedVolume>> = run
        .volumes
        .iter()
        .map(|(path, volume)| (path, volume.as_ref().map(|v| decode::volume(v, budget))))
        .collect();
    let shortened = shorten(run, encoding, budget);
    let mut structured = json!(shortened);
    structured["volumes"] = json!(volumes);
    ShownRun {
        structured,
        text: text::run(&shortened, &volumes),
    }
}

fn kind_of(run: &RunResult) -> ResultKind {
    match run.reason == Reason::Exited && run.exit_code == Some(0) {
        true => ResultKind::Success,
        false => ResultKind::Error,
    }
}

fn submitted(state: &RunState) -> Value {
    let id = &state.id;
    let text = format!(
        "Run {id} was accepted and goes on by itself. run_status with this id returns its state and, once it has \
         finished, its result; run_logs what it printed so far; cancel_run ends it."
    );
    let created_at = &state.created_at;
    success(
        &text,
        json!({"id": id, "state": state.phase, "created_at": created_at}),
    )
}

/// A detached run that has ended, with a remark. Not an error result, even if the run failed: the call did what it
/// was asked.
fn ended(state: &RunState, remark: &str) -> Value {
    let mut ended = run_state(state);
    if let Some(Value::String(text)) = ended.pointer_mut("/content/0/text") {
        text.push_str(&format!("\n\n{remark}"));
    }
    // Without structured content only an error result is valid against the output schema.
    ended["isError"] = json!(ended["structuredContent"].is_null());
    ended
}

/// A detached run: an error result when it failed.
fn run_state(state: &RunState) -> Value {
    let (id, word) = (&state.id, state.phase.word());
    fitting(|budget| {
        let mut structured = json!({
            "id": id, "state": word, "created_at": state.created_at, "started_at": state.started_at,
            "finished_at": state.finished_at, "result": null, "error": null,
        });
        let (text, kind) = match state.outcome.as_deref() {
            None => (text::unfinished(state), ResultKind::Success),
            Some(Ok(run)) => {
                let shown = shown_run(run, state.output_encoding, budget);
                structured["result"] = shown.structured;
                let text = format!("Run {id} has finished: {}", shown.text);
                (text, kind_of(run))
            }
            Some(Err(error)) => {
                let words = failure::text("Run", error);
                structured["error"] = json!(words);
                (format!("Run {id}: {words}"), ResultKind::Error)
            }
        };
        with_kind(&text, structured, kind)
    })
}

fn run_logs(logs: &RunLogs) -> Value {
    fitting(|budget| {
        let page = structured::page(logs, budget);
        let mut shown = format!("Run {} is {}", page.id, page.state.word());
        if let Some(detail) = &page.detail {
            shown.push_str(&format!("\n({detail})"));
        }
        shown.push_str(&text::stream("stdout", &page.stdout, None));
        shown.push_str(&text::stream("stderr", &page.stderr, None));
        match (&page.cursor, page.has_more, page.state) {
            (Some(cursor), true, _) => {
                shown.push_str(&format!("\n\nThere is more, after cursor {cursor}."));
            }
            (_, false, Phase::Finished) => shown.push_str("\n\nThat is all."),
            (Some(cursor), false, _) => {
                shown.push_str(&format!("\n\nWhat follows comes after cursor {cursor}."));
            }
            (None, ..) => {}
        }
        success(&shown, json!(page))
    })
}

fn runs(listed: &RunStates) -> Value {
    let found = RunBriefs {
        runs: listed.states.iter().map(RunBrief::of).collect(),
        complete: listed.is_complete,
    };
    let mut text = format!("Detached runs: {}", found.runs.len());
    if !found.complete {
        text.push_str(" (there are more, or may be)");
    }
    for run in &found.runs {
        let status = run.status.as_deref().unwrap_or("no result yet");
        let line = format!(
            "\n{} {} ({status}), accepted {}",
            run.id,
            run.state.word(),
            run.created_at
        );
        text.push_str(&line);
    }
    success(&text, json!(found))
}

fn volume_created(detail: &str) -> Value {
    let created = VolumeCreated {
        status: "success",
        detail: detail.to_owned(),
    };
    success(&created.detail, json!(created))
}

fn volume(name: &str, content: &str) -> Value {
    fitting(|budget| {
        let shown = decode::directory(content, budget);
        let mut shown_text = format!("Volume {name}");
        shown_text.push_str(&text::listing(&shown));
        success(&shown_text, json!(shown))
    })
}

fn images(found: &[Image]) -> Value {
    fitting(|budget| {
        let shown = &found[..found.len().min(budget)];
        let mut text = format!("{} images", found.len());
        for image in shown {
            // Older engines name an image without a name like this.
            let named = image.tags.iter().filter(|tag| *tag != "<none>:<none>");
            let names = match named.cloned().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => image.id.clone(),
                names => names,
            };
            text.push_str(&format!(
                "\n{names} ({:.1} MB)",
                image.size_bytes as f64 / 1e6
            ));
        }
        success(&text, json!({"images": shown}))
    })
}

fn health(found: &Health) -> Value {
    let text = format!(
        "{}: Docker {} answers (API {})",
        found.status, found.docker_version, found.api_version
    );
    success(&text, json!(found))
}

/// The run without volumes, each stream cut to about `budget` bytes.
fn shorten(run: &RunResult, encoding: Encoding, budget: usize) -> RunResult {
    let mut shown = run.clone();
    shown.volumes.clear();
    let (stdout, cut) = truncate::head_and_tail(&run.stdout, encoding, budget);
    (shown.stdout, shown.stdout_omitted_bytes) = (stdout, more(run.stdout_omitted_bytes, cut));
    let (stderr, cut) = truncate::head_and_tail(&run.stderr, encoding, budget);
    (shown.stderr, shown.stderr_omitted_bytes) = (stderr, more(run.stderr_omitted_bytes, cut));
    shown
}

/// The sum of what the runner omitted and what was cut; `None` if nothing is missing.
fn more(before: Option<u64>, cut: u64) -> Option<u64> {
    match (before, cut) {
        (before, 0) => before,
        (before, cut) => Some(before.unwrap_or(0) + cut),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::result::LARGEST_RESULT;
    use super::*;
    use crate::mcp::tests::sample_run;

    fn first_text(result: &Value) -> &str {
        result["content"][0]["text"].as_str().unwrap()
    }

    #[test]
    fn the_first_block_is_text_and_the_second_the_structured_content() {
        let result = run(&sample_run("hello\n", "", 0), Encoding::Utf8);
        assert_eq!(result["isError"], false);
        assert_eq!(
            first_text(&result),
            "success (exit code 0, exited by itself, 0.50 s)\n\nstdout:\nhello\n\nstderr: (empty)"
        );
        let json: Value =
            serde_json::from_str(result["content"][1]["text"].as_str().unwrap()).unwrap();
        assert_eq!(json, result["structuredContent"]);
        assert_eq!(json["stdout"], "hello\n");
    }

    #[test]
    fn a_non_zero_exit_is_an_error_result_with_the_whole_output() {
        let result = run(&sample_run("out", "err", 3), Encoding::Utf8);
        assert_eq!(result["isError"], true);
        assert_eq!(result["structuredContent"]["exit_code"], 3);
        let text = first_text(&result);
        assert!(text.starts_with("error: 3 (exit code 3"), "{text}");
        assert!(text.contains("stdout:\nout") && text.contains("stderr:\nerr"));
    }

    #[test]
    fn every_result_fits_one_event_and_says_what_was_cut() {
        for stream in [
            "x".repeat(2 << 20),
            "\u{1}".repeat(2 << 20),
            "ü🙂\n".repeat(300_000),
            "\"".repeat(3 << 20),
        ] {
            let result = run(&sample_run(&stream, &stream, 0), Encoding::Utf8);
            assert!(result.to_string().len() <= LARGEST_RESULT);
            let omitted = result["structuredContent"]["stdout_omitted_bytes"]
                .as_u64()
                .unwrap();
            assert!(omitted > 0 && omitted < stream.len() as u64);
            assert!(first_text(&result).contains("bytes left out of the middle"));
            assert!(first_text(&result).contains("bytes cut out here"));
        }
    }

    #[test]
    fn a_result_that_cannot_be_made_to_fit_is_an_error() {
        let mut run = sample_run("", "", 0);
        let path = |n: usize| (format!("/{n}/{}", "x".repeat(1000)), None);
        run.volumes = (0..1000).map(path).collect();
        let state = RunState {
            id: "r".into(),
            phase: Phase::Finished,
            created_at: String::new(),
            started_at: None,
            finished_at: None,
            output_encoding: Encoding::Utf8,
            outcome: Some(std::sync::Arc::new(Ok(run))),
        };
        for result in [run_state(&state), ended(&state, "It is forgotten now.")] {
            assert!(result["structuredContent"].is_null());
            assert_eq!(result["isError"], true, "no schema fits it");
        }
    }
}
