//! The kinds of requests that the clients make. Each request has a nonce, and its answer must have it too.

use super::accepted::Submission;
use super::clients::Client;
use super::outcome::{Expected, Outcome, assert_holds, code};
use crate::mcp::messages::call;
use crate::run::shell;
use crate::support::{Answer, Request};
use serde_json::{Value, json};
use std::time::Duration;

/// Makes a request of any kind.
pub fn any(client: &mut Client<'_>) -> Outcome {
    let kinds = [
        files,
        sse,
        ndjson,
        stdin,
        asynchronous,
        mcp,
        cancelled,
        hung_up,
        failing,
        refused,
        named,
        asynchronous,
    ];
    let kind = kinds[client.random.below(kinds.len())];
    kind(client)
}

/// Files go in and come back changed.
fn files(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let request = shell(
        "cat /in/f && cp /in/f /out/x && cp /in/f /made/y || exit 9",
        json!({"volumes": {
            "/in:ro": {"type": "directory", "files": {"f": nonce}},
            "/out": {"type": "directory", "response": true},
            "/made/y": {"type": "file", "response": true},
        }}),
    );
    let expected = Expected {
        stdout: nonce.clone(),
        file: Some(("/made/y", nonce.clone())),
        directory: Some(("/out", ("x", nonce))),
        ..Expected::default()
    };
    let answer = client.post("/run", &request.to_string());
    expected.judge_answer(answer.as_ref())
}

/// A script that prints the nonce several times, and takes a while; and what it prints.
fn talking(nonce: &str) -> (Value, Expected) {
    let script = format!("for n in 1 2 3; do echo {nonce} $n; sleep 0.2; done; exit 4");
    let lines = (1..4).map(|n| format!("{nonce} {n}\n"));
    let expected = Expected {
        stdout: lines.collect(),
        exit_code: 4,
        ..Expected::default()
    };
    (shell(&script, json!({})), expected)
}

fn sse(client: &mut Client<'_>) -> Outcome {
    streamed(client, "text/event-stream", &|body| {
        let blocks = body.split("\n\n").filter(|block| block.contains("event: "));
        let events = blocks.map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
            (field("event: ").unwrap().to_owned(), data)
        });
        events.collect()
    })
}

fn ndjson(client: &mut Client<'_>) -> Outcome {
    streamed(client, "application/x-ndjson", &|body| {
        let lines = body.lines().filter(|line| !line.trim().is_empty());
        let events = lines.map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            (event["event"].as_str().unwrap().to_owned(), event)
        });
        events.collect()
    })
}

type Events = Vec<(String, Value)>;

fn streamed(client: &mut Client<'_>, accept: &str, read: &dyn Fn(&str) -> Events) -> Outcome {
    let (request, expected) = talking(&client.nonce());
    let request = request.to_string();
    let fields = [("Accept", accept)];
    let request = Request::new("POST", "/run").fields(&fields).body(&request);
    let Some(answer) = client.ask(&request) else {
        return Outcome::Broken;
    };
    if answer.status != 200 {
        return Outcome::Error(code(&answer));
    }
    let events = read(answer.text());
    let (name, last) = events.last().expect("a stream has a last event");
    if name == "error" {
        return Outcome::Error(last["code"].as_str().expect("a code").to_owned());
    }
    assert_eq!(name, "result", "{events:?}");
    let outcome = expected.judge(last);
    let said = events.iter().filter(|(name, _)| name == "stdout");
    let said: String = said
        .filter_map(|(_, event)| event["data"].as_str())
        .collect();
    assert_eq!(said, last["stdout"].as_str().unwrap(), "{events:?}");
    outcome
}

fn stdin(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let fed = format!("{nonce}\n").repeat(1 + client.random.below(3000));
    let request = shell("cat", json!({"stdin": fed}));
    let answer = client.post("/run", &request.to_string());
    Expected::stdout(fed).judge_answer(answer.as_ref())
}

/// It runs once, writes that into the ledger, and is judged when the fault is over.
fn asynchronous(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let pause = client.random.below(3);
    let fed = client.random.below(2) == 0;
    let submission = Submission::counted(&nonce, &format!("sleep {pause}; cat"), fed);
    match client.submit(&submission) {
        Err(outcome) => outcome,
        Ok(accepted) => {
            client.load.accepted.lock().unwrap().push(accepted);
            Outcome::True
        }
    }
}

/// An asynchronous run that would take very long, and is cancelled.
fn cancelled(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let mut accepted = match client.submit(&Submission::endless(&nonce)) {
        Err(outcome) => return outcome,
        Ok(accepted) => accepted,
    };
    let pause = Duration::from_millis(client.random.below(1500) as u64);
    std::thread::sleep(pause);
    let outcome = accepted.cancel(client);
    client.load.accepted.lock().unwrap().push(accepted);
    outcome
}

fn mcp(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let arguments = json!({"image": "alpine:latest", "command": ["sh", "-c", format!("echo {nonce}")],
        "network": "none", "pull_policy": "never"});
    let body = call(1, "run_container", arguments, json!({})).to_string();
    let Some(answer) = client.post("/mcp", &body) else {
        return Outcome::Broken;
    };
    if answer.status != 200 {
        return Outcome::Error(code(&answer));
    }
    let answered = answer.json();
    if answered["error"]["code"].is_i64() {
        return Outcome::Error("tool error".into());
    }
    let result = &answered["result"];
    if result["structuredContent"].is_object() {
        return Expected::stdout(format!("{nonce}\n")).judge(&result["structuredContent"]);
    }
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let is_error = result["isError"] == true && text.contains("run_container failed: ");
    assert!(is_error, "{}", answer.text());
    Outcome::Error("tool error".into())
}

/// The client goes away; its run must too.
fn hung_up(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let request = shell(
        &format!("echo {nonce}; sleep 300"),
        json!({"timeout_secs": 600}),
    );
    let address = client.address();
    let request = request.to_string();
    let sent = Request::new("POST", "/run").body(&request).send(&address);
    let pause = Duration::from_millis(client.random.below(800) as u64);
    std::thread::sleep(pause);
    drop(sent);
    Outcome::True
}

fn failing(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    let request = shell(
        &format!("printf {nonce}; echo fault >&2; exit 3"),
        json!({}),
    );
    let answer = client.post("/run", &request.to_string());
    let expected = Expected {
        stdout: nonce,
        exit_code: 3,
        ..Expected::default()
    };
    expected.judge_answer(answer.as_ref())
}

/// A request that no server can fulfil; the answer says so.
fn refused(client: &mut Client<'_>) -> Outcome {
    let requests = [
        (
            json!({"image": "oneoff-chaos-none:latest", "pull_policy": "never"}),
            "image_not_found",
        ),
        (
            shell("true", json!({"command": ["/no/such/program"]})),
            "start_failed",
        ),
        (shell("true", json!({"colour": "red"})), "invalid_request"),
    ];
    let (request, expected) = &requests[client.random.below(requests.len())];
    let Some(answer) = client.post("/run", &request.to_string()) else {
        return Outcome::Broken;
    };
    if answer.status == 200 {
        // Only if it was cancelled before its fault was found.
        let outcome = Expected::default().judge(&answer.json());
        assert_ne!(outcome, Outcome::True, "{}", answer.text());
        return outcome;
    }
    match code(&answer) {
        code if code == *expected => Outcome::True,
        code => Outcome::Error(code),
    }
}

/// A request, and the judgement on its answer if that is none of an error.
type Step<'a> = (Request<'a>, &'a dyn Fn(&Answer) -> Outcome);

/// A volume is made, filled, used by a run, read and removed.
fn named(client: &mut Client<'_>) -> Outcome {
    let nonce = client.nonce();
    client.load.volumes.lock().unwrap().push(nonce.clone());
    let made = json!({"name": nonce, "files": {"a": nonce}}).to_string();
    let used = shell(
        "cat /v/a && cp /v/a /v/b || exit 9",
        json!({"volumes": {"/v": {"type": "volume", "name": nonce, "response": true}}}),
    )
    .to_string();
    let expected = Expected {
        stdout: nonce.clone(),
        directory: Some(("/v", ("b", nonce.clone()))),
        ..Expected::default()
    };
    let path = format!("/volume/{nonce}");
    let steps: [Step<'_>; 4] = [
        (Request::new("POST", "/volume").body(&made), &|_| {
            Outcome::True
        }),
        (Request::new("POST", "/run").body(&used), &|answer| {
            expected.judge(&answer.json())
        }),
        (Request::new("GET", &path), &|answer| {
            let read = answer.json();
            assert_holds(read["content"].as_str().unwrap(), "b", &nonce);
            Outcome::True
        }),
        (Request::new("DELETE", &path), &|_| Outcome::True),
    ];
    for (request, judge) in steps {
        let outcome = match client.ask(&request) {
            None => Outcome::Broken,
            Some(answer) if answer.status < 300 => judge(&answer),
            Some(answer) => Outcome::Error(code(&answer)),
        };
        if outcome != Outcome::True {
            return outcome;
        }
    }
    Outcome::True
}
