//! Many requests at once.

use super::run::shell;
use super::support::{Server, read_answer};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn of_two_hundred_requests_at_once_on_four_slots_every_one_is_answered_and_nothing_is_left_behind()
{
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
    // A contract, not a measurement: health must not wait for runs.
    assert!(
        slowest_health < Duration::from_secs(2),
        "{slowest_health:?}"
    );
    server.stop();
}
