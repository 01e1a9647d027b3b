//! A container that waits is used for one run, and what became of it meanwhile is never the caller's trouble.

use super::*;
use crate::support::{FaultProxy, rounds};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

#[test]
fn no_two_runs_have_the_same_container_and_nothing_is_left_of_them() {
    let server = server("2");
    let request = shell(
        "hostname; cat /used 2>/dev/null; echo yes > /used",
        json!({}),
    );
    warm_up(&server, &request);
    let (mut seen, mut warm) = (HashSet::new(), 0_u64);
    let rounds = rounds(30);
    let mut memory = 0;
    for round in 0..rounds {
        await_waiting(&server, 1);
        let result = server.run(request.clone());
        assert!(seen.insert(hostname_of(&result)), "{result}");
        assert!(!result["stdout"].as_str().unwrap().contains("yes"));
        warm += u64::from(is_warm(&result));
        if round == rounds / 3 {
            memory = server.status_number("VmRSS");
        }
    }
    assert_eq!(warm, rounds);
    let grown = server.status_number("VmRSS").saturating_sub(memory);
    assert!(grown < 4096, "{grown} KiB more after {rounds} runs");
    await_waiting(&server, 1);
    server.stop();
}

#[test]
fn runs_at_once_have_one_container_each_and_as_many_wait_afterwards() {
    let server = server("4");
    let request = shell("hostname; sleep 0.5", json!({}));
    let burst = || {
        let all: Vec<_> = (0..3).map(|_| server.begin_run(&request)).collect();
        let read = |mut stream| crate::support::read_answer(&mut stream).unwrap().json();
        all.into_iter().map(read).collect::<Vec<Value>>()
    };
    burst();
    await_waiting(&server, 3);
    let results = burst();
    let names: HashSet<String> = results.iter().map(hostname_of).collect();
    assert_eq!(names.len(), 3);
    assert!(results.iter().all(is_warm), "{results:?}");
    await_waiting(&server, 3);
    server.stop();
}

#[test]
fn a_waiting_container_that_died_or_was_paused_or_removed_is_noticed_and_the_run_goes_on() {
    let server = server("1");
    let request = shell("hostname; cat", json!({"stdin": "fed"}));
    warm_up(&server, &request);
    for commands in [
        &[&["kill"][..]][..],
        &[&["stop", "-t", "0"]],
        &[&["pause"]],
        &[&["update", "--pids-limit", "99"]],
        &[&["rm", "-f"]],
        &[&["restart", "-t", "0"]],
        &[&["kill"], &["start"]],
    ] {
        let id = await_waiting(&server, 1).remove(0);
        for command in commands {
            docker(&[command, &[id.as_str()][..]].concat());
        }
        let result = server.run(request.clone());
        assert_eq!(result["status"], "success", "{commands:?}: {result}");
        assert_ne!(hostname_of(&result), id[..12], "{commands:?}");
        assert!(result["stdout"].as_str().unwrap().ends_with("fed"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while waiting(&server).contains(&id) {
            assert!(Instant::now() < deadline, "{id} is still there");
        }
    }
    server.stop();
}

#[test]
fn a_run_in_a_waiting_container_that_was_stopped_goes_on() {
    let server = server("1");
    let request = shell("hostname; cat", json!({"stdin": "fed", "timeout_secs": 10}));
    warm_up(&server, &request);
    let id = await_waiting(&server, 1).remove(0);
    docker(&["kill", "--signal", "STOP", &id]);
    let result = server.run(request);
    assert_eq!(result["stdout"], format!("{}\nfed", &id[..12]), "{result}");
    assert!(is_warm(&result), "{result}");
    server.stop();
}

#[test]
fn an_idle_container_that_died_is_replaced_before_anybody_asks() {
    let server = server("1");
    warm_up(&server, &shell("", json!({})));
    let id = await_waiting(&server, 1).remove(0);
    docker(&["kill", &id]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !waiting(&server).iter().any(|other| *other != id) {
        assert!(Instant::now() < deadline, "nothing replaces {id}");
    }
    server.stop();
}

/// The engine's answer about the container that a run is about to take is held back until `act` is done with it.
fn with_claim_held(act: &'static [&'static str]) -> (FaultProxy, Arc<Mutex<Option<String>>>) {
    let target: Arc<Mutex<Option<String>>> = Arc::default();
    let shared = target.clone();
    let proxy = FaultProxy::judging(move |head| {
        let id = shared.lock().unwrap().clone();
        if let Some(id) = id
            && head.contains(&format!("/containers/{id}/"))
            && head.starts_with("GET")
        {
            shared.lock().unwrap().take();
            // The engine answers first: this is between its answer and what the server does then.
            std::thread::spawn(move || docker(&[act, &[id.as_str()][..]].concat()));
        }
        crate::support::Fate::Pass
    });
    (proxy, target)
}

#[test]
fn a_container_that_is_killed_while_a_run_takes_it_costs_the_run_nothing() {
    let (proxy, target) = with_claim_held(&["kill"]);
    let server = Server::with(&[
        ("DOCKER_HOST", &proxy.docker_host()),
        ("RUNNER_WARM_CONTAINERS", "1"),
    ]);
    let request = shell(
        "hostname; cat; sleep 0.3; echo done",
        json!({"stdin": "fed"}),
    );
    server.run(request.clone());
    for _ in 0..5 {
        let id = await_waiting(&server, 1).remove(0);
        *target.lock().unwrap() = Some(id.clone());
        let result = server.run(request.clone());
        // It was killed before the command began, or during it as any run can be.
        match result["reason"].as_str().unwrap() {
            "exited" => {
                let stdout = result["stdout"].as_str().unwrap();
                assert!(
                    stdout.ends_with("fed\ndone\n") || stdout.ends_with("feddone\n"),
                    "{result}"
                );
            }
            "signalled" => assert!(result["stdout"].as_str().unwrap().lines().count() <= 2),
            other => panic!("{other}: {result}"),
        }
    }
    server.stop();
}
