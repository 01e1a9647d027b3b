//! Streams that break off: output, archives, pulls.

use super::{FakeEngine, Reply, SOON, answer, chunk};
use oneoff_docker_runner::docker::{Error, stdcopy};
use std::io::Read;
use std::sync::mpsc::channel;

#[test]
fn a_truncated_stream_is_an_error_and_not_an_end() {
    let engine = FakeEngine::new(|request| {
        let line = &request.line;
        let chunked = "200 OK\r\nTransfer-Encoding: chunked";
        let raw = "200 OK\r\nContent-Type: application/vnd.docker.raw-stream";
        match () {
            () if line.contains("/wait") => answer(chunked, "4\r\n{\"St\r\n"),
            () if line.contains("/archive") => answer(chunked, "5\r\nhello\r\n"),
            () if line.contains("/containers/cut/attach") => {
                answer(raw, "\x01\0\0\0\0\0\0\x09hell")
            }
            () => answer(raw, "this is not multiplexed"),
        }
    });
    let client = engine.client();
    let wait = client
        .container_wait_next_exit("x")
        .unwrap()
        .finish()
        .unwrap_err();
    assert!(matches!(wait, Error::Unreachable { .. }), "{wait:?}");
    let mut archive = client.archive_get("x", "/").unwrap();
    let mut received = Vec::new();
    let error = archive.read_to_end(&mut received).unwrap_err();
    assert!(
        received == b"hello" && error.to_string().contains("was cut"),
        "{error}"
    );
    for (id, words) in [("cut", "cut within a frame"), ("odd", "not a frame")] {
        let mut attached = client.container_attach(id).unwrap();
        let error = stdcopy::demultiplex(&mut attached.stream, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_truncated_pull_is_an_error() {
    let pulling = "{\"status\":\"Pulling\",\"id\":\"x\"}\r\n";
    let full = "{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\r\n";
    let cases = [
        (chunk(pulling) + "0\r\n\r\n", None),
        (chunk(pulling), Some("cut")),
        (
            chunk(pulling) + &chunk("{\"sta") + "0\r\n\r\n",
            Some("within a message"),
        ),
        (
            chunk(pulling) + &chunk(full) + "0\r\n\r\n",
            Some("500: no space"),
        ),
    ];
    for (body, expected) in cases {
        let engine =
            FakeEngine::new(move |_| answer("200 OK\r\nTransfer-Encoding: chunked", &body));
        let mut seen = Vec::new();
        let outcome = engine.client().image_pull("x", None, None, &mut |message| {
            seen.push(message.status);
            true
        });
        assert_eq!(seen, ["Pulling"]);
        let words = outcome.err().map(|error| error.to_string());
        assert_eq!(words.is_some(), expected.is_some());
        assert!(
            words
                .unwrap_or_default()
                .contains(expected.unwrap_or_default())
        );
    }
}

#[test]
fn a_pull_that_the_caller_ends_hangs_up_at_once() {
    let (hung_up, was_hung_up) = channel();
    let engine = FakeEngine::new(move |_| Reply::Silence(hung_up.clone()));
    let outcome = engine.client().image_pull("x", None, None, &mut |_| false);
    assert!(matches!(outcome, Err(Error::Source { .. })), "{outcome:?}");
    was_hung_up.recv_timeout(SOON).unwrap();
}
