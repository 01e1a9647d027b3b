//! A restart loses no asynchronous run and starts none twice.

use super::async_runs::{finished, forget_all, submit};
use super::run::shell;
use super::support::{Live, Server, docker, leftovers};
use serde_json::{Value, json};

/// A volume of the engine's that goes with the test.
struct Ledger(String);

impl Ledger {
    fn new(name: &str) -> Self {
        let name = format!("ledger-{}-{name}", std::process::id());
        docker(&["volume", "create", &name]);
        Self(name)
    }

    /// A run that writes its token as soon as it starts, and then does more.
    fn run(&self, token: &str, more: &str) -> Value {
        let volumes = json!({"/ledger": {"type": "volume", "name": self.0}});
        shell(
            &format!("echo {token} >> /ledger/log; {more}"),
            json!({"volumes": volumes, "timeout_secs": 300}),
        )
    }

    fn lines(&self, server: &Server) -> Vec<String> {
        let volumes = json!({"/ledger": {"type": "volume", "name": self.0}});
        let result = server.run(shell("cat /ledger/log", json!({"volumes": volumes})));
        let text = result["stdout"].as_str().unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let removed = std::process::Command::new("docker")
            .args(["volume", "rm", "-f", &self.0])
            .status();
        assert!(std::thread::panicking() || removed.unwrap().success());
    }
}

fn events(server: &Server, path: &str) -> Live {
    Live::new(server.begin(("GET", &format!("{path}/events")), "", ""))
}

const ONE: (&str, &str) = ("RUNNER_MAX_CONCURRENT_RUNS", "1");

#[test]
fn a_run_that_goes_on_is_adopted_with_its_whole_output_its_files_and_its_exit_code() {
    let server = Server::start();
    let request = shell(
        "echo before; echo err >&2; cat; while [ ! -e /d/go ]; do sleep 0.1; done; echo after; echo made > /d/out; exit 7",
        json!({
            "stdin": "fed\n", "timeout_secs": 120,
            "volumes": {
                "/d": {"type": "directory", "files": {"in": "x"}},
                "/d/out": {"type": "file", "text": "", "response": true},
            },
        }),
    );
    let path = submit(&server, &request);
    events(&server, &path).until("stdout");
    let container = server.await_running();
    let heir = Server::named(&server.kill(), &[]);
    assert_eq!(heir.get(&path).json()["state"], "running");
    docker(&["exec", &container, "touch", "/d/go"]);
    let state = finished(&heir, &path);
    let result = &state["result"];
    assert_eq!(result["stdout"], "before\nfed\nafter\n", "{state}");
    assert_eq!(result["stderr"], "err\n");
    assert_eq!(
        (&result["exit_code"], &result["reason"]),
        (&json!(7), &json!("exited"))
    );
    assert_eq!(result["volumes"]["/d/out"]["content"], "bWFkZQo=");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn what_ended_while_no_server_lived_is_answered_by_the_next_and_a_result_survives_again() {
    let server = Server::start();
    let done = submit(&server, &shell("echo done", json!({})));
    let state = finished(&server, &done);
    let path = submit(&server, &shell("sleep 1; echo alone; exit 3", json!({})));
    let container = {
        events(&server, &path).until("started");
        server.await_running()
    };
    let instance = server.kill();
    docker(&["wait", &container]);
    let heir = Server::named(&instance, &[]);
    let found = heir.get(&done).json();
    assert_eq!(found, state, "a result is what it was");
    let state = finished(&heir, &path);
    assert_eq!(
        (&state["result"]["stdout"], &state["result"]["exit_code"]),
        (&json!("alone\n"), &json!(3))
    );
    let second = Server::named(&heir.kill(), &[]);
    assert_eq!(second.get(&path).json()["result"], state["result"]);
    let replay: Vec<String> = events(&second, &done)
        .events()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(replay, ["started", "stdout", "result"]);
    forget_all(&second);
    second.stop();
}

#[test]
fn the_log_of_the_engine_gives_back_every_byte() {
    let server = Server::start();
    let script = r"head -c 40000 /dev/zero | tr '\0' x; echo; printf '\377\000\342'; sleep 0.3; printf 'err' >&2; sleep 2; printf tail";
    let request = shell(script, json!({"output_encoding": "base64"}));
    let path = submit(&server, &request);
    events(&server, &path).until("stderr");
    let heir = Server::named(&server.kill(), &[]);
    let adopted = finished(&heir, &path)["result"].clone();
    let plain = heir.run(request);
    assert_eq!(
        (&adopted["stdout"], &adopted["stderr"]),
        (&plain["stdout"], &plain["stderr"])
    );
    forget_all(&heir);
    heir.stop();
}

#[test]
fn what_waited_waits_again_in_order_and_is_known_by_its_key() {
    let ledger = Ledger::new("queue");
    let server = Server::with(&[ONE]);
    let instance = server.instance.clone();
    let first = submit(&server, &ledger.run("0", "sleep 3"));
    events(&server, &first).until("started");
    let keyed = "Prefer: respond-async\r\nIdempotency-Key: k\r\n";
    let paths: Vec<String> = (1..6)
        .map(|n| {
            // One is too long for the engine's own memory.
            let filler = if n == 2 {
                "#".repeat(200_000)
            } else {
                String::new()
            };
            let more = format!("cat /f | wc -c; #{n}");
            let mut request = ledger.run(&n.to_string(), &more);
            request["volumes"]["/f"] = json!({"type": "file", "text": filler});
            if n == 3 {
                let answer = server.ask(("POST", "/run"), keyed, &request.to_string());
                return answer.header("Location").unwrap();
            }
            submit(&server, &request)
        })
        .collect();
    server.kill();
    let heir = Server::named(&instance, &[ONE]);
    let queued = heir.get("/runs?state=queued").json();
    let queued: Vec<String> = queued["runs"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|run| format!("/runs/{}", run["id"].as_str().unwrap()))
        .collect();
    assert_eq!(queued, paths);
    let mut request = ledger.run("3", "cat /f | wc -c; #3");
    request["volumes"]["/f"] = json!({"type": "file", "text": ""});
    let answer = heir.ask(("POST", "/run"), keyed, &request.to_string());
    assert_eq!(
        answer.header("Location").as_ref(),
        Some(&paths[2]),
        "{}",
        answer.json()
    );
    for (n, path) in paths.iter().enumerate() {
        let size = if n == 1 { "200000\n" } else { "0\n" };
        assert_eq!(finished(&heir, path)["result"]["stdout"], size);
    }
    finished(&heir, &first);
    assert_eq!(ledger.lines(&heir), ["0", "1", "2", "3", "4", "5"]);
    forget_all(&heir);
    heir.stop();
}

#[test]
fn sigterm_leaves_asynchronous_runs_to_the_next_server() {
    let server = Server::with(&[ONE]);
    let running = submit(&server, &shell("sleep 2; echo ran on", json!({})));
    let waiting = submit(&server, &shell("echo waited", json!({})));
    events(&server, &running).until("started");
    let heir = Server::named(&server.leave(), &[ONE]);
    assert_eq!(finished(&heir, &running)["result"]["stdout"], "ran on\n");
    assert_eq!(finished(&heir, &waiting)["result"]["stdout"], "waited\n");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn an_adopted_run_keeps_its_time_limit_and_can_be_cancelled() {
    let server = Server::start();
    let limited = submit(
        &server,
        &shell("echo limited; sleep 600", json!({"timeout_secs": 4})),
    );
    let endless = submit(
        &server,
        &shell("echo endless; sleep 600", json!({"timeout_secs": 1000})),
    );
    events(&server, &limited).until("stdout");
    events(&server, &endless).until("stdout");
    let heir = Server::named(&server.kill(), &[]);
    let result = finished(&heir, &limited)["result"].clone();
    assert_eq!(
        (&result["reason"], &result["stdout"]),
        (&json!("timeout"), &json!("limited\n"))
    );
    events(&heir, &endless).until("stdout");
    assert_eq!(heir.request("DELETE", &endless, "").status, 202);
    let result = finished(&heir, &endless)["result"].clone();
    assert_eq!(
        (&result["reason"], &result["stdout"]),
        (&json!("cancelled"), &json!("endless\n"))
    );
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_run_whose_container_was_removed_meanwhile_is_told_so_and_not_run_again() {
    let ledger = Ledger::new("removed");
    let server = Server::start();
    let path = submit(&server, &ledger.run("once", "sleep 600"));
    events(&server, &path).until("started");
    let container = server.await_running();
    let instance = server.kill();
    docker(&["rm", "-f", &container]);
    let heir = Server::named(&instance, &[]);
    let state = finished(&heir, &path);
    assert_eq!(state["error"]["code"], "engine_error");
    assert_eq!(ledger.lines(&heir), ["once"]);
    forget_all(&heir);
    heir.stop();
}

#[test]
fn what_is_to_be_adopted_is_nobody_elses() {
    let server = Server::start();
    let path = submit(&server, &shell("sleep 3; echo mine", json!({})));
    events(&server, &path).until("started");
    let instance = server.kill();
    let label = format!("oneoff.instance={instance}");
    let left = leftovers(&label);
    let reaped = std::process::Command::new(env!("CARGO_BIN_EXE_oneoff-docker-runner"))
        .arg("reap")
        .env("RUNNER_INSTANCE", &instance)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&reaped.stdout),
        "0 leftovers removed\n"
    );
    let neighbour = Server::start();
    neighbour.run(shell("true", json!({})));
    assert_eq!(neighbour.get(&path).status, 404);
    assert_eq!(leftovers(&label).len(), left.len());
    neighbour.stop();
    let heir = Server::named(&instance, &[]);
    assert_eq!(finished(&heir, &path)["result"]["stdout"], "mine\n");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn killed_again_and_again_in_the_middle_of_many_none_is_lost_and_none_runs_twice() {
    const RUNS: usize = 60;
    let ledger = Ledger::new("many");
    let slots = ("RUNNER_MAX_CONCURRENT_RUNS", "4");
    let mut server = Server::with(&[slots]);
    let paths: Vec<String> = (0..RUNS)
        .map(|n| submit(&server, &ledger.run(&format!("token-{n}"), "echo ran")))
        .collect();
    for fetched in [5, 20, 35] {
        finished(&server, &paths[fetched]);
        server = Server::named(&server.kill(), &[slots]);
    }
    for path in &paths {
        let state = finished(&server, path);
        assert_eq!(state["result"]["stdout"], "ran\n", "{state}");
    }
    let mut tokens = ledger.lines(&server);
    tokens.sort();
    let mut expected: Vec<String> = (0..RUNS).map(|n| format!("token-{n}")).collect();
    expected.sort();
    assert_eq!(tokens, expected, "each ran once");
    forget_all(&server);
    server.stop();
}
