//! A prune of the engine removes the records of asynchronous runs, which are containers that are never started. As long as the
//! server lives, nothing is lost by that.

use super::async_runs::{finished, known, submit};
use super::run::shell;
use super::support::{EventStream, Request, SecondEngine, Server};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ONE: (&str, &str) = ("RUNNER_MAX_CONCURRENT_RUNS", "1");

fn engine(name: &str) -> SecondEngine {
    let mut engine = SecondEngine::unix(name);
    engine.start();
    engine.load_images();
    engine
}

/// The containers of an instance whose names end like this.
fn records(engine: &SecondEngine, instance: &str, suffix: &str) -> usize {
    let filter = format!("label=oneoff.instance={instance}");
    let names = engine.docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
    names.lines().filter(|name| name.ends_with(suffix)).count()
}

/// Waits until the engine has the records again.
fn await_records(engine: &SecondEngine, instance: &str, expected: &[(&str, usize)]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while expected
        .iter()
        .any(|(suffix, count)| records(engine, instance, suffix) != *count)
    {
        let list = engine.docker(&["ps", "-a", "--format", "{{.Names}}"]);
        assert!(Instant::now() < deadline, "not stored again: {list}");
    }
}

fn with_large_input(script: &str) -> Value {
    // Too long for a variable, so that the record is in a volume.
    let volumes = json!({"/f": {"type": "file", "text": "#".repeat(100_000)}});
    shell(script, json!({"volumes": volumes, "timeout_secs": 300}))
}

/// Removes all records, as a prune does. One may be gone before.
fn remove_records(host: &str) {
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker")
            .args(["--host", host])
            .args(arguments)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let names = docker(&["ps", "-a", "--format", "{{.Names}}"]);
    let is_record = |name: &&str| {
        ["-request", "-started", "-result"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    for name in names.lines().filter(is_record) {
        docker(&["rm", "-v", name]);
    }
}

fn forget(server: &Server, path: &str) {
    assert_eq!(server.request("DELETE", path, "").status, 200);
}

#[test]
fn records_that_a_prune_removed_are_stored_again_and_survive_kill_9() {
    let engine = engine("pruned");
    let server = engine.server(&[ONE]);
    let instance = server.instance.clone();
    let large = "head -c 100000 /dev/zero | tr '\\0' x";
    let done = submit(&server, &shell(large, json!({})));
    let before = finished(&server, &done);
    let running = submit(
        &server,
        &shell("echo began; sleep 12; echo ran on", json!({})),
    );
    EventStream::new(server.begin(&Request::new("GET", &format!("{running}/events"))))
        .until("stdout");
    let small = submit(&server, &shell("echo small", json!({})));
    let large = submit(&server, &with_large_input("wc -c < /f"));
    engine.docker(&["system", "prune", "-f", "--volumes"]);
    let expected = [("-result", 1), ("-started", 1), ("-request", 2)];
    await_records(&engine, &instance, &expected);
    assert_eq!(server.get(&done).json(), before, "it is served meanwhile");
    server.kill();

    let host = engine.docker_host();
    let heir = Server::named(&instance, &[("DOCKER_HOST", &host), ONE]);
    assert_eq!(known(&heir, &done)["result"], before["result"]);
    let result = finished(&heir, &running)["result"].clone();
    assert_eq!(result["stdout"], "began\nran on\n", "{result}");
    assert_eq!(finished(&heir, &small)["result"]["stdout"], "small\n");
    assert_eq!(finished(&heir, &large)["result"]["stdout"], "100000\n");
    for path in [&done, &running, &small, &large] {
        forget(&heir, path);
    }
    engine.await_nothing_left(&instance);
    heir.stop();
}

#[test]
fn runs_that_wait_are_run_although_the_engine_is_pruned_all_the_time() {
    let engine = engine("pruning");
    let server = engine.server(&[ONE]);
    let instance = server.instance.clone();
    let busy = submit(&server, &shell("sleep 3; echo busy", json!({})));
    EventStream::new(server.begin(&Request::new("GET", &format!("{busy}/events"))))
        .until("started");
    let waiting: Vec<String> = (0..4)
        .map(|n| submit(&server, &with_large_input(&format!("echo waited {n}"))))
        .collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (host, is_over) = (engine.docker_host(), &is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                remove_records(&host);
            }
        });
        let mut results = vec![finished(&server, &busy)];
        results.extend(waiting.iter().map(|path| finished(&server, path)));
        is_over.store(true, Ordering::SeqCst);
        for (n, state) in results.iter().enumerate() {
            let expected = match n {
                0 => "busy\n".to_owned(),
                n => format!("waited {}\n", n - 1),
            };
            assert_eq!(state["result"]["stdout"], expected, "{state}");
        }
    });
    await_records(&engine, &instance, &[("-result", 5)]);
    for path in waiting.iter().chain([&busy]) {
        forget(&server, path);
    }
    engine.await_nothing_left(&instance);
    server.stop();
}
