//! Several servers with one instance name, as during a rolling update: seen across PID namespaces, nothing of a live one is
//! touched, and exactly one adopts what a dead one left.

use super::async_runs::{finished, forget_all, known, submit};
use super::run::shell;
use super::support::{Fate, FaultProxy, Server, docker, fresh_instance, leftovers, read_answer};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until the server answers this status for the path. Returns the answer's body.
fn await_status(server: &Server, path: &str, status: u16) -> Value {
    let begun = Instant::now();
    loop {
        let answer = server.get(path);
        if answer.status == status {
            return answer.json();
        }
        let seen = (answer.status, answer.json());
        assert!(begun.elapsed() < PATIENCE, "{path}: {seen:?}");
    }
}

/// A script that ends once [`let_go`] was called for its container.
fn held(marker: &str) -> String {
    format!("echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo {marker}")
}

fn let_go(container: &str) {
    docker(&["exec", container, "touch", "/tmp/go"]);
}

/// The id of the running container with this value of the label `story`.
fn running(server: &Server, story: &str) -> String {
    let filters = [
        format!("--filter=label=oneoff.instance={}", server.instance),
        format!("--filter=label=story={story}"),
    ];
    let begun = Instant::now();
    loop {
        let id = docker(&["ps", "-q", "--no-trunc", &filters[0], &filters[1]]);
        if !id.is_empty() {
            return id;
        }
        assert!(begun.elapsed() < PATIENCE, "{story} does not run");
    }
}

fn story(name: &str, script: &str) -> Value {
    shell(
        script,
        json!({"timeout_secs": 300, "labels": {"story": name}}),
    )
}

#[test]
fn a_rolling_update_touches_nothing_of_the_live_server_and_takes_over_when_it_dies() {
    let instance = fresh_instance();
    let old = Server::in_its_own_namespace(&instance, &[]);
    let volumes = json!({"/in": {"type": "directory", "files": {"f": "x"}, "response": true}});
    let mut request = story("plain", &held("whole; cat /in/f"));
    request["volumes"] = volumes;
    let mut plain = old.begin_run(&request);
    let container = running(&old, "plain");
    let result = submit(&old, &shell("echo kept", json!({})));
    finished(&old, &result);
    let adopted = submit(&old, &story("adopted", &held("taken")));

    let new = Server::in_its_own_namespace(&instance, &[]);
    // While it has not heard from the old one it does not say that there is no such run; afterwards it knows where it is.
    let begun = Instant::now();
    while !new.get(&result).json()["detail"]
        .as_str()
        .unwrap()
        .contains("another server")
    {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(new.get(&result).status, 503);
    assert_eq!(
        new.get("/runs/0123456789abcdef0123456789abcdef").status,
        404
    );
    for server in [&old, &new] {
        assert_eq!(
            server.run(shell("echo both", json!({})))["stdout"],
            "both\n"
        );
    }
    let_go(&container);
    let answer = read_answer(&mut plain).unwrap().json();
    assert_eq!(answer["stdout"], "begun\nwhole\nx", "{answer}");
    assert!(answer["volumes"]["/in"]["content"].is_string(), "{answer}");
    assert_eq!(old.get(&result).json()["result"]["stdout"], "kept\n");

    let _orphan = old.begin_run(&story("orphan", "sleep 600"));
    running(&old, "orphan");
    old.kill();
    await_status(&new, &result, 200);
    assert_eq!(new.get(&result).json()["result"]["stdout"], "kept\n");
    await_status(&new, &adopted, 200);
    let_go(&running(&new, "adopted"));
    assert_eq!(
        finished(&new, &adopted)["result"]["stdout"],
        "begun\ntaken\n"
    );
    forget_all(&new);
    new.stop();
}

#[test]
fn a_restart_in_another_namespace_takes_over_and_the_next_server_leaves_what_was_adopted_alone() {
    let instance = fresh_instance();
    let first = Server::in_its_own_namespace(&instance, &[]);
    let result = submit(&first, &shell("echo kept", json!({})));
    finished(&first, &result);
    let run = submit(&first, &story("run", &held("followed")));
    let container = running(&first, "run");
    first.kill();
    let second = Server::in_its_own_namespace(&instance, &[]);
    let begun = Instant::now();
    await_status(&second, &run, 200);
    let took = begun.elapsed();
    // Some 18 s on an idle machine.
    assert!(took < Duration::from_secs(40), "{took:?}");
    // The owner in the labels is dead, and yet somebody answers for it.
    let third = Server::in_its_own_namespace(&instance, &[]);
    let begun = Instant::now();
    while !third.get(&run).json()["detail"]
        .as_str()
        .unwrap()
        .contains("another server")
    {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(third.get(&result).status, 503);
    let_go(&container);
    assert_eq!(
        finished(&second, &run)["result"]["stdout"],
        "begun\nfollowed\n"
    );
    third.stop_beside();
    forget_all(&second);
    second.stop();
}

#[test]
fn of_two_servers_that_find_the_same_dead_one_only_one_adopts_its_runs() {
    let ledger = format!("ledger-{}", fresh_instance());
    docker(&["volume", "create", &ledger]);
    let one = [
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUNNER_ALLOWED_VOLUMES", "ledger-*"),
    ];
    let first = Server::with(&one);
    let instance = first.instance.clone();
    let blocking = submit(&first, &story("blocking", "sleep 600"));
    running(&first, "blocking");
    let volumes = json!({"/ledger": {"type": "volume", "name": ledger}});
    let write = shell(
        "echo once >> /ledger/log; cat /ledger/log",
        json!({"volumes": volumes}),
    );
    let waiting = submit(&first, &write);
    first.kill();
    let heirs = std::thread::scope(|scope| {
        let start = || scope.spawn(|| Server::named(&instance, &one));
        [start(), start()].map(|heir| heir.join().unwrap())
    });
    let has = |server: &&Server| server.get(&blocking).status == 200;
    let begun = Instant::now();
    let heir = loop {
        let having: Vec<_> = heirs.iter().filter(has).collect();
        assert!(having.len() < 2, "both have it");
        if let [heir] = having[..] {
            break heir;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(heir.request("DELETE", &blocking, "").status, 202);
    let state = finished(heir, &waiting);
    assert_eq!(state["result"]["stdout"], "once\n", "{state}");
    assert_eq!(heirs.iter().filter(has).count(), 1);
    forget_all(heir);
    let [one, other] = heirs;
    one.stop_beside();
    other.stop();
    docker(&["volume", "rm", &ledger]);
}

#[test]
fn what_a_server_that_is_ending_had_taken_over_is_not_lost_to_the_next_one() {
    let first = Server::start();
    let path = submit(&first, &story("kept", "echo kept"));
    finished(&first, &path);
    let instance = first.kill();
    let (ending, is_ending) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    // The second one ends slowly: the removal of its last volume takes long.
    let proxy = FaultProxy::judging(move |head| {
        if head.starts_with("DELETE ") && head.contains("-init") {
            let _ = ending.send(());
            let _ = held.lock().unwrap().recv();
        }
        Fate::Pass
    });
    let second = Server::named(
        &instance,
        &[
            ("DOCKER_HOST", &proxy.docker_host()),
            ("RUNNER_SHUTDOWN_GRACE_SECS", "60"),
        ],
    );
    known(&second, &path);
    second.run(shell("true", json!({})));
    second.signal("TERM");
    is_ending.recv_timeout(PATIENCE).unwrap();
    let third = Server::named(&instance, &[]);
    // Longer than the last calls of a dead server are waited for.
    let begun = Instant::now();
    while third.get(&path).status != 200 && begun.elapsed() < Duration::from_secs(6) {}
    drop(release);
    second.stop_signalled_without_engine();
    await_status(&third, &path, 200);
    let state = finished(&third, &path);
    assert_eq!(state["result"]["stdout"], "kept\n", "{state}");
    forget_all(&third);
    third.stop();
}

#[test]
fn dead_processes_of_this_host_are_swept_whatever_their_name_and_their_asynchronous_runs_are_kept()
{
    let victim = Server::start();
    let path = submit(&victim, &story("later", &held("mine")));
    let later = running(&victim, "later");
    let _plain = victim.begin_run(&story("plain", "sleep 600"));
    running(&victim, "plain");
    let instance = victim.kill();
    let reaped = std::process::Command::new(crate::support::program())
        .arg("reap")
        .env("RUNNER_INSTANCE", fresh_instance())
        .output()
        .unwrap();
    assert!(reaped.status.success(), "{reaped:?}");
    let left = leftovers(&format!("oneoff.instance={instance}"));
    assert_eq!(
        left.len(),
        5,
        "the asynchronous run, its PID 1, its mark, its record and what writes that: {left:?}"
    );
    let_go(&later);
    let heir = Server::named(&instance, &[]);
    assert_eq!(finished(&heir, &path)["result"]["stdout"], "begun\nmine\n");
    forget_all(&heir);
    heir.stop();
}
