//! Results of tools: the essence as the first text block, the same as JSON after it and as structured content, all
//! of it small enough for one event.

use super::catalogue::Images;
use super::decode::{self, DecodedVolume};
use super::detached::{self, RunBriefs};
use crate::runner::{Encoding, Error, Phase, Reason, RunLogs, RunResult, RunState};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Largest result, serialized: the Python SDK drops a connection over an event of 1 MiB.
const LARGEST_RESULT: usize = 890_000;
/// How much of each stream and volume is tried, from generous to certain to fit.
const BUDGETS: [usize; 7] = [300_000, 150_000, 75_000, 30_000, 10_000, 2_000, 100];

/// Longest text of a failure, in bytes.
const LONGEST_ADVICE: usize = 20_000;

/// Which way streams were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// As text.
    Text,
    /// As base64.
    Base64,
}

/// A result with a sentence and its structure.
pub(super) fn success(essence: &str, structured: Value) -> Value {
    result(essence, Some(structured), false)
}

/// A failure that a model can act on.
pub(super) fn failure(tool: &str, error: &Error) -> Value {
    let (essence, _) = cut(&advice(tool, error), Streams::Text, LONGEST_ADVICE);
    result(&essence, None, true)
}

/// The result of a run: an error result when it did not end with exit code 0.
pub(super) fn run(run: &RunResult, streams: Streams) -> Value {
    fitting(|budget| {
        let (structured, essence) = told(run, streams, budget);
        result(&essence, Some(structured), failed(run))
    })
}

/// A run as its structure and in words, each stream and volume in about `budget` bytes.
fn told(run: &RunResult, streams: Streams, budget: usize) -> (Value, String) {
    let volumes: BTreeMap<&String, Option<DecodedVolume>> = run
        .volumes
        .iter()
        .map(|(path, volume)| (path, volume.as_ref().map(|v| decode::volume(v, budget))))
        .collect();
    let shown = shorten(run, streams, budget);
    let mut structured = json!(shown);
    structured["volumes"] = json!(volumes);
    (structured, essence(&shown, &volumes))
}

fn failed(run: &RunResult) -> bool {
    run.reason != Reason::Exited || run.exit_code != Some(0)
}

/// A run that was accepted and goes on by itself.
pub(super) fn accepted(state: &RunState) -> Value {
    let id = &state.id;
    let essence = format!(
        "Run {id} was accepted and goes on by itself. run_status with this id tells how it stands and, once it has \
         finished, its result; run_logs what it printed so far; cancel_run ends it."
    );
    let created_at = &state.created_at;
    success(
        &essence,
        json!({"id": id, "state": state.phase, "created_at": created_at}),
    )
}

/// A detached run that was ended, or that had ended; that it has is no failure.
pub(super) fn ended(state: &RunState, remark: &str) -> Value {
    let mut ended = standing(state);
    if let Some(Value::String(essence)) = ended.pointer_mut("/content/0/text") {
        essence.push_str(&format!("\n\n{remark}"));
    }
    // Clients want to see in every other result what the output schema promises.
    ended["isError"] = json!(ended["structuredContent"].is_null());
    ended
}

/// How a detached run stands: an error result when it failed.
pub(super) fn standing(state: &RunState) -> Value {
    let streams = match state.output_encoding {
        Encoding::Utf8 => Streams::Text,
        Encoding::Base64 => Streams::Base64,
    };
    let (id, word) = (&state.id, state.phase.word());
    fitting(|budget| {
        let mut structured = json!({
            "id": id, "state": word, "created_at": state.created_at, "started_at": state.started_at,
            "finished_at": state.finished_at, "result": null, "error": null,
        });
        let (essence, is_error) = match state.outcome.as_deref() {
            None => (going_on(state), false),
            Some(Ok(run)) => {
                let (result, essence) = told(run, streams, budget);
                structured["result"] = result;
                (format!("Run {id} has finished: {essence}"), failed(run))
            }
            Some(Err(error)) => {
                let (words, _) = cut(&advice("Run", error), Streams::Text, LONGEST_ADVICE);
                structured["error"] = json!(words);
                (format!("Run {id}: {words}"), true)
            }
        };
        result(&essence, Some(structured), is_error)
    })
}

fn going_on(state: &RunState) -> String {
    let since = state.started_at.as_ref().unwrap_or(&state.created_at);
    let (id, word) = (&state.id, state.phase.word());
    format!(
        "Run {id} is {word}, since {since}. Ask again with wait_secs to wait for its end; run_logs tells what it printed \
         so far."
    )
}

/// A page of what a detached run printed.
pub(super) fn logs(logs: &RunLogs) -> Value {
    fitting(|budget| {
        let page = detached::page(logs, budget);
        let mut essence = format!("Run {} is {}", page.id, page.state.word());
        if let Some(detail) = &page.detail {
            essence.push_str(&format!("\n({detail})"));
        }
        essence.push_str(&stream("stdout", &page.stdout, None));
        essence.push_str(&stream("stderr", &page.stderr, None));
        match (&page.cursor, page.has_more, page.state) {
            (Some(cursor), true, _) => {
                essence.push_str(&format!("\n\nThere is more, after cursor {cursor}."));
            }
            (_, false, Phase::Finished) => essence.push_str("\n\nThat is all."),
            (Some(cursor), false, _) => {
                essence.push_str(&format!("\n\nWhat follows comes after cursor {cursor}."));
            }
            (None, ..) => {}
        }
        success(&essence, json!(page))
    })
}

/// Which detached runs there are.
pub(super) fn briefs(found: &RunBriefs) -> Value {
    let mut essence = format!("Detached runs: {}", found.runs.len());
    for run in &found.runs {
        let status = run.status.as_deref().unwrap_or("no result yet");
        let line = format!(
            "\n{} {} ({status}), accepted {}",
            run.id,
            run.state.word(),
            run.created_at
        );
        essence.push_str(&line);
    }
    success(&essence, json!(found))
}

/// Content of a named volume.
pub(super) fn volume(name: &str, content: &str) -> Value {
    fitting(|budget| {
        let shown = decode::directory(content, budget);
        let mut essence = format!("Volume {name}");
        essence.push_str(&listing(&shown));
        success(&essence, json!(shown))
    })
}

/// What images there are.
pub(super) fn images(found: Images) -> Value {
    fitting(|budget| {
        let shown = &found.images[..found.images.len().min(budget)];
        let mut essence = format!("{} images", found.images.len());
        for image in shown {
            // Older engines name an image without a name like this.
            let named = image.tags.iter().filter(|tag| *tag != "<none>:<none>");
            let names = match named.cloned().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => image.id.clone(),
                names => names,
            };
            essence.push_str(&format!(
                "\n{names} ({:.1} MB)",
                image.size_bytes as f64 / 1e6
            ));
        }
        success(&essence, json!({"images": shown}))
    })
}

/// The largest of the tried results that fits.
fn fitting(build: impl Fn(usize) -> Value) -> Value {
    let mut last = Value::Null;
    for budget in BUDGETS {
        last = build(budget);
        if last.to_string().len() <= LARGEST_RESULT {
            return last;
        }
    }
    // So many volumes that not even their names fit.
    log::warn!("a result of {} bytes is too large", last.to_string().len());
    result(
        "The result is too large to show: ask for fewer volumes.",
        None,
        true,
    )
}

fn result(essence: &str, structured: Option<Value>, is_error: bool) -> Value {
    let mut content = vec![json!({"type": "text", "text": essence})];
    let mut result = json!({});
    if let Some(structured) = structured {
        // The same once more for clients that read JSON out of text; optional for a model that read the essence.
        content.push(json!({"type": "text", "text": structured.to_string(),
            "annotations": {"priority": 0}}));
        result["structuredContent"] = structured;
    }
    result["content"] = Value::Array(content);
    result["isError"] = json!(is_error);
    result
}

fn shorten(run: &RunResult, streams: Streams, budget: usize) -> RunResult {
    let mut shown = run.clone();
    shown.volumes.clear();
    let (stdout, cut) = cut(&run.stdout, streams, budget);
    (shown.stdout, shown.stdout_omitted_bytes) = (stdout, more(run.stdout_omitted_bytes, cut));
    let (stderr, cut) = self::cut(&run.stderr, streams, budget);
    (shown.stderr, shown.stderr_omitted_bytes) = (stderr, more(run.stderr_omitted_bytes, cut));
    shown
}

fn more(before: Option<u64>, cut: u64) -> Option<u64> {
    match (before, cut) {
        (before, 0) => before,
        (before, cut) => Some(before.unwrap_or(0) + cut),
    }
}

/// Head and tail of a stream, and how many bytes are missing between them.
fn cut(stream: &str, streams: Streams, budget: usize) -> (String, u64) {
    if stream.len() <= budget {
        return (stream.to_owned(), 0);
    }
    if streams == Streams::Base64 {
        // Whole groups of four, so that head and tail together decode.
        let (head, tail) = (budget / 8 * 4, stream.len() - budget / 8 * 4);
        let tail = tail.next_multiple_of(4).min(stream.len());
        let kept = format!("{}{}", &stream[..head], &stream[tail..]);
        return (kept, (tail - head) as u64 / 4 * 3);
    }
    let head = boundary(stream, budget / 2);
    let tail = boundary(stream, stream.len() - budget / 2);
    let bytes = tail - head;
    let kept = format!(
        "{}\n[… {bytes} bytes cut out here …]\n{}",
        &stream[..head],
        &stream[tail..]
    );
    (kept, bytes as u64)
}

/// The start of the character at or just before a place.
fn boundary(text: &str, mut place: usize) -> usize {
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

fn essence(run: &RunResult, volumes: &BTreeMap<&String, Option<DecodedVolume>>) -> String {
    let mut text = format!("{} ({})", run.status, why(run));
    for warning in &run.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text.push_str(&stream("stdout", &run.stdout, run.stdout_omitted_bytes));
    text.push_str(&stream("stderr", &run.stderr, run.stderr_omitted_bytes));
    for (path, volume) in volumes {
        text.push_str(&format!("\n\n{path}"));
        match volume {
            Some(volume) => text.push_str(&listing(volume)),
            None => text.push_str(": the run left nothing there"),
        }
    }
    text
}

fn why(run: &RunResult) -> String {
    let ended = match run.reason {
        Reason::Exited => "exited by itself",
        Reason::Signalled => "ended by a signal",
        Reason::Timeout => "killed at its time limit; a larger timeout_secs gives it longer",
        Reason::Oom => "killed for want of memory; a larger memory gives it more",
        Reason::Cancelled => "cancelled",
    };
    let code = match run.exit_code {
        Some(code) => format!("exit code {code}"),
        None => "no exit code".into(),
    };
    format!("{code}, {ended}, {:.2} s", run.execution_time)
}

fn stream(name: &str, text: &str, omitted: Option<u64>) -> String {
    let cut = match omitted {
        Some(bytes) => format!(" ({bytes} bytes left out of the middle)"),
        None => String::new(),
    };
    match text.is_empty() {
        true => format!("\n\n{name}: (empty){cut}"),
        false => format!("\n\n{name}:{cut}\n{}", text.trim_end_matches('\n')),
    }
}

fn listing(volume: &DecodedVolume) -> String {
    let mut text = format!(" ({})", volume.kind);
    if let Some(content) = &volume.text {
        text.push_str(&format!(":\n{content}"));
    }
    for (path, content) in volume.files.iter().flatten() {
        text.push_str(&format!("\n--- {path}\n{}", content.trim_end_matches('\n')));
    }
    for other in &volume.other {
        text.push_str(&format!("\n--- {other}: not text"));
    }
    if volume.content.is_some() {
        text.push_str("\n(base64 in structuredContent's content)");
    }
    if let Some(detail) = &volume.detail {
        text.push_str(&format!("\n({detail})"));
    }
    text
}

/// What went wrong and what to do about it.
fn advice(tool: &str, error: &Error) -> String {
    match error {
        Error::Invalid(faults) => {
            let lines: Vec<String> = faults
                .iter()
                .map(|fault| format!("- {}: {}", fault.loc.join("."), fault.msg))
                .collect();
            format!(
                "The arguments of {tool} are wrong; correct all of these and call it again:\n{}",
                lines.join("\n")
            )
        }
        other => format!("{tool} failed: {other}{}", hint(other)),
    }
}

fn hint(error: &Error) -> &'static str {
    match error {
        Error::QueueFull { .. } => "",
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
    use crate::mcp::trial_run;

    fn first_text(result: &Value) -> &str {
        result["content"][0]["text"].as_str().unwrap()
    }

    #[test]
    fn the_first_block_is_the_essence_and_the_second_the_same_as_json() {
        let result = run(&trial_run("hello\n", "", 0), Streams::Text);
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
    fn a_non_zero_exit_is_an_error_with_everything_in_it() {
        let result = run(&trial_run("out", "err", 3), Streams::Text);
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
            let result = run(&trial_run(&stream, &stream, 0), Streams::Text);
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
    fn base64_stays_base64_when_it_is_cut() {
        use base64::Engine;
        let engine = base64::engine::general_purpose::STANDARD;
        let stream = engine.encode(vec![b'a'; 2_000_001]);
        let (kept, omitted) = cut(&stream, Streams::Base64, 1001);
        assert_eq!(
            engine.decode(kept).unwrap().len() as u64 + omitted,
            2_000_001
        );
    }

    #[test]
    fn a_failure_of_any_length_stays_readable() {
        let fault = crate::problem::Fault {
            loc: vec!["arguments".into(), "x".into()],
            msg: "unknown field".into(),
        };
        let result = failure("run_container", &Error::Invalid(vec![fault; 100_000]));
        assert!(first_text(&result).len() < LONGEST_ADVICE + 100);
    }

    #[test]
    fn all_faults_stand_in_one_readable_text() {
        let faults = vec![
            crate::problem::Fault {
                loc: vec!["arguments".into(), "image".into()],
                msg: "required".into(),
            },
            crate::problem::Fault {
                loc: vec!["arguments".into(), "x".into()],
                msg: "unknown field".into(),
            },
        ];
        let result = failure("run_container", &Error::Invalid(faults));
        assert_eq!(result["isError"], true);
        assert_eq!(
            first_text(&result),
            "The arguments of run_container are wrong; correct all of these and call it again:\n\
             - arguments.image: required\n- arguments.x: unknown field"
        );
    }

    #[test]
    fn what_is_too_large_to_be_told_is_an_error_whoever_asks() {
        let mut run = trial_run("", "", 0);
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
        for result in [standing(&state), ended(&state, "It is forgotten now.")] {
            assert!(result["structuredContent"].is_null());
            assert_eq!(result["isError"], true, "no schema fits it");
        }
    }
}
