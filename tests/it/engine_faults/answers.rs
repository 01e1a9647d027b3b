//! Answers that are errors, malformed, cut or late.

use super::{FakeEngine, Reply, answer, message};
use oneoff_docker_runner::docker::{Client, Error, Host};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Calls `image_list` on a fake engine that always answers this. Returns the error.
fn listed(head: &'static str, body: &'static str) -> Error {
    let engine = FakeEngine::new(move |_| answer(head, body));
    engine.client().image_list().unwrap_err()
}

#[test]
fn error_statuses_keep_the_engines_message_without_control_characters() {
    let error = listed(
        "500 X\r\nContent-Type: application/json",
        "{\"message\":\"disk\\r\\n\\u001b[31mfull\"}",
    );
    assert!(
        matches!(&error, Error::Status { status: 500, message, call: "image_list" } if message == "disk [31mfull"),
        "{error:?}"
    );
    let error = listed(
        "502 Bad Gateway\r\nContent-Type: text/html",
        "<html>\n<h1>nginx</h1> upstream \x1b]0;gone\x07",
    );
    assert!(
        matches!(&error, Error::Status { status: 502, .. }),
        "{error:?}"
    );
    assert!(
        message(&error).contains("proxy") && message(&error).contains("nginx"),
        "{error}"
    );
    assert!(!message(&error).contains(char::is_control));
    let error = listed(
        "301 Moved Permanently\r\nLocation: http://elsewhere/\r\nContent-Length: 0",
        "",
    );
    assert!(
        matches!(error, Error::Status { status: 301, .. }),
        "redirects are not followed: {error:?}"
    );
    let error = listed("503 X\r\nContent-Length: 100", "{\"mess");
    assert!(
        matches!(error, Error::Status { status: 503, .. }),
        "{error:?}"
    );
}

#[test]
fn the_start_of_a_very_long_error_is_still_the_engines_own_words() {
    for ending in ["x", "\\u00e9", "é", "\\\""] {
        let message = "exec: ".to_owned() + &ending.repeat(200_000);
        let flood = format!(
            "HTTP/1.1 400 X\r\nContent-Type: application/json\r\n\r\n{{\"message\":\"{message}\"}}"
        );
        let engine = FakeEngine::new(move |_| Reply::Bytes(flood.clone().into_bytes()));
        let error = engine.client().image_list().unwrap_err();
        assert!(message_starts(&error, "exec: "), "{ending}: {error:?}");
    }
    let empty = listed("500 X\r\nContent-Length: 0", "");
    assert_eq!(message(&empty), "it gave no reason");
}

fn message_starts(error: &Error, start: &str) -> bool {
    message(error).starts_with(start) && message(error).len() < 10_000
}

#[test]
fn a_very_long_error_page_is_truncated() {
    let flood = format!(
        "HTTP/1.1 500 X\r\nContent-Type: text/plain\r\n\r\n{}",
        "é".repeat(3_000_000)
    );
    let engine = FakeEngine::new(move |_| Reply::Bytes(flood.clone().into_bytes()));
    let error = engine.client().image_list().unwrap_err();
    assert!(matches!(&error, Error::Status { status: 500, .. }) && message(&error).len() < 10_000);
}

#[test]
fn answers_that_cannot_be_parsed_are_reported_as_malformed() {
    let cases = [
        (
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 6",
            "<html>",
            "text/html",
        ),
        ("200 OK\r\nContent-Length: 2", "{}", "JSON"),
        ("200 OK\r\nTransfer-Encoding: chunked", "zz\r\n[\r\n", "cut"),
    ];
    for (head, body, words) in cases {
        let error = listed(head, body);
        assert!(
            matches!(&error, Error::Malformed { .. }),
            "{head}: {error:?}"
        );
        assert!(message(&error).contains(words), "{head}: {error}");
    }
    let not_http =
        FakeEngine::raw(|_| Reply::Bytes(b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n".to_vec()));
    let error = not_http.client().image_list().unwrap_err();
    assert!(message(&error).contains("speak TLS"), "{error}");
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    let endless = FakeEngine::raw(move |_| Reply::Bytes(endless.clone().into_bytes()));
    let error = endless.client().image_list().unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[test]
fn an_answer_that_breaks_off_is_an_engine_that_cannot_be_reached() {
    for (head, body) in [
        ("200 OK\r\nContent-Length: 99", "["),
        ("200 OK\r\nTransfer-Encoding: chunked", "1\r\n[\r\n"),
    ] {
        let error = listed(head, body);
        assert!(
            matches!(&error, Error::Unreachable { .. }),
            "{head}: {error:?}"
        );
        assert!(
            error.to_string().contains("middle of an answer"),
            "{head}: {error}"
        );
    }
}

#[test]
fn silence_and_slowness_end_at_the_deadline() {
    let limit = Duration::from_millis(700);
    let slow: [fn() -> Reply; 3] = [
        || Reply::Silence(channel().0),
        || Reply::Drip(b"HTTP/1.1 200 OK\r\nX: 1\r\nY: "),
        || Reply::Drip(b"x"),
    ];
    for reply in slow {
        let engine = FakeEngine::raw(move |_| reply());
        let started = Instant::now();
        let error = engine.client().version(limit).unwrap_err();
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        // A slow answer may also turn out to be malformed before the deadline.
        assert!(
            matches!(
                error,
                Error::TimedOut {
                    call: "version",
                    timeout_secs: 1
                } | Error::Malformed { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn an_engine_that_does_not_accept_connections_does_not_block_a_caller() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
    let path = std::env::temp_dir().join(format!("oneoff-full-{}.sock", std::process::id()));
    let address = SocketAddrUnix::new(&path).unwrap();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let first = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    connect(&first, &address).unwrap();
    let client = Client::new(Host::Unix(path.clone()), None).unwrap();
    let started = Instant::now();
    let error = client.version(Duration::from_millis(500)).unwrap_err();
    std::fs::remove_file(path).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(
        message(&error).contains("does not accept connections"),
        "{error:?}"
    );
}
