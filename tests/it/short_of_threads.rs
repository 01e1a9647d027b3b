//! While threads are short every request is answered soon, and what was accepted before is done afterwards.

use super::async_runs::{finished, forget_all, known, submit};
use super::run::shell;
use super::support::{Answer, Request, Server, docker, fresh_instance, read_whole_answer};
use serde_json::json;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the service waits for its inner server.
const PARSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the inner server return a request that nobody sent, so that it is replaced. Returns the connection of that request.
fn spoil_the_inner_server(server: &Server) -> UnixStream {
    let only_entry = |directory: &Path| {
        let mut entries = std::fs::read_dir(directory).unwrap();
        entries.next().expect("the inner server").unwrap().path()
    };
    let socket = only_entry(&only_entry(server.private_dir()));
    let mut stranger = UnixStream::connect(socket).unwrap();
    let foreign = b"GET /foreign HTTP/1.1\r\nX-Edge-Id: 1\r\n\r\n";
    stranger.write_all(foreign).unwrap();
    stranger
}

/// The answers to so many requests at once, and how long the last one took.
fn health_asked_by(clients: usize, server: &Server) -> (Vec<Answer>, Duration) {
    let begun = Instant::now();
    let answers = std::thread::scope(|scope| {
        let ask = || {
            let request = Request::new("GET", "/health");
            read_whole_answer(&mut server.begin(&request)).expect("an answer")
        };
        let asking: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        let answers = asking.into_iter().map(|client| client.join().unwrap());
        answers.collect()
    });
    (answers, begun.elapsed())
}

#[test]
fn every_request_is_answered_soon_while_the_inner_server_cannot_be_replaced() {
    // tiny_http panics without a thread, and a backtrace takes long.
    let server = Server::of_its_own_user_with(&[("RUST_BACKTRACE", "0")]);
    let mut refused = 0;
    // The more threads are left, the farther the replacement gets.
    for spare in 0..12 {
        let _stranger = spoil_the_inner_server(&server);
        let threads = server.status_number("Threads");
        server.limit_threads_of_its_user(Some(threads + spare));
        let (answers, took) = health_asked_by(6, &server);
        server.limit_threads_of_its_user(None);
        for answer in &answers {
            let is_refused = answer.status == 503 && answer.header("Retry-After").is_some();
            refused += usize::from(is_refused);
            let is_answered = is_refused || answer.status == 200;
            assert!(is_answered, "{spare}: {} {}", answer.head, answer.text());
        }
        assert!(took < PARSE_TIMEOUT, "{spare}: {took:?}");
        let (answers, took) = health_asked_by(1, &server);
        assert_eq!(answers[0].status, 200);
        assert!(took < PARSE_TIMEOUT, "{spare}: {took:?} afterwards");
    }
    assert!(refused > 6, "{refused}");
    server.stop();
}

/// A file for a server's log, removed at the end of the test.
struct Log(PathBuf);

impl Log {
    fn of(instance: &str) -> Self {
        Self(std::env::temp_dir().join(format!("{instance}.log")))
    }

    fn lines(&self) -> usize {
        let log = std::fs::read_to_string(&self.0).unwrap();
        log.matches("no thread").count()
    }

    /// Waits until the server lacks a thread once more than so many times.
    fn await_shortage(&self, before: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.lines() == before && Instant::now() < deadline {
            std::thread::yield_now();
        }
        self.lines() > before
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_run_that_was_going_on_at_a_restart_is_followed_once_there_is_a_thread() {
    let instance = fresh_instance();
    let log = Log::of(&instance);
    let server = Server::of_its_own_user_with_log(&instance, &[], &log.0);
    let path = submit(&server, &shell("echo a; sleep 5; echo b", json!({})));
    server.await_running();
    let heir = Server::of_its_own_user_with_log(&server.kill(), &[], &log.0);
    // It takes the run over two seconds after its start.
    heir.limit_threads_of_its_user(Some(1));
    let is_short = log.await_shortage(0, Duration::from_secs(30));
    heir.limit_threads_of_its_user(None);
    assert!(is_short, "it needs a thread to follow the run");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut state = known(&heir, &path);
    while state["state"] != "finished" {
        assert!(Instant::now() < deadline, "nothing follows it: {state}");
        state = known(&heir, &path);
    }
    assert_eq!(state["result"]["stdout"], "a\nb\n", "{state}");
    forget_all(&heir);
    heir.stop();
}

#[test]
fn an_accepted_run_is_executed_once_there_are_threads() {
    let instance = fresh_instance();
    let log = Log::of(&instance);
    let settings = [
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUST_LOG", "warn,oneoff_docker_runner::runner=debug"),
    ];
    let server = Server::of_its_own_user_with_log(&instance, &settings, &log.0);
    let files = json!({"/d": {"type": "directory", "files": {"a": "x"}, "response": true}});
    let first = shell(
        "while [ ! -e /go ]; do sleep 0.1; done",
        json!({"timeout_secs": 120}),
    );
    let second = shell("cat; cat /d/a", json!({"stdin": "fed", "volumes": files}));
    let mut short = 0;
    // The more threads are left, the later in its course the second run lacks one.
    for spare in 0..6 {
        let first = submit(&server, &first);
        let container = server.await_running();
        let second = submit(&server, &second);
        let before = log.lines();
        // The first run has two, which it gives back.
        let threads = server.status_number("Threads") - 2;
        server.limit_threads_of_its_user(Some(threads + spare));
        docker(&["exec", &container, "touch", "/go"]);
        let is_short = log.await_shortage(before, Duration::from_secs(3));
        server.limit_threads_of_its_user(None);
        short += usize::from(is_short);
        assert_eq!(finished(&server, &first)["result"]["exit_code"], 0);
        let state = finished(&server, &second);
        assert_eq!(state["result"]["stdout"], "fedx", "{spare}: {state}");
        forget_all(&server);
        server.await_nothing_left();
    }
    assert!(short > 0, "{short}");
    server.stop();
}
