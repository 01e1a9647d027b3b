//! Request heads: malformed, oversized, unusual.

use super::MIB;
use super::client::{read, send};
use super::process::ServerProcess;
use super::rig::Rig;
use std::io::Write;

#[test]
fn malformed_heads_are_refused_each_with_its_own_status() {
    let rig = Rig::start();
    for (status, code, head) in [
        (400, "bad_request", "GET / HTTP/1.1\nHost: h\n\n"),
        (400, "bad_request", "GET / HTTP/1.1\r\nHost: h\n\r\n"),
        (400, "bad_request", "GET / HTTP/1.1\r\n\r\n"),
        (
            400,
            "bad_request",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ),
        (
            400,
            "bad_request",
            "GET ftp://localhost/ HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            400,
            "bad_request",
            "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (400, "bad_request", "\u{16}\u{3}\u{1}\u{2}"),
        (
            417,
            "expectation_failed",
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: a-lot\r\n\r\n",
        ),
        (505, "http_version_not_supported", "PRI * HTTP/2.0\r\n\r\n"),
        (
            505,
            "http_version_not_supported",
            "GET / HTTP/3.0\r\nHost: h\r\n\r\n",
        ),
    ] {
        let answer = rig.ask(head);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{head:?}"
        );
    }
    let many = format!(
        "GET /seen HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    assert_eq!(rig.ask(&many).code(), "too_many_headers");
    let fine = format!(
        "GET /health HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "A: b\r\n".repeat(99)
    );
    assert_eq!(rig.ask(&fine).status, 200);
}

#[test]
fn unknown_methods_reach_the_handler_unchanged() {
    let rig = Rig::start();
    for method in ["BREW", "PROPFIND", "get", "M-SEARCH", "X!#$%&'*+.^_`|~"] {
        let answer = rig.ask(&format!("{method} /seen HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(answer.json()["method"], method);
    }
}

#[test]
fn the_handler_sees_the_request_decoded_and_without_credentials() {
    let rig = Rig::with(|c| c.auth_token = Some("t".into()));
    let seen = rig
        .ask(
            "POST /%73een?a=1&b=x%20y HTTP/1.1\r\nHost: h\r\nX-Thing:  v \r\nAuthorization: Bearer t\r\n\
             TE: trailers\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nX-Edge-Id: 1\r\n\
             Content-Length: 0\r\n\r\n",
        )
        .json();
    assert_eq!(seen["path"], "/seen");
    assert_eq!(seen["query"], serde_json::json!([["a", "1"], ["b", "x y"]]));
    assert_eq!(
        seen["headers"],
        serde_json::json!([["host", "h"], ["x-thing", "v"]])
    );
    assert_eq!(seen["content_length"], 0);
}

#[test]
fn a_300_mb_head_costs_neither_memory_nor_the_answer() {
    let server = ServerProcess::start(256);
    let mut socket = send(server.addr, b"GET / HTTP/1.1\r\nHost: h\r\nX: ");
    let piece = vec![b'x'; MIB];
    (0..300).for_each(|_| socket.write_all(&piece).unwrap());
    assert_eq!(read(&mut socket).unwrap().code(), "head_too_large");
    let (_, peak) = server.memory_kib();
    assert!(peak < 40 * 1024, "{peak} KiB");
}

#[test]
fn pipelined_requests_are_ignored() {
    let rig = Rig::start();
    let one = "GET /seen?n=1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = rig.ask(&format!("{one}{}", one.replace("n=1", "n=2").repeat(5)));
    assert_eq!(answer.json()["query"], serde_json::json!([["n", "1"]]));
    assert_eq!(answer.header("connection").unwrap(), "close");
    let behind_a_body = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /panic HTTP/1.1\r\n\r\n";
    assert_eq!(rig.ask(behind_a_body).text(), "hello");
}
