//! What a command prints and reads passes unchanged.

use super::super::async_runs::{finished, forget_all, submit};
use super::super::run::shell;
use super::super::support::{EventStream, Fate, FaultProxy, Request, Server};
use super::had_init;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn decoded(stream: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(stream.as_str().unwrap()).unwrap()
}

#[test]
fn output_of_many_pipes_is_whole_up_to_its_end() {
    let server = Server::start();
    let script = "head -c 3000000 /dev/urandom > /tmp/x; md5sum < /tmp/x > /tmp/sum; cat /tmp/x /tmp/sum & cat /tmp/x /tmp/sum >&2; wait";
    for _ in 0..3 {
        let result = server.run(shell(script, json!({"output_encoding": "base64"})));
        let (stdout, stderr) = (decoded(&result["stdout"]), decoded(&result["stderr"]));
        assert_eq!(stdout.len(), 3_000_000 + 36);
        assert!(stdout == stderr);
        assert!(stdout.ends_with(b"  -\n") && had_init(&result));
    }
    // One stream is much longer than the other.
    let result = server.run(shell("echo e >&2; yes | head -c 5000000", json!({})));
    assert_eq!(result["stdout"].as_str().unwrap().len(), 5_000_000);
    assert_eq!(result["stderr"], "e\n");
    server.stop();
}

#[test]
fn output_that_looks_like_a_mark_passes_unchanged() {
    let server = Server::start();
    let nonce = "0123456789abcdef0123456789abcdef";
    let end = r#"{"ended":{"fate":{"exited":0},"is_timeout":false,"is_settled":true,"used":{}}}"#;
    let all: Vec<u8> = (0..=255).collect();
    let printed = [
        format!("\u{1e}{nonce}\"started\"\n").into_bytes(),
        format!("\u{1e}{nonce}{end}\n").into_bytes(),
        vec![0x1e; 5000],
        format!("\u{1e}{}", "f".repeat(5000)).into_bytes(),
        all,
        b"\x1e".to_vec(),
    ]
    .concat();
    let sent = BASE64_STANDARD.encode(&printed);
    for script in [
        "tee /dev/stderr",
        "while read -r -n 1000 -d '' x; do :; done; cat",
    ] {
        let request = shell(
            script,
            json!({
                "stdin": sent, "stdin_encoding": "base64", "output_encoding": "base64",
                "command": ["sh", "-c", "tee /dev/stderr; exit 6"],
            }),
        );
        let result = server.run(request);
        assert!(decoded(&result["stdout"]) == printed, "{script}");
        assert!(decoded(&result["stderr"]) == printed, "{script}");
        assert_eq!(result["exit_code"], 6);
    }
    server.stop();
}

#[test]
fn a_command_that_closes_its_output_and_lives_on_is_waited_for() {
    let server = Server::start();
    let begun = Instant::now();
    let result = server.run(shell(
        "echo out; exec >&- 2>&- <&-; sleep 1; date > /d/late; exit 8",
        json!({"volumes": {"/d": {"type": "directory"}, "/d/late": {"type": "file", "text": "", "response": true}}}),
    ));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(8), &json!("out\n"))
    );
    assert!(
        !decoded(&result["volumes"]["/d/late"]["content"]).is_empty(),
        "{result}"
    );
    // Nobody reads its stdin any more.
    let request = shell(
        "exec <&-; sleep 0.5; exit 2",
        json!({"stdin": "x".repeat(1 << 20)}),
    );
    assert_eq!(server.run(request)["exit_code"], 2);
    server.stop();
}

#[test]
fn stdin_arrives_whole_behind_commands_of_any_length() {
    let server = Server::start();
    for (words, size) in [(0, 0), (0, 1), (0, 3_000_000), (14, 0), (14, 2_000_000)] {
        let mut command = vec![
            "sh".to_owned(),
            "-c".into(),
            "echo $#; wc -c".into(),
            "x".into(),
        ];
        command.extend(std::iter::repeat_n("a".repeat(130_000), words));
        let mut request = shell("", json!({"command": command}));
        if size > 0 {
            request["stdin"] = json!("i".repeat(size));
        }
        let result = server.run(request);
        assert_eq!(
            result["stdout"],
            format!("{words}\n{size}\n"),
            "{}",
            result["stderr"]
        );
    }
    server.stop();
}

#[test]
fn output_is_passed_on_at_once_and_the_start_is_told_before_it() {
    let server = Server::start();
    let request = shell(
        "printf 'prompt> '; read x; echo $x",
        json!({"stdin": "", "command": [
            "sh", "-c", "printf 'a\\036'; printf 'err' >&2; sleep 1; echo b",
        ]}),
    )
    .to_string();
    let fields = [("Accept", "application/x-ndjson")];
    let post = Request::new("POST", "/run").fields(&fields).body(&request);
    let mut live = EventStream::new(server.begin(&post));
    let mut names = Vec::new();
    while let Some(line) = live.line() {
        let event: Value = serde_json::from_str(&line).unwrap();
        names.push(event["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(names[0], "started", "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "started").count(), 1);
    assert_eq!(names.last().unwrap(), "result");
    server.stop();
}

#[test]
fn where_the_command_writes_does_not_depend_on_its_pid() {
    let server = Server::start();
    let script = "echo one > /proc/1/fd/1; echo two > /dev/stdout; echo three > /proc/self/fd/1; echo four > /dev/stderr";
    let result = server.run(shell(script, json!({})));
    assert_eq!(result["stdout"], "one\ntwo\nthree\n", "{result}");
    assert_eq!(result["stderr"], "four\n");
    server.stop();
}

/// An engine that passes on nothing of stderr. Those from 26 on do that now and then, while their machine is overloaded.
fn engine_without_stderr() -> FaultProxy {
    FaultProxy::judging(
        |head| match head.contains("/attach?") && head.contains("stderr=1") {
            true => Fate::WithoutStderr,
            false => Fate::Pass,
        },
    )
}

#[test]
fn a_stream_that_the_engine_loses_is_said_and_not_taken_for_an_empty_one() {
    let engine = engine_without_stderr();
    for warm in ["0", "1"] {
        let server = Server::with(&[
            ("DOCKER_HOST", &engine.docker_host()),
            ("RUNNER_WARM_CONTAINERS", warm),
        ]);
        for _ in 0..2 {
            let result = server.run(shell("echo o; echo e >&2; exit 3", json!({})));
            assert_eq!(result["stdout"], "o\n");
            assert_eq!(result["exit_code"], 3);
            let warnings = result["warnings"].to_string();
            assert!(warnings.contains("\"stderr: the Docker engine did not"));
        }
        server.stop();
    }
}

#[test]
fn a_stream_that_an_asynchronous_run_loses_is_in_its_log() {
    let engine = engine_without_stderr();
    let server = Server::with(&[("DOCKER_HOST", &engine.docker_host())]);
    let path = submit(&server, &shell("echo o; echo e >&2; exit 3", json!({})));
    let result = finished(&server, &path)["result"].clone();
    assert_eq!(
        (&result["stdout"], &result["stderr"]),
        (&json!("o\n"), &json!("e\n"))
    );
    assert_eq!(result["warnings"], Value::Null);
    forget_all(&server);
    server.stop();
}
