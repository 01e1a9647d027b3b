//! Signals and engines that hang: what is served without an engine, and how soon the process ends.

use super::mcp::messages::{initialize, run};
use super::run::shell;
use super::support::{Directory, Request, Server, await_nothing_left, docker, read_answer};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A socket that accepts connections and never answers.
struct HangingEngine {
    directory: Directory,
    _connections: Receiver<UnixStream>,
}

impl HangingEngine {
    fn new() -> Self {
        let directory = Directory::new("hanging");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let (keep, connections) = channel();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if keep.send(client).is_err() {
                    return;
                }
            }
        });
        Self {
            directory,
            _connections: connections,
        }
    }

    fn docker_host(&self) -> String {
        format!("unix://{}/engine.sock", self.directory.path().display())
    }
}

fn stdio(settings: &[(&str, &str)]) -> Child {
    Command::new(crate::support::program())
        .arg("stdio")
        .envs(settings.iter().copied())
        .env("RUST_LOG", "warn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &mut Child, message: &Value) {
    writeln!(child.stdin.as_mut().unwrap(), "{message}").unwrap();
}

fn signal(child: &Child, name: &str) {
    let killed = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
}

fn await_container(label: &str) -> String {
    let filter = format!("label={label}");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let running = docker(&["ps", "-q", "--no-trunc", "--filter", &filter]);
        if !running.is_empty() {
            return running;
        }
        assert!(Instant::now() < deadline, "no container runs");
    }
}

#[test]
fn everything_that_needs_no_engine_is_served_while_the_engine_hangs() {
    let engine = HangingEngine::new();
    let server = Server::with(&[("DOCKER_HOST", &engine.docker_host())]);
    let begun = Instant::now();
    for path in [
        "/",
        "/docs",
        "/openapi.json",
        "/policy",
        "/metrics",
        // Of asynchronous ones, nobody knows which there are.
        "/runs?kind=plain",
    ] {
        assert!(server.get(path).status < 400, "{path}");
    }
    let planned = server.post("/run?dry_run=1", &shell("true", json!({})));
    assert_eq!(planned.status, 200);
    let tools = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(server.post("/mcp", &tools).status, 200);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let health = server.get("/health").json();
    assert!(health["detail"].as_str().unwrap().contains("engine"));
    // What the server before may have left.
    for path in ["/runs", "/runs/0123456789abcdef0123456789abcdef"] {
        let unknown = server.get(path);
        assert_eq!(
            (unknown.status, unknown.header("Retry-After").as_deref()),
            (503, Some("1")),
            "{path}"
        );
    }
    let told = Instant::now();
    server.signal("TERM");
    server.stop_signalled_without_engine();
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "nothing waits for it: {:?}",
        told.elapsed()
    );
}

#[test]
fn stdio_answers_and_ends_while_the_engine_hangs() {
    let engine = HangingEngine::new();
    for end in ["TERM", "INT", "HUP"] {
        let mut child = stdio(&[("DOCKER_HOST", &engine.docker_host())]);
        let begun = Instant::now();
        send(&mut child, &initialize("2025-06-18"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(answer["result"]["serverInfo"].is_object(), "{answer}");
        signal(&child, end);
        assert!(child.wait().unwrap().success(), "{end}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{end}");
    }
}

#[test]
fn sighup_ends_a_server_like_sigterm_and_leaves_no_container() {
    let server = Server::with(&[("RUNNER_SHUTDOWN_GRACE_SECS", "20")]);
    let mut stream = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    server.await_running();
    server.signal("HUP");
    let answer = read_answer(&mut stream).expect("the run is answered");
    assert_eq!(answer.json()["status"], "error: cancelled");
    server.stop_signalled();
}

#[test]
fn sighup_ends_a_stdio_server_like_sigterm_and_leaves_no_container() {
    let name = format!("test-hup-{}", std::process::id());
    let mut child = stdio(&[("RUNNER_INSTANCE", &name)]);
    send(&mut child, &initialize("2025-06-18"));
    send(&mut child, &run(2, "sleep 600"));
    let instance = format!("{name}:stdio:{}", child.id());
    await_container(&format!("oneoff.instance={instance}"));
    signal(&child, "HUP");
    assert!(child.wait().unwrap().success());
    await_nothing_left(&instance);
}

#[test]
fn a_server_started_with_nohup_ignores_sighup() {
    let directory = Directory::new("nohup");
    let mut child = Command::new("nohup")
        .arg(crate::support::program())
        .env("PORT", "0")
        .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let banner = lines.next().unwrap().unwrap();
    let address = banner.rsplit_once("http://").unwrap().1.to_owned();
    signal(&child, "HUP");
    let policy = Request::new("GET", "/policy");
    let answer = read_answer(&mut policy.send(&address).unwrap()).unwrap();
    assert_eq!(answer.status, 200);
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_shutdown_with_runs_of_every_kind_ends_within_the_grace_period_with_nothing_left() {
    const GRACE: Duration = Duration::from_secs(15);
    let server = Server::with(&[("RUNNER_SHUTDOWN_GRACE_SECS", "15")]);
    let long = || shell("trap '' TERM; sleep 600", json!({"timeout_secs": 1000}));
    let _plain = server.begin_run(&long());
    let watched = [("Accept", "text/event-stream")];
    let body = long().to_string();
    let _watched = server.begin(&Request::new("POST", "/run").fields(&watched).body(&body));
    let call = run(1, "sleep 600").to_string();
    let accept = [("Accept", "application/json, text/event-stream")];
    let _call = server.begin(&Request::new("POST", "/mcp").fields(&accept).body(&call));
    let filter = format!("label=oneoff.instance={}", server.instance);
    let deadline = Instant::now() + Duration::from_secs(30);
    while docker(&["ps", "-q", "--filter", &filter]).lines().count() < 3 {
        assert!(Instant::now() < deadline, "three containers");
    }
    let told = Instant::now();
    server.stop();
    assert!(told.elapsed() < GRACE, "{:?}", told.elapsed());
}
