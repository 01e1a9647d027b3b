//! Asynchronous runs beside prunes of the engine, and beside someone who removes what it keeps of them.

use super::async_runs::{finished, known, submit};
use super::run::shell;
use super::support::{EventStream, IMAGE, Request, SecondEngine, Server};
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

/// The volumes of an instance's asynchronous runs.
fn stored(engine: &SecondEngine, instance: &str) -> Vec<String> {
    let filter = format!("label=oneoff.instance={instance}");
    let names = engine.docker(&["volume", "ls", "-q", "--filter", &filter]);
    // That with PID 1 is in use while a run's container exists.
    let names = names.lines().filter(|name| !name.ends_with("-init"));
    names.map(str::to_owned).collect()
}

fn with_large_input(script: &str) -> Value {
    let volumes = json!({"/f": {"type": "file", "text": "#".repeat(100_000)}});
    shell(script, json!({"volumes": volumes, "timeout_secs": 300}))
}

/// Prunes everything. Fails while another prune is under way.
fn prune(host: &str) {
    let container: &[&str] = &["container", "prune", "--force"];
    let system = &["system", "prune", "--all", "--force", "--volumes"];
    for command in [container, system] {
        let mut docker = Command::new("docker");
        docker.args(["--host", host]).args(command);
        docker.output().unwrap();
    }
}

fn forget(server: &Server, path: &str) {
    assert_eq!(server.request("DELETE", path, "").status, 200);
}

/// One run that has finished, one that runs, and two that wait, and what each prints.
struct Runs {
    done: String,
    running: String,
    waiting: [String; 2],
}

impl Runs {
    fn submit(server: &Server) -> Self {
        let large = "head -c 100000 /dev/zero | tr '\\0' x";
        let done = submit(server, &shell(large, json!({})));
        finished(server, &done);
        let running = submit(
            server,
            &shell("echo began; sleep 12; echo ran on", json!({})),
        );
        let events = format!("{running}/events");
        EventStream::new(server.begin(&Request::new("GET", &events))).until("stdout");
        let small = submit(server, &shell("echo small", json!({})));
        let large = submit(server, &with_large_input("wc -c < /f"));
        Self {
            done,
            running,
            waiting: [small, large],
        }
    }

    fn assert_all_finish(&self, heir: &Server) {
        let done = known(heir, &self.done);
        assert_eq!(done["result"]["stdout"], "x".repeat(100_000));
        let [small, large] = &self.waiting;
        for (path, stdout) in [
            (&self.running, "began\nran on\n"),
            (small, "small\n"),
            (large, "100000\n"),
        ] {
            let state = finished(heir, path);
            assert_eq!(state["result"]["stdout"], stdout, "{state}");
        }
        let [small, large] = &self.waiting;
        for path in [&self.done, &self.running, small, large] {
            forget(heir, path);
        }
    }
}

#[test]
fn no_prune_takes_an_asynchronous_run_not_even_just_before_kill_9_or_while_no_server_is_there() {
    let engine = engine("pruned");
    let server = engine.server(&[ONE]);
    let instance = server.instance.clone();
    let runs = Runs::submit(&server);
    prune(&engine.docker_host());
    server.kill();
    prune(&engine.docker_host());

    let host = engine.docker_host();
    let heir = Server::named(&instance, &[("DOCKER_HOST", &host), ONE]);
    runs.assert_all_finish(&heir);
    engine.await_nothing_left(&instance);
    heir.stop();
}

#[test]
fn what_someone_removes_of_asynchronous_runs_is_stored_again_and_survives_kill_9() {
    let engine = engine("removed");
    let server = engine.server(&[ONE]);
    let instance = server.instance.clone();
    let runs = Runs::submit(&server);
    let before = stored(&engine, &instance);
    assert!(before.len() >= 5, "four runs and their records: {before:?}");
    engine.docker(&["container", "prune", "--force"]);
    for volume in before.iter().filter(|name| !name.ends_with("-stage")) {
        engine.docker(&["volume", "rm", volume]);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = stored(&engine, &instance);
        if now.len() == before.len() && has_outcome(&engine, &now, &runs.done) {
            break;
        }
        assert!(Instant::now() < deadline, "not stored again: {now:?}");
    }
    server.kill();

    let host = engine.docker_host();
    let heir = Server::named(&instance, &[("DOCKER_HOST", &host), ONE]);
    runs.assert_all_finish(&heir);
    engine.await_nothing_left(&instance);
    heir.stop();
}

/// Whether the outcome of the run, which is the last that is written, is on the volume of records.
fn has_outcome(engine: &SecondEngine, volumes: &[String], run: &str) -> bool {
    let id = run.trim_start_matches("/runs/");
    let records = volumes.iter().find(|name| name.ends_with("-records"));
    records.is_some_and(|records| {
        let mut docker = Command::new("docker");
        docker.args(["--host", &engine.docker_host(), "cp"]);
        docker.args([&format!("{records}:/stage/{id}.complete"), "-"]);
        docker.output().unwrap().status.success()
    })
}

/// Ends a loop, also if the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn runs_that_wait_are_run_although_the_engine_is_pruned_all_the_time() {
    let engine = engine("pruning");
    // Its image would be pruned, and there is no registry to pull it from again.
    let keeper = ["run", "--detach", "--network=none", "--name=keeper", IMAGE];
    engine.docker(&[&keeper[..], &["sleep", "3600"]].concat());
    let server = engine.server(&[ONE]);
    let instance = server.instance.clone();
    let busy = submit(&server, &shell("sleep 3; echo busy", json!({})));
    EventStream::new(server.begin(&Request::new("GET", &format!("{busy}/events"))))
        .until("started");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (host, is_over) = (engine.docker_host(), &is_over);
        let _over = SetOnDrop(is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                prune(&host);
            }
        });
        let waiting: Vec<String> = (0..4)
            .map(|n| submit(&server, &with_large_input(&format!("echo waited {n}"))))
            .collect();
        let mut results = vec![finished(&server, &busy)];
        results.extend(waiting.iter().map(|path| finished(&server, path)));
        for (n, state) in results.iter().enumerate() {
            let expected = match n {
                0 => "busy\n".to_owned(),
                n => format!("waited {}\n", n - 1),
            };
            assert_eq!(state["result"]["stdout"], expected, "{state}");
        }
        for path in waiting.iter().chain([&busy]) {
            forget(&server, path);
        }
    });
    engine.await_nothing_left(&instance);
    server.stop();
    engine.docker(&["rm", "--force", "keeper"]);
}
