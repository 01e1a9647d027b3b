//! How long containers wait, what makes them go, and that none is left.

use super::*;
use crate::support::{KillAt, KillProxy, Request, ask, fresh_instance, leftovers, program};
use std::process::Command;

#[test]
fn times_count_from_the_request_and_not_from_the_start_of_the_container() {
    let server = server("1");
    warm_up(&server, &shell("", json!({})));
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(&server, "oneoff_warm_oldest_seconds") < 3.0 {
        assert!(Instant::now() < deadline);
    }
    let result = server.run(shell("sleep 0.2; echo done", json!({"timeout_secs": 2})));
    assert!(is_warm(&result) && result["stdout"] == "done\n", "{result}");
    assert!(result["execution_time"].as_f64().unwrap() < 2.0, "{result}");
    await_waiting(&server, 1);
    let result = server.run(shell("sleep 600", json!({"timeout_secs": 1})));
    assert_eq!(result["reason"], "timeout");
    assert!(is_warm(&result), "{result}");
    assert!(
        (1.0..3.0).contains(&result["execution_time"].as_f64().unwrap()),
        "{result}"
    );
    server.stop();
}

#[test]
fn containers_that_nobody_uses_go_and_those_that_the_settings_name_stay() {
    let server = Server::with(&[
        ("RUNNER_WARM_CONTAINERS", "3"),
        ("RUNNER_WARM_IDLE_SECS", "2"),
        ("RUNNER_WARM_IMAGES", "alpine=1"),
    ]);
    let kept = await_waiting(&server, 1);
    server.run(shell("", json!({})));
    await_waiting(&server, 2);
    assert_eq!(await_waiting(&server, 1), kept);
    server.stop();
}

#[test]
fn the_least_recently_used_shape_makes_room() {
    let server = server("2");
    let request = |memory: &str| shell("hostname", json!({"memory": memory}));
    let run = |memory: &str| {
        let before = waiting(&server);
        let result = server.run(request(memory));
        // A container of this kind takes the place of one.
        let deadline = Instant::now() + Duration::from_secs(60);
        while waiting(&server).iter().all(|id| before.contains(id)) {
            assert!(Instant::now() < deadline, "nothing was started");
        }
        is_warm(&result)
    };
    assert!(!run("51m") && !run("52m"));
    await_waiting(&server, 2);
    assert!(!run("53m"));
    await_waiting(&server, 2);
    assert!(run("53m"));
    await_waiting(&server, 2);
    assert!(run("52m"));
    await_waiting(&server, 2);
    assert!(!run("51m"), "it had made room for 53 MiB");
    await_waiting(&server, 2);
    assert!(run("51m") && run("52m"));
    server.stop();
}

#[test]
fn none_is_started_while_every_slot_is_taken_and_idle_ones_go_while_runs_wait() {
    let server = Server::with(&[
        ("RUNNER_WARM_CONTAINERS", "1"),
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
    ]);
    warm_up(&server, &shell("", json!({})));
    let long = shell("sleep 600", json!({"memory": "99m"}));
    let first = server.begin_run(&long);
    let second = server.begin_run(&long);
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(&server, "oneoff_warm_containers") > 0.0 {
        assert!(
            Instant::now() < deadline,
            "an idle container stays while a run waits"
        );
    }
    drop(second);
    while metric(&server, "oneoff_queue_waiting") > 0.0 {
        assert!(Instant::now() < deadline, "the queue stays");
    }
    assert_eq!(metric(&server, "oneoff_warm_containers"), 0.0);
    drop(first);
    await_waiting(&server, 1);
    server.stop();
}

#[test]
fn a_waiting_container_outlives_the_patrol_and_every_time_limit_of_calls() {
    let server = server("1");
    let request = shell("hostname", json!({}));
    warm_up(&server, &request);
    let id = await_waiting(&server, 1).remove(0);
    let deadline = Instant::now() + Duration::from_secs(120);
    // Longer than two patrols and the limit of a stalled call.
    while metric(&server, "oneoff_warm_oldest_seconds") < 65.0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_secs(1));
    }
    let result = server.run(request);
    assert!(is_warm(&result), "{result}");
    assert_eq!(hostname_of(&result), id[..12]);
    server.stop();
}

#[test]
fn after_a_kill_the_next_server_removes_them_and_leaves_those_of_others() {
    let other = server("1");
    warm_up(&other, &shell("", json!({})));
    let others = await_waiting(&other, 1);
    let victim = server("2");
    warm_up(&victim, &shell("", json!({})));
    let instance = victim.kill();
    assert!(!leftovers(&format!("oneoff.instance={instance}")).is_empty());
    let heir = Server::named(&instance, &[]);
    heir.await_nothing_left();
    let victim = server("1");
    warm_up(&victim, &shell("", json!({})));
    let instance = victim.kill();
    let reaped = Command::new(program())
        .arg("reap")
        .env("RUNNER_INSTANCE", &instance)
        .output()
        .unwrap();
    assert!(reaped.status.success());
    let left = leftovers(&format!("oneoff.instance={instance}"));
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(await_waiting(&other, 1), others);
    let result = other.run(shell("hostname", json!({})));
    assert_eq!(hostname_of(&result), others[0][..12]);
    heir.stop();
    other.stop();
}

/// The engine calls of the pool's life, one after the other: start, wait, be taken, be replaced.
#[test]
fn a_kill_at_any_engine_call_of_the_pool_leaves_nothing_after_a_restart() {
    for dies in [KillAt::Request, KillAt::Answer] {
        for n in 1.. {
            let killing = KillProxy::new(dies, move |count, _| count == n);
            let instance = fresh_instance();
            let server = Server::named(
                &instance,
                &[
                    ("DOCKER_HOST", &killing.docker_host()),
                    ("RUNNER_WARM_CONTAINERS", "1"),
                ],
            );
            killing.arm_after_the_first_sweep();
            for _ in 0..2 {
                let request = shell("hostname", json!({})).to_string();
                let _ = ask(
                    &server.address,
                    &Request::new("POST", "/run").body(&request),
                );
                let deadline = Instant::now() + Duration::from_secs(60);
                while !killing.has_struck() && waiting(&server).len() != 1 {
                    assert!(Instant::now() < deadline, "no container waits");
                }
            }
            let Some(call) = killing.disarm() else {
                server.stop();
                assert!(n > 15, "{n} calls are not the pool's life");
                break;
            };
            let heir = Server::named(&server.kill(), &[]);
            heir.await_nothing_left();
            assert_eq!(killing.containers_left(), "", "after {call}");
            heir.stop();
        }
    }
}
