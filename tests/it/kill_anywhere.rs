//! `kill -9` at every call to the engine: a server is killed at its first call, the next one at its second, and so on.

use super::run::shell;
use super::support::{KillAt, KillProxy, Request, Server, docker, read_answer, untar};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many servers are tried at the same time; more would only slow each other down.
const AT_ONCE: usize = 3;

/// A request, and what must hold under the next server. Both get the number of the call at which the server is killed.
struct Scenario<'a> {
    path: &'a str,
    request: &'a (dyn Fn(usize) -> Value + Sync),
    afterwards: &'a (dyn Fn(&Server, usize) + Sync),
}

/// Kills the first server at its first engine call, the second at its second, and so on, until a server survives all
/// of its calls. These kinds of calls must be among those at which servers were killed.
fn at_every_call(dies: KillAt, story: &Scenario<'_>, expected: &[&'static str]) {
    let (next, outlived) = (AtomicUsize::new(1), AtomicUsize::new(usize::MAX));
    let deadly = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n > outlived.load(Ordering::SeqCst) {
                        return;
                    }
                    let killing = KillProxy::new(dies, move |count, _| count == n);
                    match one_life(&killing, n, story) {
                        Some(call) => drop(deadly.lock().unwrap().insert(call)),
                        None => drop(outlived.fetch_min(n, Ordering::SeqCst)),
                    }
                }
            });
        }
    });
    let mut deadly = deadly.into_inner().unwrap();
    // Not every life has the same calls: a number may have been another call each time.
    for (n, call) in (1000..).zip(expected.iter().copied()) {
        if !deadly.contains(call) {
            let killing = KillProxy::new(dies, move |_, seen| shape(seen) == call);
            deadly.extend(one_life(&killing, n, story));
        }
    }
    assert_covers(&deadly, expected);
}

/// Kills a server at the call that `killing` chooses. Returns the call, or `None` if there was none.
fn one_life(killing: &KillProxy, n: usize, story: &Scenario<'_>) -> Option<String> {
    let server = Server::with(&[
        ("DOCKER_HOST", &killing.docker_host()),
        ("RUNNER_ALLOWED_VOLUME_TYPES", "nfs"),
    ]);
    killing.arm_after_the_first_sweep();
    let body = (story.request)(n).to_string();
    let mut asked = server.begin(&Request::new("POST", story.path).body(&body));
    let _ = read_answer(&mut asked);
    // Objects are removed after the answer was sent.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !killing.has_struck() && !server.leftovers().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", server.leftovers());
    }
    let Some(call) = killing.disarm() else {
        (story.afterwards)(&server, n);
        server.stop();
        assert_eq!(killing.containers_left(), "");
        return None;
    };
    let heir = Server::named(&server.kill(), &[]);
    heir.await_nothing_left();
    assert_eq!(killing.containers_left(), "", "after {call}");
    (story.afterwards)(&heir, n);
    heir.stop();
    Some(shape(&call))
}

/// The kind of a call, without ids and names.
fn shape(call: &str) -> String {
    let parts: Vec<&str> = call.split('/').collect();
    match parts.as_slice() {
        [method, kind, "create"] => format!("{method}{kind}/create"),
        [method, kind, _, action] => format!("{method}{kind} {action}"),
        [method, kind, _] => format!("{method}{kind}"),
        _ => call.to_owned(),
    }
}

fn assert_covers(deadly: &BTreeSet<String>, expected: &[&str]) {
    for call in expected {
        assert!(
            deadly.contains(*call),
            "{call} is not among what was deadly: {deadly:?}"
        );
    }
}

fn volume_name(story: &str, dies: KillAt, n: usize) -> String {
    format!("kill-{story}-{dies:?}-{n}-{}", std::process::id())
}

fn exists(name: &str) -> bool {
    !docker(&["volume", "ls", "-q", "--filter", &format!("name=^{name}$")]).is_empty()
}

const FILES: [&str; 3] = ["a", "b/c", "b/d"];

fn files() -> Value {
    FILES
        .iter()
        .map(|name| ((*name).to_owned(), json!("x".repeat(100_000))))
        .collect()
}

/// The volume is absent or complete; if it is absent, the same request creates it.
fn assert_absent_or_complete(server: &Server, name: &str) {
    let path = format!("/volume/{name}");
    let read = server.get(&path);
    if read.status == 404 {
        assert!(!exists(name), "{name} is there and is told to be absent");
    } else {
        let content = &read.json()["content"];
        let mut found: Vec<String> = untar(content.as_str().unwrap())
            .into_iter()
            .filter(|entry| {
                entry
                    .content
                    .as_ref()
                    .is_some_and(|bytes| bytes.len() == 100_000)
            })
            .map(|entry| entry.name)
            .collect();
        found.sort();
        assert_eq!(found, FILES, "{name} is there, so it must be complete");
    }
    let again = server.post("/volume", &json!({"name": name, "files": files()}));
    assert_eq!(again.status, 200, "{name}: {}", again.json());
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    assert!(!exists(name));
}

#[test]
fn a_volume_is_absent_or_complete_after_a_kill_at_any_call_of_its_filling() {
    for dies in [KillAt::Request, KillAt::Answer] {
        let name = |n| volume_name("filled", dies, n);
        at_every_call(
            dies,
            &Scenario {
                path: "/volume",
                request: &|n| json!({"name": name(n), "files": files()}),
                afterwards: &|server, n| assert_absent_or_complete(server, &name(n)),
            },
            &[
                "POST volumes/create",
                "POST containers/create",
                "PUT containers archive",
                "DELETE containers",
                "DELETE volumes",
            ],
        );
    }
}

#[test]
fn an_empty_volume_is_absent_or_usable_by_everybody_after_a_kill_at_any_call() {
    for dies in [KillAt::Request, KillAt::Answer] {
        let name = |n| volume_name("empty", dies, n);
        let usable = |server: &Server, name: &str| {
            let volumes = json!({"/v": {"type": "volume", "name": name}});
            let result = server.run(shell("stat -c %a /v", json!({"volumes": volumes})));
            assert_eq!(result["stdout"], "777\n", "{name}: {result}");
        };
        at_every_call(
            dies,
            &Scenario {
                path: "/volume",
                request: &|n| json!({"name": name(n)}),
                afterwards: &|server, n| {
                    let (name, path) = (name(n), format!("/volume/{}", name(n)));
                    if exists(&name) {
                        usable(server, &name);
                    }
                    let again = server.post("/volume", &json!({"name": name}));
                    assert_eq!(again.status, 200, "{name}: {}", again.json());
                    usable(server, &name);
                    server.await_nothing_left();
                    assert_eq!(server.request("DELETE", &path, "").status, 204);
                },
            },
            &["POST volumes/create", "PUT containers archive"],
        );
    }
}

/// A request for a volume that the engine's host cannot mount.
fn failing(name: &str) -> Value {
    let options = json!({"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1,no-such-option"});
    json!({"name": name, "driver_opts": options, "files": files()})
}

#[test]
fn a_volume_that_cannot_be_filled_is_absent_after_a_kill_at_any_call() {
    for dies in [KillAt::Request, KillAt::Answer] {
        let name = |n| volume_name("failed", dies, n);
        at_every_call(
            dies,
            &Scenario {
                path: "/volume",
                request: &|n| failing(&name(n)),
                afterwards: &|server, n| {
                    assert!(!exists(&name(n)), "{} is there", name(n));
                    assert_absent_or_complete(server, &name(n));
                },
            },
            &[
                "PUT containers archive",
                "DELETE containers",
                "GET volumes",
                "DELETE volumes",
            ],
        );
    }
}

/// Kills `reap` at its call number `n`. Returns the call, or `None` if there were fewer.
fn deadly_sweep(instance: &str, dies: KillAt, n: usize) -> Option<String> {
    let killing = KillProxy::new(dies, move |count, _| count == n);
    killing.arm();
    Command::new(crate::support::program())
        .arg("reap")
        .env("RUNNER_INSTANCE", instance)
        .env("DOCKER_HOST", killing.docker_host())
        .output()
        .unwrap();
    killing.disarm()
}

/// A volume whose server was killed after filling it and before removing the marker. Returns the server's instance.
fn unfinished(name: &str) -> String {
    let filling = KillProxy::new(KillAt::Answer, |_, call| call.ends_with("/archive"));
    let server = Server::with(&[("DOCKER_HOST", &filling.docker_host())]);
    filling.arm();
    let body = json!({"name": name, "files": files()}).to_string();
    let _ = read_answer(&mut server.begin(&Request::new("POST", "/volume").body(&body)));
    assert!(filling.disarm().is_some() && exists(name));
    server.kill()
}

/// As [`unfinished`], and the marker is gone: the engine created the helper after its server was killed and swept.
fn helper_of_late(name: &str) -> String {
    let instance = unfinished(name);
    let filter = format!("label=oneoff.fills={name}");
    let marker = docker(&["volume", "ls", "-q", "--filter", &filter]);
    docker(&["volume", "rm", &marker]);
    instance
}

#[test]
fn an_unfinished_volume_is_removed_although_a_sweep_is_killed_at_any_call() {
    for (story, left) in [
        ("swept", unfinished as fn(&str) -> String),
        ("late", helper_of_late),
    ] {
        for dies in [KillAt::Request, KillAt::Answer] {
            let deadly = at_every_call_of_the_sweep(dies, &|n| {
                let name = volume_name(story, dies, n);
                (left(&name), name)
            });
            assert_covers(
                &deadly,
                &["DELETE containers", "GET volumes", "DELETE volumes"],
            );
        }
    }
}

/// `left` prepares leftovers for each sweep. It returns the instance and the volume that must be removed.
fn at_every_call_of_the_sweep(
    dies: KillAt,
    left: &dyn Fn(usize) -> (String, String),
) -> BTreeSet<String> {
    let mut deadly = BTreeSet::new();
    for n in 1.. {
        let (instance, name) = left(n);
        let call = deadly_sweep(&instance, dies, n);
        let heir = Server::named(&instance, &[]);
        heir.await_nothing_left();
        assert!(!exists(&name), "{name} after {call:?}");
        heir.stop();
        match call {
            Some(call) => drop(deadly.insert(shape(&call))),
            None => break,
        }
    }
    deadly
}

/// A run that uses every kind of engine call: a user name to look up, staged files, stdin, a file and a directory to
/// read back.
fn rich_run(_: usize) -> Value {
    shell(
        "cat > /out/file; cp /in /d/copy; id -un",
        json!({
            "user": "nobody",
            "stdin": "fed",
            "volumes": {
                "/in:ro": {"type": "file", "text": "staged"},
                "/d": {"type": "directory", "files": {"a": "x"}, "response": true},
                "/out/file": {"type": "file", "response": true},
            },
        }),
    )
}

#[test]
fn a_run_leaves_nothing_after_a_kill_at_any_call_and_a_neighbours_run_continues() {
    let neighbour = Server::start();
    let volumes = json!({"/d": {"type": "directory", "files": {"a": "x"}, "response": true}});
    let script = "trap 'echo untouched; exit 0' TERM; while :; do sleep 0.1; done";
    let mut neighbours = neighbour.begin_run(&shell(script, json!({"volumes": volumes})));
    let container = neighbour.await_running();
    let held = neighbour.leftovers().len();
    for dies in [KillAt::Request, KillAt::Answer] {
        at_every_call(
            dies,
            &Scenario {
                path: "/run",
                request: &rich_run,
                afterwards: &|_, _| assert_eq!(neighbour.leftovers().len(), held),
            },
            &[
                "POST containers/create",
                "PUT containers archive",
                "GET containers json",
                "POST containers attach",
                "POST containers start",
                "GET containers archive",
                "DELETE containers",
            ],
        );
    }
    docker(&["kill", "--signal", "TERM", &container]);
    let answer = read_answer(&mut neighbours).unwrap().json();
    assert_eq!(answer["stdout"], "untouched\n", "{answer}");
    assert!(answer["volumes"]["/d"]["content"].is_string(), "{answer}");
    neighbour.stop();
}
