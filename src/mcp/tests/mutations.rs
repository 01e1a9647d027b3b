//! Mutated JSON-RPC messages and batches in every revision: each request gets exactly one answer, and every answer is valid.
//! `FUZZ_TIMES=100` searches a hundred times as long.

use super::*;
use crate::random::{Random, rounds};
use std::collections::BTreeMap;

const MESSAGES: &str = include_str!("../../../tests/corpus/messages/messages.jsonl");

/// What messages are made of, and what breaks their parts.
const WORDS: [&str; 30] = [
    "jsonrpc",
    "2.0",
    "id",
    "method",
    "params",
    "result",
    "error",
    "_meta",
    "name",
    "arguments",
    "image",
    "ping",
    "tools/list",
    "tools/call",
    "notifications/cancelled",
    "requestId",
    "progressToken",
    "initialize",
    "1.0",
    "1e3",
    "-0",
    "null",
    "[",
    "{",
    "\"",
    ",",
    "18446744073709551616",
    "\\ud800",
    "\\u0000",
    "\u{e9}",
];

/// The ids of the requests in a message, by their JSON, and how many messages are no valid request, notification or response.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    requests: BTreeMap<String, usize>,
    invalid: usize,
}

impl Expected {
    /// One message, judged by the schema's rules and not by the parser's.
    fn add(&mut self, message: &Value) {
        let is_id = |id: &Value| {
            id.is_i64() || id.is_u64() || id.as_str().is_some_and(|text| text.len() <= 1024)
        };
        let (id, method) = (message.get("id"), message.get("method"));
        let params = message.get("params").unwrap_or(&Value::Null);
        let is_ours = message.is_object() && message["jsonrpc"] == "2.0";
        let is_response =
            method.is_none() && (message.get("result").is_some() || message.get("error").is_some());
        if is_ours && is_response {
            return;
        }
        let is_valid = is_ours && method.is_some_and(Value::is_string) && id.is_none_or(is_id);
        match (id, params) {
            // What is wrong with it is answered under its id, if it has one.
            (Some(id), _) if message.is_object() && is_id(id) => {
                *self.requests.entry(id.to_string()).or_default() += 1
            }
            (None, Value::Null | Value::Object(_)) if is_valid => {}
            _ => self.invalid += 1,
        }
    }
}

/// Sends a text on behalf of a client. Returns every response that comes back, in one list.
fn answers(mcp: &Mcp, client: &Arc<ClientState>, text: &[u8]) -> Vec<Value> {
    let (sender, messages) = ChannelSender::new(4000);
    let context = CallContext::new(client, Arc::new(sender));
    let payload = match jsonrpc::parse(text, None) {
        Ok(payload) => payload,
        Err(jsonrpc::Refusal::Message(rejected)) => return vec![jsonrpc::rejection(&rejected)],
        Err(other) => panic!("{other:?}"),
    };
    let received = mcp.receive(payload, &context);
    // Ends when the last call has.
    drop(context);
    let mut responses: Vec<Value> = messages.iter().filter_map(response).collect();
    responses.extend(received.err().map(|rejected| jsonrpc::rejection(&rejected)));
    responses
}

fn response(message: Outgoing) -> Option<Value> {
    match message {
        Outgoing::Response(response) => Some(response),
        Outgoing::Notification(_) => None,
    }
}

/// A client for which `initialize` has negotiated the revision, if it has that.
fn client_of(mcp: &Mcp, revision: Revision) -> Arc<ClientState> {
    let client = mcp.new_client();
    if !revision.is_stateless() {
        client.set_revision(revision);
    }
    client
}

/// A message of the corpus with the revision that it may name, mutated as JSON, as text, or not at all.
fn mutated(random: &mut Random, revision: Revision) -> Value {
    let seeds: Vec<&str> = MESSAGES.lines().collect();
    let text = random.pick(&seeds).replace("REVISION", revision.name());
    let mut message: Value = serde_json::from_str(&text).unwrap();
    if !random.one_in(4) {
        random.mutate_json(&mut message, &WORDS);
    }
    message
}

fn tally(responses: &[Value]) -> Expected {
    let mut found = Expected::default();
    for response in responses {
        match response.get("id") {
            Some(id) => *found.requests.entry(id.to_string()).or_default() += 1,
            None => found.invalid += 1,
        }
    }
    found
}

/// Whether a client of this message may cancel a call, whose answer then does not come.
fn may_cancel(text: &str) -> bool {
    text.contains("notifications/cancelled")
}

/// The schemas that answers may follow.
struct Schemas {
    own: jsonschema::Validator,
    /// A request that names no revision is answered as before 2026-07-28, and an error without id has a schema from 2025-11-25 on.
    handshake: jsonschema::Validator,
}

impl Schemas {
    fn of(revision: Revision) -> Self {
        Self {
            own: validator(revision, "JSONRPCMessage"),
            handshake: validator(Revision::V2025_11_25, "JSONRPCMessage"),
        }
    }
}

fn assert_answers(schemas: &Schemas, text: &str, responses: &[Value]) {
    for response in responses {
        let is_valid = schemas.own.is_valid(response) || schemas.handshake.is_valid(response);
        assert!(is_valid, "{text}\n{response:.1000}");
        let error = &response["error"];
        assert!(error.to_string().len() < 4000, "a short error for {text}");
        assert!(response.to_string().len() < 5 << 20);
    }
}

#[test]
fn every_request_among_mutated_messages_gets_one_valid_answer_in_every_revision() {
    let mcp = server();
    let (mut answered, mut refused) = (0, 0);
    for revision in Revision::ALL {
        let schemas = Schemas::of(revision);
        for number in 0..rounds(200) {
            let mut random = Random(number);
            let message = mutated(&mut random, revision);
            let mut bytes = message.to_string().into_bytes();
            if random.one_in(4) {
                random.mutate(&mut bytes, &WORDS);
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let responses = answers(&mcp, &client_of(&mcp, revision), &bytes);
            assert_answers(&schemas, &text, &responses);
            // Only what the strict parser takes can be judged by another.
            let Ok(value) = crate::json::parse(&bytes, None) else {
                assert_eq!(
                    tally(&responses),
                    Expected {
                        invalid: 1,
                        ..Expected::default()
                    },
                    "{text}"
                );
                refused += 1;
                continue;
            };
            let mut expected = Expected::default();
            expected.add(&value);
            if !value.is_array() {
                assert_eq!(tally(&responses), expected, "{text}");
                answered += expected.requests.len();
                refused += responses
                    .iter()
                    .filter(|response| response.get("error").is_some())
                    .count();
            }
        }
    }
    assert!(answered > 250 && refused > 200, "{answered}, {refused}");
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

#[test]
fn every_request_in_a_mutated_batch_gets_one_valid_answer() {
    let mcp = server();
    let mut answered = 0;
    for revision in [Revision::V2025_03_26, Revision::V2025_06_18] {
        let schemas = Schemas::of(revision);
        for number in 0..rounds(120) {
            let mut random = Random(number);
            let count = *random.pick(&[0, 1, 2, 5, 20]);
            let items: Vec<Value> = (0..count).map(|_| mutated(&mut random, revision)).collect();
            let text = Value::from(items.clone()).to_string();
            let responses = answers(&mcp, &client_of(&mcp, revision), text.as_bytes());
            assert_answers(&schemas, &text, &responses);
            let mut expected = Expected::default();
            match revision.has_batches() && count > 0 {
                true => items.iter().for_each(|item| expected.add(item)),
                false => expected.invalid = 1,
            }
            if !may_cancel(&text) {
                assert_eq!(tally(&responses), expected, "{text}");
                answered += responses.len();
            }
        }
    }
    assert!(answered > 300, "{answered}");
    assert_eq!(mcp.counts(), Counts::default());
    mcp.close();
}

#[test]
fn a_mutated_id_comes_back_as_it_was_sent_or_the_message_is_refused() {
    const ID_WORDS: [&str; 14] = [
        "0",
        "-",
        "1",
        "9",
        ".",
        "e",
        "E+",
        "\"",
        "\\u00e9",
        "\\n",
        "null",
        "[",
        "18446744073709551615",
        "\u{e9}",
    ];
    let mcp = server();
    let client = client_of(&mcp, Revision::V2025_11_25);
    let mut same = 0;
    for number in 0..rounds(6000) {
        let mut random = Random(number);
        let seed = *random.pick(&[
            "1",
            "-7",
            "\"a\"",
            "\"\\u00e9\\n\"",
            "18446744073709551615",
            "-9223372036854775808",
        ]);
        let id = random.mutated_text(seed, &ID_WORDS);
        let text = format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id}}}"#);
        let responses = answers(&mcp, &client, text.as_bytes());
        let [response] = &responses[..] else {
            panic!("{text}: {responses:?}");
        };
        let Some(echoed) = response.get("id") else {
            assert!(response.get("error").is_some(), "{text}");
            continue;
        };
        let sent: Value = serde_json::from_str(&text).unwrap();
        // A whole number with a fraction or an exponent comes back as the same integer.
        if sent["id"].is_f64() {
            assert!(!echoed.is_f64(), "{text}");
            assert_eq!(echoed.as_f64(), sent["id"].as_f64(), "{text}");
            continue;
        }
        assert_eq!(*echoed, sent["id"], "{text}");
        // Other numbers have one spelling only.
        if echoed.is_number() {
            assert_eq!(echoed.to_string(), id.trim());
        }
        same += 1;
    }
    assert!(same > 1000, "{same}");
    mcp.close();
}
