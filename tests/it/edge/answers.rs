//! Answers: their framing, their fields, and what a fault in a handler does to them.

use super::client::{read_until, send};
use super::rig::{Event, Rig};
use std::io::Write;

#[test]
fn a_panic_is_a_500_for_that_request_only() {
    let rig = Rig::start();
    let waiting = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    assert_eq!(rig.get("/panic").code(), "internal");
    assert!(rig.is_well());
    assert!(rig.events.is_empty(), "the other request goes on");
    drop(waiting);
}

#[test]
fn a_stream_that_fails_midway_does_not_look_complete() {
    let rig = Rig::start();
    let answer = rig.get("/panic-midway");
    assert_eq!((answer.status, answer.text()), (200, "4\r\nhalf\r\n"));
    assert!(rig.is_well());
}

#[test]
fn streams_are_chunked_piece_by_piece_and_plain_for_http_1_0() {
    let rig = Rig::start();
    let answer = rig.get("/pieces");
    assert_eq!(
        answer.text(),
        "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    );
    assert_eq!(answer.header("transfer-encoding").unwrap(), "chunked");
    let old = rig.ask("GET /pieces HTTP/1.0\r\n\r\n");
    assert_eq!(old.text(), "onetwothree");
    assert!(old.header("transfer-encoding").is_none());
}

#[test]
fn a_body_can_be_read_while_the_answer_is_written() {
    let rig = Rig::start();
    let head = b"POST /duplex HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n";
    let mut socket = send(rig.addr, head);
    for (piece, chunk) in [
        ("one", "3\r\none\r\n"),
        ("two", "3\r\ntwo\r\n"),
        ("six", "3\r\nsix\r\n0\r\n\r\n"),
    ] {
        socket.write_all(piece.as_bytes()).unwrap();
        read_until(&mut socket, chunk);
    }
}

#[test]
fn head_and_204_answers_have_no_body() {
    let rig = Rig::start();
    let head = rig.ask("HEAD /big?size=1000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length").unwrap(), "1000");
    let stream = rig.ask("HEAD /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((stream.status, stream.body.len()), (200, 0));
    let refused = rig.ask("HEAD /health HTTP/1.1\r\nHost: evil.com\r\n\r\n");
    assert_eq!((refused.status, refused.body.len()), (403, 0));
    let empty = rig.get("/teapot");
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    assert!(empty.header("content-length").is_none());
}

#[test]
fn no_handler_can_split_a_response() {
    let rig = Rig::start();
    let answer = rig.get("/crlf");
    assert_eq!(answer.status, 500);
    assert!(!answer.head.contains("stolen") && !answer.text().contains("stolen"));
}

#[test]
fn every_answer_carries_the_request_id() {
    let rig = Rig::start();
    let id = |value: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Request-Id: {value}\r\n\r\n");
        rig.ask(&request).header("x-request-id").unwrap()
    };
    assert_eq!(id("abc.DEF-1_2", "/seen"), "abc.DEF-1_2");
    assert_eq!(id("abc", "/nowhere"), "abc");
    for insane in ["a b", "a/b", "\"", &"x".repeat(129)] {
        assert_eq!(id(insane, "/seen").len(), 32);
    }
    assert_ne!(
        rig.get("/health").header("x-request-id").unwrap(),
        rig.get("/health").header("x-request-id").unwrap()
    );
    assert_eq!(
        rig.ask("nonsense\n").header("x-request-id").unwrap().len(),
        32
    );
}
