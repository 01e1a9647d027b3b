//! MCP over standard input and output: one process per client.

use super::messages::{detached, initialize, run};
use crate::support;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Sends these messages over stdio and closes the input when all are answered. Returns the messages from stdout and the
/// text from stderr.
pub fn speak(instance: &str, messages: &[Value]) -> (Vec<Value>, String) {
    let mut child = Command::new(crate::support::program())
        .arg("stdio")
        .env("RUNNER_INSTANCE", instance)
        .env("RUST_LOG", "info")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for message in messages {
        writeln!(stdin, "{message}").unwrap();
    }
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answers: Vec<Value> = Vec::new();
    let expected = messages.iter().filter(|m| m.get("id").is_some()).count();
    while answers.iter().filter(|a| a.get("method").is_none()).count() < expected {
        let line = lines.next().unwrap().unwrap();
        answers.push(serde_json::from_str(&line).expect("stdout carries messages only"));
    }
    drop(stdin);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    assert!(lines.next().is_none(), "nothing after the last answer");
    (answers, stderr)
}

/// A stdio server whose runs have started.
struct StdioServer {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    label: String,
}

impl StdioServer {
    fn running(instance: &str) -> Self {
        Self::busy(instance, &[run(1, "echo begun; sleep 100")])
    }

    /// Sends these messages and waits until the last run has printed `begun` and every run has a container.
    fn busy(instance: &str, messages: &[Value]) -> Self {
        support::require_engine();
        let mut child = Command::new(crate::support::program())
            .arg("stdio")
            .env("RUNNER_INSTANCE", instance)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let label = format!("oneoff.instance={instance}:stdio:{}", child.id());
        let mut stdin = child.stdin.take().unwrap();
        for message in messages {
            writeln!(stdin, "{message}").unwrap();
        }
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("begun") {}
        let begun = Instant::now();
        while support::leftovers(&label).len() < messages.len() {
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        Self {
            child,
            stdin,
            label,
        }
    }

    fn ends_with_nothing_left(mut self, end: impl FnOnce(std::process::ChildStdin, u32)) {
        end(self.stdin, self.child.id());
        let begun = Instant::now();
        while !support::leftovers(&self.label).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn stdio_ends_with_its_input_and_removes_its_containers() {
    let spoken = StdioServer::running(&format!("stdio-end-{}", std::process::id()));
    spoken.ends_with_nothing_left(|stdin, _| drop(stdin));
}

#[test]
fn stdio_ends_with_a_signal_and_removes_its_containers() {
    let spoken = StdioServer::running(&format!("stdio-term-{}", std::process::id()));
    spoken.ends_with_nothing_left(|stdin, pid| {
        let killed = Command::new("kill").arg(pid.to_string()).status().unwrap();
        assert!(killed.success());
        std::mem::forget(stdin);
    });
}

#[test]
fn detached_runs_of_stdio_end_with_its_process() {
    let arguments = |command| json!({"name": "run_container", "arguments": detached(command)});
    let detached = |id: u64, command| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": arguments(command)});
    let messages = [detached(1, "sleep 100"), run(2, "echo begun; sleep 100")];
    let spoken = StdioServer::busy(&format!("stdio-detached-{}", std::process::id()), &messages);
    spoken.ends_with_nothing_left(|stdin, _| drop(stdin));
}

#[test]
fn stdio_logs_to_stderr_only() {
    let instance = format!("stdio-log-{}", std::process::id());
    let (answers, stderr) = speak(&instance, &[initialize("2025-11-25"), run(1, "echo hi")]);
    let ran = answers.iter().find(|answer| answer["id"] == 1).unwrap();
    assert_eq!(ran["result"]["structuredContent"]["stdout"], "hi\n");
    assert!(stderr.contains("INFO"), "{stderr}");
}
