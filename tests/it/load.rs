//! Many requests at once.

use super::run::shell;
use super::support::{Server, docker, read_answer};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn two_hundred_requests_at_once_on_four_slots_are_all_answered_and_nothing_is_left_behind() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "4"),
        ("RUNNER_QUEUE_LENGTH", "20"),
    ]);
    let streams: Vec<_> = (0..200)
        .map(|n| (n, server.begin_run(&shell(&format!("echo {n}"), json!({})))))
        .collect();
    let slowest_health = std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let server = &server;
        let health = scope.spawn(move || {
            let mut slowest = Duration::ZERO;
            while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let asked = Instant::now();
                assert_eq!(server.get("/health").status, 200);
                slowest = slowest.max(asked.elapsed());
            }
            slowest
        });
        let mut counts = (0, 0);
        for (n, mut stream) in streams {
            let answer = read_answer(&mut stream).expect("every request is answered");
            match answer.status {
                200 => {
                    assert_eq!(answer.json()["stdout"], format!("{n}\n"), "its own answer");
                    counts.0 += 1;
                }
                429 => {
                    assert!(answer.header("Retry-After").is_some());
                    counts.1 += 1;
                }
                other => panic!("{other}: {}", answer.json()),
            }
        }
        assert!(
            counts.0 >= 24 && counts.1 > 0,
            "{counts:?}: the queue was filled and overflowed"
        );
        drop(done);
        health.join().unwrap()
    });
    // A guarantee, not a measurement: `/health` does not wait for runs.
    assert!(
        slowest_health < Duration::from_secs(2),
        "{slowest_health:?}"
    );
    server.stop();
}

#[test]
fn the_bodies_of_waiting_runs_count_against_a_limit_and_those_of_started_runs_do_not() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUNNER_MAX_BODY_MEMORY", "1m"),
    ]);
    let text = "x".repeat(700_000);
    let with_content = |script: &str| {
        let volumes = json!({"/f": {"type": "file", "text": text}});
        shell(
            script,
            json!({"volumes": volumes, "max_output_bytes": 1000}),
        )
    };
    let first = server.begin_run(&with_content(
        "while [ ! -e /go ]; do sleep 0.1; done; wc -c < /f",
    ));
    let container = server.await_running();
    // The content of the first request is in its container by now, and no longer counted.
    let second = server.begin_run(&with_content("wc -c < /f"));
    let waits =
        |text: Vec<u8>| String::from_utf8_lossy(&text).contains("\noneoff_queue_waiting 1\n");
    let asked = Instant::now();
    while !waits(server.get("/metrics").body) {
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "it does not wait"
        );
    }
    let third = server.post("/run", &with_content("wc -c < /f"));
    assert_eq!(
        (third.status, &third.json()["code"]),
        (429, &json!("too_many_bodies"))
    );
    assert_eq!(third.header("Retry-After").as_deref(), Some("1"));
    let small = server.begin_run(&shell("echo small", json!({"max_output_bytes": 1000})));
    docker(&["exec", &container, "touch", "/go"]);
    for (mut stream, stdout) in [
        (first, "700000\n"),
        (second, "700000\n"),
        (small, "small\n"),
    ] {
        let answer = read_answer(&mut stream).unwrap();
        assert_eq!(answer.json()["stdout"], stdout, "{}", answer.status);
    }
    server.stop();
}
