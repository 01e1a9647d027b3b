//! Runs every command of the README that sends a request to a server. Commands whose subject has a test file of its own
//! are run there.

use super::support::{Directory, Server, commands, readme, shell_output, spawn_shell};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The blocks of the quick start that send requests. The first block, which starts the server, is left out.
fn quick_start() -> [String; 2] {
    let mut blocks = commands("## Quick start");
    assert_eq!(blocks.remove(0).split_whitespace().nth(1), Some("run"));
    blocks.try_into().unwrap()
}

/// The names of the members of an object and of the objects directly in it.
fn members(value: &Value) -> Vec<String> {
    let object = value.as_object().unwrap();
    let inner = object.values().filter(|value| value.is_object());
    object
        .keys()
        .cloned()
        .chain(inner.flat_map(members))
        .collect()
}

#[test]
fn the_first_request_is_answered_as_shown() {
    let server = Server::start();
    let [hello, _] = quick_start();
    let answer: Value = serde_json::from_str(&shell_output(&server, &[hello])).unwrap();
    let shown = readme().split("```json\n").nth(1).unwrap().to_owned();
    let shown: Value = serde_json::from_str(shown.split("```").next().unwrap()).unwrap();
    for member in [
        "status",
        "exit_code",
        "reason",
        "stdout",
        "stderr",
        "volumes",
    ] {
        assert_eq!(answer[member], shown[member], "{answer}");
    }
    let mut answered = members(&answer);
    // Present only where the engine cannot enforce a limit.
    answered.retain(|member| member != "warnings");
    assert_eq!(answered, members(&shown));
    server.stop();
}

#[test]
fn the_request_with_a_script_returns_its_directory() {
    let server = Server::start();
    let [_, files] = quick_start();
    let directory = Directory::new("quickstart");
    let output = shell_output(&server, std::slice::from_ref(&files));
    assert_eq!(output, "Hello, World!\n");

    // "A directory goes in the same way": with what is put beside the volume's other fields.
    let text = readme();
    let (_, sentence) = text
        .split_once("A directory goes in the same way: `")
        .unwrap();
    let (content, _) = sentence.split_once("`.\n").unwrap();
    let plain = r#"{"type": "directory", "response": true}"#;
    let filled = format!(r#"{{"type": "directory", "response": true, {content}}}"#);
    assert!(files.contains(plain) && files.contains("-O ./test.txt"));
    let files = files.replace(plain, &filled);
    let files = files.replace("-O ./test.txt", "-O ./test.txt ./mine.txt");
    let enter = format!(
        "cd {}; mkdir mydir; echo mine > mydir/mine.txt\n",
        directory.path().display()
    );
    let output = shell_output(&server, &[enter, files]);
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["Hello, World!", "mine"]);
    server.stop();
}

#[test]
fn an_mcp_session_in_two_terminals_and_a_request_without_one() {
    let server = Server::start();
    let [listen, posts, alone] = commands("### Try it with curl").try_into().unwrap();
    let mut first = spawn_shell(&server, &listen);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let mut data = || loop {
        let line = lines.next().expect("the stream goes on").unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            return data.to_owned();
        }
    };
    assert_eq!(data(), "/messages?sessionId=test123");
    assert_eq!(shell_output(&server, &[posts]), "Accepted".repeat(3));
    let mut replies: Vec<Value> = (0..3)
        .map(|_| serde_json::from_str(&data()).unwrap())
        .collect();
    replies.sort_by_key(|reply| reply["id"].as_u64());
    let [initialized, listed, called] = replies.try_into().unwrap();
    assert_eq!(initialized["result"]["protocolVersion"], "2024-11-05");
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(
        tools.iter().any(|tool| tool["name"] == "run_container"),
        "{listed}"
    );
    let said = called["result"]["content"].to_string();
    assert!(said.contains("Hello from MCP SSE!"), "{called}");
    let told = server.get("/metrics").body;
    let accepted = r#"oneoff_http_requests_total{method="POST",route="/messages",status="202"} 3"#;
    assert!(String::from_utf8(told).unwrap().contains(accepted));

    let answer: Value = serde_json::from_str(&shell_output(&server, &[alone])).unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["isError"]),
        (&json!(1), &json!(false)),
        "{answer}"
    );
    assert!(
        answer["result"].to_string().contains("docker_version"),
        "{answer}"
    );
    server.stop();
    assert!(
        first.wait().unwrap().success(),
        "the stream ends properly with the server"
    );
}

#[test]
fn policy_and_dry_run() {
    let server = Server::start();
    let blocks = commands("### What is allowed, and what would be done");
    let [policy, plan]: [String; 2] = blocks.try_into().unwrap();
    let policy: Value = serde_json::from_str(&shell_output(&server, &[policy])).unwrap();
    assert!(policy["maxima"].is_object(), "{policy}");
    let plan = shell_output(&server, &[plan]);
    assert!(
        plan.contains("TOKEN=<redacted>") && !plan.contains("secret"),
        "{plan}"
    );
    let asked: Value = serde_json::from_str(&plan).unwrap();
    assert!(asked.to_string().contains(r#"["echo","hello"]"#), "{asked}");
    assert_eq!(server.leftovers(), Vec::<String>::new(), "nothing is made");
    server.stop();
}

#[test]
fn metrics() {
    let server = Server::start();
    let told = shell_output(&server, &commands("### Metrics"));
    assert!(told.contains("\noneoff_slots "), "{told}");
    server.stop();
}

/// A section has a test if a source file in this directory contains `commands("<heading>")`.
#[test]
fn every_section_with_a_curl_line_has_a_test() {
    let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let sources: String = std::fs::read_dir(chapters)
        .unwrap()
        .filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok())
        .collect();
    let text = readme();
    let (mut heading, mut is_code, mut asking) = ("", false, Vec::new());
    for line in text.lines() {
        match line {
            "```" if is_code => is_code = false,
            fence if fence.starts_with("```") => is_code = true,
            title if !is_code && title.starts_with('#') => heading = title,
            line if is_code && line.contains("curl ") => asking.push(heading),
            _ => {}
        }
    }
    asking.dedup();
    assert_eq!(asking.len(), 6, "{asking:?}");
    for heading in asking {
        let call = format!("commands(\"{heading}\")");
        assert!(
            sources.contains(&call),
            "nobody runs the commands of {heading}"
        );
    }
}
