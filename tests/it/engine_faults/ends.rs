//! How the client learns that a container has ended: from an event, or else from `wait`.

use super::{FakeEngine, Reply, SOON, answer, chunk};
use std::sync::mpsc::channel;
use std::time::Instant;

#[test]
fn wait_is_pending_as_soon_as_the_head_has_arrived() {
    let engine = FakeEngine::new(|_| {
        // The head, and then only white space, which JSON allows.
        Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n                                                                  ")
    });
    let started = Instant::now();
    drop(engine.client().container_wait_next_exit("x").unwrap());
    assert!(started.elapsed() < SOON);
}

#[test]
fn without_a_usable_event_the_end_is_taken_from_wait() {
    let chunked = "200 OK\r\nTransfer-Encoding: chunked";
    let inspected = r#"{"Id":"x","State":{"Status":"exited","Running":false,"ExitCode":5,"OOMKilled":true},"Config":{}}"#;
    let (hung_up, was_hung_up) = channel();
    type Events = Box<dyn Fn() -> Reply + Send + Sync>;
    let events: [(&str, Events, bool); 5] = [
        (
            "forbidden",
            Box::new(|| Reply::Json(403, "{\"message\":\"not these\"}")),
            true,
        ),
        (
            "cut",
            Box::new(move || answer(chunked, "4\r\n{\"St\r\n")),
            false,
        ),
        (
            "ended",
            Box::new(move || answer(chunked, "0\r\n\r\n")),
            false,
        ),
        (
            "without a code",
            Box::new(move || {
                answer(
                    chunked,
                    &chunk("{\"Type\":\"container\",\"Action\":\"die\"}\n"),
                )
            }),
            false,
        ),
        (
            "silent",
            // The head, and then no event.
            Box::new(move || {
                Reply::Held(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                    hung_up.clone(),
                )
            }),
            false,
        ),
    ];
    for (name, event, is_before_start) in events {
        let engine = FakeEngine::new(move |request| match () {
            () if request.line.contains("/events") => event(),
            () if request.line.contains("/wait") => Reply::Json(200, "{\"StatusCode\":5}"),
            () => Reply::Json(200, inspected),
        });
        let end = engine
            .client()
            .container_end("x")
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!((end.exit_code, end.oom_killed), (5, true), "{name}");
        let condition = match is_before_start {
            true => "next-exit",
            false => "not-running",
        };
        let seen = engine.seen();
        let asked = format!("/wait?condition={condition}");
        assert!(
            seen.iter().any(|line| line.ends_with(&asked)),
            "{name}: {seen:?}"
        );
    }
    was_hung_up.recv_timeout(SOON).unwrap();
}

#[test]
fn an_engine_that_never_sends_end_events_is_asked_for_them_only_twice() {
    let (hung_up, _was_hung_up) = channel();
    let engine = FakeEngine::new(move |request| match () {
        () if request.line.contains("/events") => Reply::Held(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            hung_up.clone(),
        ),
        () if request.line.contains("/wait") => Reply::Json(200, "{\"StatusCode\":5}"),
        () => Reply::Json(
            200,
            "{\"Id\":\"x\",\"State\":{\"Running\":false},\"Config\":{}}",
        ),
    });
    let client = engine.client();
    for _ in 0..4 {
        let end = client.container_end("x").unwrap().finish().unwrap();
        assert_eq!(end.exit_code, 5);
    }
    let seen = engine.seen();
    let asked = |words: &str| seen.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (asked("/events"), asked("not-running"), asked("next-exit")),
        (2, 2, 2),
        "{seen:?}"
    );
}
