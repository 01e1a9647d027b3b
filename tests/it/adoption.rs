//! A restart loses no asynchronous run and starts none twice.

use super::async_runs::{finished, forget_all, known, submit};
use super::run::shell;
use super::support::{EventStream, Fate, FaultProxy, Request, Server, docker, leftovers};
use super::takeover::await_fed;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A named volume that is removed at the end of the test.
struct Ledger(String);

impl Ledger {
    fn new(name: &str) -> Self {
        let name = format!("ledger-{}-{name}", std::process::id());
        docker(&["volume", "create", "--label", "oneoff.volume=ledger", &name]);
        Self(name)
    }

    /// A run that writes its token when it starts and then runs the rest of its script.
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

fn events(server: &Server, path: &str) -> EventStream {
    known(server, path);
    EventStream::new(server.begin(&Request::new("GET", &format!("{path}/events"))))
}

const ONE: (&str, &str) = ("RUNNER_MAX_CONCURRENT_RUNS", "1");

#[test]
fn a_running_container_is_adopted_with_its_whole_output_files_and_exit_code() {
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
    await_fed(&path);
    let heir = Server::named(&server.kill(), &[]);
    assert_eq!(known(&heir, &path)["state"], "running");
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
fn a_run_that_ended_without_a_server_is_collected_by_the_next_and_its_result_survives_another_restart()
 {
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
    let found = known(&heir, &done);
    assert_eq!(found, state, "a result is what it was");
    let state = finished(&heir, &path);
    assert_eq!(
        (&state["result"]["stdout"], &state["result"]["exit_code"]),
        (&json!("alone\n"), &json!(3))
    );
    let second = Server::named(&heir.kill(), &[]);
    assert_eq!(known(&second, &path)["result"], state["result"]);
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
fn adopted_output_is_complete_to_the_byte() {
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
fn queued_runs_are_queued_again_in_order_with_their_idempotency_keys() {
    let ledger = Ledger::new("queue");
    let server = Server::with(&[ONE]);
    let instance = server.instance.clone();
    let first = submit(&server, &ledger.run("0", "sleep 3"));
    events(&server, &first).until("started");
    let keyed = Request::new("POST", "/run")
        .fields(&[("Prefer", "respond-async"), ("Idempotency-Key", "k")]);
    let paths: Vec<String> = (1..6)
        .map(|n| {
            // One request is too long for a label, and is kept in a volume.
            let filler = if n == 2 {
                "#".repeat(200_000)
            } else {
                String::new()
            };
            let more = format!("cat /f | wc -c; #{n}");
            let mut request = ledger.run(&n.to_string(), &more);
            request["volumes"]["/f"] = json!({"type": "file", "text": filler});
            if n == 3 {
                let answer = server.ask(&keyed.clone().body(&request.to_string()));
                return answer.header("Location").unwrap();
            }
            submit(&server, &request)
        })
        .collect();
    server.kill();
    let heir = Server::named(&instance, &[ONE]);
    // The last one in the queue is adopted last.
    known(&heir, paths.last().unwrap());
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
    let answer = heir.ask(&keyed.body(&request.to_string()));
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
fn a_run_whose_container_was_removed_meanwhile_fails_and_is_not_run_again() {
    let ledger = Ledger::new("removed");
    let server = Server::start();
    let path = submit(&server, &ledger.run("once", "sleep 600"));
    events(&server, &path).until("started");
    let container = server.await_running();
    let instance = server.kill();
    docker(&["rm", "-f", &container]);
    let heir = Server::named(&instance, &[]);
    let state = finished(&heir, &path);
    assert_eq!(state["error"]["code"], "object_removed");
    assert_eq!(ledger.lines(&heir), ["once"]);
    forget_all(&heir);
    heir.stop();
}

#[test]
fn a_run_to_be_adopted_is_neither_reaped_nor_seen_by_a_neighbour() {
    let server = Server::start();
    let path = submit(&server, &shell("sleep 3; echo mine", json!({})));
    events(&server, &path).until("started");
    let instance = server.kill();
    let label = format!("oneoff.instance={instance}");
    let left = leftovers(&label);
    let reaped = std::process::Command::new(crate::support::program())
        .arg("reap")
        .env("RUNNER_INSTANCE", &instance)
        .output()
        .unwrap();
    assert!(reaped.status.success(), "{reaped:?}");
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

/// When a client sent one of many runs, and when it received the 202.
struct Submission {
    path: String,
    sent: Instant,
    accepted: Instant,
}

/// Submits the runs `0..count` from several clients at once.
fn submit_at_once(
    server: &Server,
    count: usize,
    run: impl Fn(usize) -> Value + Sync,
) -> Vec<Submission> {
    const CLIENTS: usize = 8;
    let next = AtomicUsize::new(0);
    let client = || {
        let mut submitted = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return submitted;
            }
            let sent = Instant::now();
            let path = submit(server, &run(n));
            let accepted = Instant::now();
            submitted.push((
                n,
                Submission {
                    path,
                    sent,
                    accepted,
                },
            ));
        }
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, submission)| submission).collect()
}

#[test]
fn a_thousand_runs_over_several_kills_are_neither_lost_nor_repeated_nor_reordered_in_bounded_memory()
 {
    const RUNS: usize = 1000;
    const SLOTS: usize = 4;
    let slots = SLOTS.to_string();
    let settings = [
        ("RUNNER_MAX_CONCURRENT_RUNS", slots.as_str()),
        // Asynchronous runs take no place in this queue.
        ("RUNNER_QUEUE_LENGTH", "0"),
    ];
    let ledger = Ledger::new("thousand");
    let mut server = Server::with(&settings);
    let threads = server.status_number("Threads");
    let submissions = submit_at_once(&server, RUNS, |n| {
        ledger.run(&n.to_string(), &format!("echo ran {n}"))
    });
    let (now, most) = (server.status_number("Threads"), threads + 60);
    assert!(now < most, "nobody waits in a thread: {now}");
    let mut memory = Vec::new();
    for reached in [RUNS / 2, 3 * RUNS / 4] {
        finished(&server, &submissions[reached].path);
        let waiting = server.get("/runs?state=queued").json();
        assert_ne!(waiting["runs"], json!([]), "it is killed in the middle");
        memory.push(server.status_number("VmHWM"));
        server = Server::named(&server.kill(), &settings);
    }
    for (n, submission) in submissions.iter().enumerate() {
        let state = finished(&server, &submission.path);
        assert_eq!(state["result"]["stdout"], format!("ran {n}\n"), "{state}");
    }
    memory.push(server.status_number("VmHWM"));
    let listed = server.get("/runs?state=finished&limit=1000").json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), RUNS);

    let ran: Vec<usize> = ledger
        .lines(&server)
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    let mut tokens = ran.clone();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..RUNS).collect::<Vec<_>>(), "each ran once");
    for (place, n) in ran.iter().enumerate() {
        let before = |later: &&usize| submissions[**later].accepted < submissions[*n].sent;
        let overtaken = ran[place..].iter().filter(before).count();
        assert!(
            overtaken < SLOTS,
            "{n} ran before {overtaken} that were accepted before it was sent; the other slots hold fewer"
        );
    }
    // Measured: 22 to 25 MB, an idle server 10 MB: the rest is some 15 kB for each run, much of it events.
    assert!(memory.iter().all(|kb| *kb < 50_000), "{memory:?} kB");
    forget_all(&server);
    server.stop();
}

#[test]
fn a_lost_answer_of_the_engine_before_the_start_neither_loses_nor_repeats_a_run() {
    for words in ["/volumes/create", "/containers/create?name=oneoff-"] {
        let (ledger, cutting) = (Ledger::new("cut"), FaultProxy::new(words));
        let server = Server::with(&[("DOCKER_HOST", &cutting.docker_host())]);
        let answer = server.ask(
            &Request::new("POST", "/run")
                .fields(&[("Prefer", "respond-async")])
                .body(&ledger.run("token", "echo done").to_string()),
        );
        assert!(cutting.has_cut(), "{}", answer.status);
        if answer.status == 202 {
            let state = finished(&server, &answer.header("location").unwrap());
            assert_eq!(state["result"]["stdout"], "done\n", "{words}: {state}");
            assert_eq!(ledger.lines(&server), ["token"], "{words}");
        } else {
            // A run that was not accepted is answered with an error and is not run.
            assert_eq!(answer.status, 503, "{words}");
        }
        forget_all(&server);
        server.stop();
    }
}

/// Whether a request line consists of `before`, a run's id and this rest.
fn names_a_run(head: &str, before: &str, after: &str) -> bool {
    let rest = head.split_once(before).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.get(32..))
        .is_some_and(|rest| rest.starts_with(after))
}

#[test]
fn the_objects_of_a_first_attempt_are_removed_before_the_second_starts() {
    let (started, is_started) = channel();
    let (is_started, removals) = (Mutex::new(is_started), AtomicUsize::new(0));
    let cutting = FaultProxy::judging(move |head| {
        if head.contains("/start HTTP") {
            started.send(()).unwrap();
        }
        let is_removal =
            head.starts_with("DELETE") && names_a_run(head, "/containers/oneoff-", "?");
        if is_removal && removals.fetch_add(1, Ordering::SeqCst) == 0 {
            // The engine answers late, as it does under load: after the run has continued, if it does.
            let _ = is_started
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_secs(4));
        }
        match names_a_run(head, "/containers/create?name=oneoff-", " ") {
            true => Fate::Unanswered,
            false => Fate::Pass,
        }
    });
    let ledger = Ledger::new("attempts");
    let server = Server::with(&[("DOCKER_HOST", &cutting.docker_host())]);
    let path = submit(&server, &ledger.run("token", "sleep 1; echo done"));
    let state = finished(&server, &path);
    assert!(cutting.has_cut());
    assert_eq!(state["result"]["stdout"], "done\n", "{state}");
    assert_eq!(ledger.lines(&server), ["token"]);
    forget_all(&server);
    server.stop();
}
