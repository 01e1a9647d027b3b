//! Engines that answer wrongly, late, or not at all. One server lives through all that a proxy can do to its engine.

use super::no_engine::{Certificate, forbidden, tls};
use super::table::{BUDGET, Outcome, Row, Stand, Table, outcome, row, tested};
use crate::run::shell;
use crate::support::{Fate, FaultProxy, Server};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SECTION: &str = "engine confusion";

/// The next requests whose head contains the words have this fate.
struct Fault {
    words: &'static str,
    count: usize,
    fate: Fate,
}

type Faults = Arc<Mutex<Option<Fault>>>;

pub fn tables() -> Vec<Table> {
    let faults = Faults::default();
    let rows = [streams(&faults), answers(&faults), removals(&faults)];
    let mut rows: Vec<Row> = rows.into_iter().flatten().collect();
    rows.push(tested(
        "daemon restart during a run",
        "remote::an_engine_killed_during_a_run_is_reported_at_once_and_nothing_is_left_when_it_is_back",
    ));
    let confused = move || {
        let proxy = FaultProxy::judging(move |head| fate(&faults, head));
        behind(proxy, 200)
    };
    let old: Vec<Always> = vec![
        ("/_ping", answer("200 OK\r\nApi-Version: 1.24", "OK")),
        (
            " /version",
            versions(r#"{"ApiVersion":"1.24","MinAPIVersion":"1.12"}"#),
        ),
    ];
    let new: Vec<Always> = vec![
        ("/_ping", answer("200 OK\r\nApi-Version: 1.99", "OK")),
        (
            " /version",
            versions(r#"{"ApiVersion":"1.99","MinAPIVersion":"1.90"}"#),
        ),
        (
            "/v1.",
            answer("400 Bad Request\r\nContent-Type: application/json", TOO_NEW),
        ),
    ];
    let hanging = || {
        let proxy = FaultProxy::judging(|_| Fate::NeverAnswered);
        behind(proxy, 503)
    };
    let unreachable = |case, words: &str| vec![refused(case, words)];
    let table = |stand: Box<dyn FnOnce() -> Stand + Send>, rows| Table::new(SECTION, stand, rows);
    vec![
        table(Box::new(confused), rows),
        table(
            Box::new(move || answering(old)),
            unreachable("API version too old", "too old"),
        ),
        table(
            Box::new(move || answering(new)),
            unreachable("API version too new", "1.90"),
        ),
        table(Box::new(hanging), unreachable("engine that hangs", "")),
        table(
            Box::new(forbidden),
            unreachable("permission denied on the socket", "docker group"),
        ),
        table(
            Box::new(|| tls(Certificate::OfAStranger)),
            unreachable("TLS with the wrong CA", "ca.pem in DOCKER_CERT_PATH"),
        ),
        table(
            Box::new(|| tls(Certificate::Expired)),
            unreachable("TLS with an expired certificate", "expired"),
        ),
    ]
}

/// Words of a head, and the answer to every request that has them.
type Always = (&'static str, &'static [u8]);

/// What an engine says that no longer has any version of the client.
const TOO_NEW: &str =
    r#"{"message":"client version 1.47 is too old. Minimum supported API version is 1.90"}"#;

fn versions(body: &str) -> &'static [u8] {
    answer("200 OK\r\nContent-Type: application/json", body)
}

/// A server whose engine always gives these answers.
fn answering(answers: Vec<Always>) -> Stand {
    let judge = move |head: &str| {
        let mut answers = answers.iter();
        match answers.find(|(words, _)| head.contains(words)) {
            Some((_, answer)) => Fate::Answered(answer),
            None => Fate::Pass,
        }
    };
    behind(FaultProxy::judging(judge), 503)
}

/// A server whose engine is this proxy.
fn behind(proxy: FaultProxy, health: u16) -> Stand {
    let host = proxy.docker_host();
    let mut stand = Stand::of(Server::with(&[BUDGET, ("DOCKER_HOST", &host)]));
    stand.beside = Box::new(proxy);
    stand.health = health;
    stand
}

/// An answer that lives as long as the process.
fn answer(head: &str, body: &str) -> &'static [u8] {
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    Vec::leak(answer.into_bytes())
}

fn fate(faults: &Faults, head: &str) -> Fate {
    match faults.lock().unwrap().as_mut() {
        Some(fault) if fault.count > 0 && head.contains(fault.words) => {
            fault.count -= 1;
            fault.fate
        }
        _ => Fate::Pass,
    }
}

/// A run while the engine has this fault, and then one without it, which must succeed.
fn faulty(
    (case, expected): (&'static str, &'static str),
    faults: &Faults,
    (words, count, fate): (&'static str, usize, Fate),
) -> Row {
    let faults = faults.clone();
    row(case, expected, move |server| {
        *faults.lock().unwrap() = Some(Fault { words, count, fate });
        let outcome = outcome(&server.post("/run", &request()));
        let left = faults.lock().unwrap().take().unwrap().count;
        assert!(left < count, "no request had the fault");
        assert_eq!(server.run(request())["stdout"], "hello\n");
        outcome
    })
}

fn request() -> Value {
    let volumes = json!({"/d": {"type": "directory", "files": {"a": "x"}, "response": true}});
    shell("echo hello", json!({"volumes": volumes}))
}

fn streams(faults: &Faults) -> Vec<Row> {
    let attach = |case, bytes: &[u8]| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
        let bytes = Vec::leak([&head[..], bytes].concat());
        faulty(
            (case, "502 engine_error"),
            faults,
            ("/attach", 1, Fate::Answered(bytes)),
        )
    };
    vec![
        attach("frame of 4 GiB", b"\x01\0\0\0\xff\xff\xff\xffxxxx"),
        attach("unknown stream id", b"\x07\0\0\0\0\0\0\x04xxxx"),
        attach("unknown stream id", b"\x01\x02\x03\x04\0\0\0\x04xxxx"),
        attach("cut stream", b"\x01\0\0\0\0\0\0\x09hell"),
        attach("cut stream", b"\x01\0\0"),
    ]
}

fn answers(faults: &Faults) -> Vec<Row> {
    let page = answer(
        "502 Bad Gateway\r\nContent-Type: text/html",
        "<html><h1>nginx</h1>\x1b[31m upstream gone</html>",
    );
    let not_http: &'static [u8] = b"\x15\x03\x01\0\x02\x02\x46\r\n\r\n";
    let mut rows = Vec::new();
    for words in ["/containers/create", "/attach", "/start"] {
        rows.push(faulty(
            ("5xx", "502 engine_error | disk on fire"),
            faults,
            (words, 1, Fate::Fails),
        ));
        rows.push(faulty(
            ("proxy error page", "502 engine_error | proxy"),
            faults,
            (words, 1, Fate::Answered(page)),
        ));
    }
    rows.push(faulty(
        ("proxy error page", "502 engine_error"),
        faults,
        ("/start", 1, Fate::Answered(not_http)),
    ));
    rows
}

/// The container goes although the engine says no at first.
fn removals(faults: &Faults) -> Vec<Row> {
    let message = |status: &str, text: &str| {
        let head = format!("{status}\r\nContent-Type: application/json");
        Fate::Answered(answer(&head, &json!({"message": text}).to_string()))
    };
    let busy = message(
        "409 Conflict",
        "removal of container x is already in progress",
    );
    let dead = message(
        "500 Internal Server Error",
        "driver \"overlay2\" failed to remove root filesystem: device or resource busy",
    );
    let removed = |case, count, fate| {
        let faults = faults.clone();
        row(
            case,
            "200 success | hello",
            move |server: &Server| -> Outcome {
                *faults.lock().unwrap() = Some(Fault {
                    words: "DELETE ",
                    count,
                    fate,
                });
                let outcome = outcome(&server.post("/run", &request()));
                server.await_nothing_left();
                let left = faults.lock().unwrap().take().unwrap().count;
                assert_eq!(left, 0, "the removal was repeated");
                outcome
            },
        )
    };
    vec![
        removed("removal in progress", 2, busy),
        removed("dead container", 4, dead),
    ]
}

/// A run on a server whose engine is of no use.
fn refused(case: &'static str, words: &str) -> Row {
    let expected: &'static str = format!("503 engine_unreachable | {words}").leak();
    row(case, expected, |server| {
        outcome(&server.post("/run", &request()))
    })
}
