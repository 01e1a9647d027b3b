//! Batches (revision 2025-03-26), over both HTTP transports: each of their messages is answered, whatever their number.

use super::headers::PROTOCOL_VERSION;
use super::messages::{IMAGE, call, initialize, run};
use super::stream::{Stream, post};
use crate::support::{Answer, Request, Server};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The revision that has batches.
const BATCHES: (&str, &str) = (PROTOCOL_VERSION, "2025-03-26");

fn ping(id: usize) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
}

fn pings(count: usize) -> Value {
    (0..count).map(ping).collect()
}

fn post_batch(server: &Server, accept: &str, batch: &Value) -> Answer {
    let fields = [BATCHES, ("Accept", accept)];
    let body = batch.to_string();
    server.ask(&Request::new("POST", "/mcp").fields(&fields).body(&body))
}

fn ids(answers: &[Value]) -> HashSet<u64> {
    let id = |answer: &Value| answer["result"].as_object().and(answer["id"].as_u64());
    answers.iter().filter_map(id).collect()
}

#[test]
fn a_batch_of_any_allowed_size_is_answered_whole_and_holds_no_thread() {
    let server = Server::start();
    let accepts = [
        "application/json",
        "text/event-stream",
        "application/json, text/event-stream",
    ];
    for accept in accepts {
        for count in [1, 64, 65, 1000] {
            let answer = post_batch(&server, accept, &pings(count));
            assert_eq!(answer.status, 200, "{accept} {count}");
            let answers = match accept {
                "text/event-stream" => messages(answer.text()),
                _ => answer.json().as_array().unwrap().clone(),
            };
            assert_eq!(answers.len(), count, "{accept}");
            assert_eq!(ids(&answers).len(), count, "{accept}");
        }
        let refused = post_batch(&server, accept, &pings(1001));
        assert_eq!(refused.status, 400);
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], -32600);
        assert!(error["message"].as_str().unwrap().contains("1000 messages"));
    }
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "no thread hangs");
}

/// The messages of a whole event stream.
fn messages(stream: &str) -> Vec<Value> {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn calls_in_a_batch_run_beside_more_answers_than_their_channel_holds() {
    let server = Server::start();
    let mut batch = vec![run(1000, "for i in 1 2 3; do echo $i; done")];
    batch.extend((0..200).map(ping));
    batch.push(run(1001, "echo last"));
    let answer = post_batch(&server, "application/json", &Value::Array(batch));
    let answers = answer.json();
    assert_eq!(ids(answers.as_array().unwrap()).len(), 202);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_batch_over_sse_is_answered_fully_to_a_client_that_reads() {
    let server = Server::start();
    let mut stream = Stream::session(&server, "batches");
    post(&server, "batches", &initialize("2025-03-26"));
    stream.response();
    // The second batch comes before the answers of the first are read.
    for _ in 0..2 {
        post(&server, "batches", &pings(1000));
    }
    let answers: Vec<Value> = (0..2000).map(|_| stream.response().0).collect();
    assert_eq!(ids(&answers[..1000]).len(), 1000);
    assert_eq!(ids(&answers[1000..]).len(), 1000);
    stream.close();
    server.stop();
}

#[test]
fn each_item_of_a_batch_gets_an_answer_of_its_own() {
    let server = Server::start();
    let one = post_batch(&server, "application/json", &json!([ping(7)]));
    assert_eq!(
        one.json(),
        json!([{"jsonrpc": "2.0", "id": 7, "result": {}}])
    );
    let mixed = json!([ping(1), {"jsonrpc": "2.0", "id": 2}, 3, ping(4),
        {"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    let answers = post_batch(&server, "application/json", &mixed).json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 4);
    assert_eq!(ids(answers), HashSet::from([1, 4]));
    let errors = answers
        .iter()
        .filter(|answer| answer["error"]["code"] == -32600);
    assert_eq!(errors.count(), 2);
    let all_bad = post_batch(&server, "application/json", &json!([1, "2"]));
    assert_eq!(all_bad.json().as_array().unwrap().len(), 2);
    let silent = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    for accept in ["application/json", "text/event-stream"] {
        let answer = post_batch(&server, accept, &silent);
        assert_eq!((answer.status, answer.body.len()), (202, 0), "{accept}");
    }
    server.stop();
}

#[test]
fn the_answers_of_a_batch_are_bounded_in_size() {
    let server = Server::start();
    let list = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
    let batch: Value = (0..1000).map(list).collect();
    let answer = post_batch(&server, "application/json", &batch);
    assert!(answer.body.len() < 5 << 20, "{}", answer.body.len());
    let answers = answer.json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 1000, "every request has an answer");
    let last = answers.iter().find(|answer| answer["id"] == 999).unwrap();
    assert_eq!(last["error"]["code"], -32603);
    assert!(ids(answers).len() > 50);
    server.stop();
}

#[test]
fn no_name_from_a_request_makes_an_event_longer_than_clients_accept() {
    let server = Server::start();
    let mut stream = Stream::session(&server, "long");
    let long = "n".repeat(1_000_000);
    let version = json!({"io.modelcontextprotocol/protocolVersion": long,
        "io.modelcontextprotocol/clientCapabilities": {}});
    let arguments = |name: &str| json!({"image": IMAGE, name: 1});
    let list = |meta: Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}});
    for message in [
        list(version.clone()),
        call(1, "run_container", json!({}), version),
        call(1, &long, json!({}), json!({})),
        call(1, "run_container", arguments(&long), json!({})),
        call(1, "read_volume", json!({"name": long}), json!({})),
        call(1, "run_status", json!({"id": long}), json!({})),
        json!({"jsonrpc": "2.0", "id": 1, "method": long}),
    ] {
        post(&server, "long", &message);
        let (answer, _) = stream.response();
        assert!(answer.to_string().len() < 5000, "{answer:.300}");
    }
    stream.close();
    server.stop();
}
