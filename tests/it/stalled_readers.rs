//! A client that stops reading its stream slows down its own container, and keeps nothing once the run is to end.

use super::run::shell;
use super::support::{EventStream, Request, Server};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const ONE: (&str, &str) = ("RUNNER_MAX_CONCURRENT_RUNS", "1");
const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
/// How long a slot and a container may stay taken after the run had to end, on a busy machine. Waiting for the reader took 109 s.
const SOON: Duration = Duration::from_secs(20);

/// A run that prints without end, of whose stream nothing is read. Returns when its container runs.
fn stalled(server: &Server, accept: &str, timeout_secs: u32) -> TcpStream {
    let request = json!({
        "image": super::support::IMAGE, "pull_policy": "never", "network": "none",
        "command": ["yes"], "timeout_secs": timeout_secs,
    });
    let stream = server.begin(
        &Request::new("POST", "/run")
            .fields(&[("Accept", accept)])
            .body(&request.to_string()),
    );
    server.await_running();
    stream
}

/// Waits for the only slot and until nothing is left; `most` is how long that may take.
fn assert_free_within(server: &Server, most: Duration) {
    let begun = Instant::now();
    let next = server.run(shell("echo next", json!({})));
    assert_eq!(next["stdout"], "next\n");
    server.await_nothing_left();
    let taken = begun.elapsed();
    assert!(taken < most, "{taken:?}");
}

#[test]
fn the_time_limit_ends_a_run_whose_reader_has_stalled() {
    for accept in [SSE, NDJSON] {
        let server = Server::with(&[ONE]);
        let stream = stalled(&server, accept, 2);
        assert_free_within(&server, Duration::from_secs(2) + SOON);
        // The reader continues: it hears of what it missed, and gets the result.
        let mut stream = EventStream::new(stream);
        let last: Vec<(String, Value)> = match accept {
            SSE => stream.events(),
            _ => std::iter::from_fn(|| stream.line())
                .map(|line| serde_json::from_str::<Value>(&line).unwrap())
                .map(|object| (object["event"].as_str().unwrap().to_owned(), object))
                .collect(),
        };
        let [.., (skipped, notice), (result, body)] = last.as_slice() else {
            panic!("{} events", last.len());
        };
        assert_eq!((skipped.as_str(), result.as_str()), ("skipped", "result"));
        assert!(notice["events"].as_u64().unwrap() > 0);
        assert_eq!(
            (&body["reason"], &body["status"]),
            (&json!("timeout"), &json!("error: timeout"))
        );
        assert!(body["stdout_omitted_bytes"].as_u64() > Some(0) || body["stdout"] != "");
        server.stop();
    }
}

#[test]
fn a_caller_who_leaves_without_having_read_ends_its_run() {
    let server = Server::with(&[ONE]);
    let stream = stalled(&server, SSE, 1000);
    drop(stream);
    assert_free_within(&server, SOON);
    server.stop();
}
