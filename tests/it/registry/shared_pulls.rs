//! Runs that need the same image at the same time.

use super::version_of;
use crate::support::registry::Registry;
use crate::support::{EventStream, Request, Server, read_answer};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn runs_that_need_the_same_image_at_once_share_one_pull() {
    const RUNS: usize = 8;
    let registry = Registry::start();
    registry.push("team/alone:1", "alone");
    registry.push("team/shared:1", "shared");
    let slots = RUNS.to_string();
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", &slots),
        ("RUNNER_QUEUE_LENGTH", "1"),
    ]);
    let request = |name: &str| {
        let more = json!({"auth_config": registry.credentials()});
        version_of(&registry, name, more)
    };
    server.run(request("team/alone:1"));
    let of_one_pull = registry.fetched("team/alone").len();

    registry.freeze();
    let runs: Vec<TcpStream> = (0..RUNS)
        .map(|_| server.begin_run(&request("team/shared:1")))
        .collect();
    await_full(&server);
    registry.unfreeze();
    for mut run in runs {
        let answer = read_answer(&mut run).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(answer.json()["stdout"], "shared\n");
    }
    let fetched = registry.fetched("team/shared");
    assert!(of_one_pull >= 2, "a manifest and a blob at least");
    assert_eq!(fetched.len(), of_one_pull, "{fetched:?}");
    server.stop();
}

/// Waits until every slot is taken and so is the queue's only place.
fn await_full(server: &Server) {
    let cheap = json!({"image": "no-such-image:1", "command": "true", "pull_policy": "never"});
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut waiting = Vec::new();
    loop {
        let mut run = server.begin_run(&cheap);
        run.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        match read_answer(&mut run).map(|answer| answer.status) {
            Some(429) => return,
            Some(404) => {}
            None => waiting.push(run),
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline, "the slots are not all taken");
    }
}

#[test]
fn a_shared_pull_continues_when_one_waiter_disconnects() {
    let registry = Registry::start();
    registry.push("team/shared:2", "shared");
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "3"),
        ("RUNNER_QUEUE_LENGTH", "1"),
    ]);
    let more = json!({"auth_config": registry.credentials()});
    let request = version_of(&registry, "team/shared:2", more);
    registry.freeze();
    let first = server.begin_run(&request);
    let mut others = [server.begin_run(&request), server.begin_run(&request)];
    await_full(&server);
    drop(first);
    registry.unfreeze();
    for run in &mut others {
        let answer = read_answer(run).unwrap();
        assert_eq!(answer.json()["stdout"], "shared\n");
    }
    server.stop();
}

#[test]
fn every_watched_run_of_a_shared_pull_receives_its_progress() {
    let registry = Registry::start();
    // A layer that no other test's image has.
    let version = format!("watched by {}", std::process::id());
    registry.push("team/app:1", &version);
    let server = Server::start();
    let auth = json!({"auth_config": registry.credentials()});
    let request = version_of(&registry, "team/app:1", auth).to_string();
    let watched = Request::new("POST", "/run")
        .fields(&[("Accept", "text/event-stream")])
        .body(&request);
    registry.freeze();
    let mut watchers: Vec<EventStream> = Vec::new();
    for _ in 0..2 {
        let mut watcher = EventStream::new(server.begin(&watched));
        let begun = watcher.until("pull");
        assert_eq!(begun["status"], "Contacting the registry", "{begun}");
        watchers.push(watcher);
    }
    registry.unfreeze();
    for watcher in watchers {
        let events = watcher.events();
        let started = events
            .iter()
            .position(|(name, _)| name == "started")
            .unwrap();
        let (pulls, rest) = events.split_at(started);
        assert!(pulls.iter().all(|(name, _)| name == "pull"), "{pulls:?}");
        // What happens to a layer last is named differently by Podman.
        let is_last = |data: &Value| {
            ["Pull complete", "Download complete"]
                .iter()
                .any(|status| data["status"] == *status)
        };
        let complete = |data: &Value| is_last(data) && data["id"].is_string();
        assert!(pulls.iter().any(|(_, data)| complete(data)), "{pulls:?}");
        // The containerd image store counts bytes from time to time only, and this layer is small; Podman never does.
        let is_counted = |data: &Value| data["total"].as_u64() > Some(0);
        let is_small = |data: &Value| data["status"] == "Download complete";
        let is_told = |data: &Value| is_counted(data) || is_small(data);
        assert!(pulls.iter().any(|(_, data)| is_told(data)), "{pulls:?}");
        assert_eq!(rest.last().unwrap().1["stdout"], format!("{version}\n"));
    }
    server.stop();
}
