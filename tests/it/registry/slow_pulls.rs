//! Pulls from a registry that accepts connections and never answers.

use crate::async_runs::{finished, forget_all, submit};
use crate::support::Server;
use serde_json::{Value, json};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn an_asynchronous_run_reports_that_it_is_pulling_and_can_be_cancelled_meanwhile() {
    let registry = SilentRegistry::new();
    let server = Server::start();
    let path = submit(&server, &registry.run());
    let caller = registry.await_caller();
    let state = server.get(&path).json();
    assert_eq!(
        (&state["state"], &state["started_at"]),
        (&json!("pulling"), &Value::Null),
        "{state}"
    );
    assert_eq!(
        server.get("/runs?state=pulling").json()["runs"][0]["id"],
        state["id"]
    );
    assert_eq!(server.request("DELETE", &path, "").status, 202);
    let result = finished(&server, &path)["result"].clone();
    assert_eq!(result["status"], "error: cancelled", "{result}");
    drop(caller);
    forget_all(&server);
    server.stop();
}

/// A registry that accepts connections and never answers.
struct SilentRegistry(TcpListener);

impl SilentRegistry {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn run(&self) -> Value {
        json!({"image": format!("{}/silent:1", self.0.local_addr().unwrap()), "command": "true", "network": "none"})
    }

    /// Waits for a connection and the first byte of its request.
    fn await_caller(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        stream
    }
}

#[test]
fn a_pull_that_takes_too_long_is_a_504() {
    let registry = SilentRegistry::new();
    let server = Server::with(&[("RUNNER_PULL_TIMEOUT_SECS", "1")]);
    let threads = server.status_number("Threads");
    let began = Instant::now();
    let (status, code, detail) = server.post("/run", &registry.run()).problem();
    let took = began.elapsed();
    assert_eq!((status, code.as_str()), (504, "pull_timeout"), "{detail}");
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    await_threads(&server, |now| now <= threads);
    server.stop();
}

#[test]
fn a_pull_without_any_waiter_left_is_abandoned() {
    let registry = SilentRegistry::new();
    let server = Server::start();
    server.get("/health");
    let threads = server.status_number("Threads");
    for _ in 0..2 {
        let runs: Vec<TcpStream> = (0..4).map(|_| server.begin_run(&registry.run())).collect();
        let caller = registry.await_caller();
        // The connection may be a retry of the engine for an earlier pull.
        await_threads(&server, |now| now > threads);
        drop(runs);
        await_threads(&server, |now| now <= threads);
        drop(caller);
    }
    assert_eq!(server.get("/health").status, 200);
    server.stop();
}

fn await_threads(server: &Server, are_enough: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let threads = server.status_number("Threads");
        if are_enough(threads) {
            return;
        }
        assert!(Instant::now() < deadline, "{threads} threads");
        // Polled: there is no event for the end of a thread of another process.
        std::thread::sleep(Duration::from_millis(20));
    }
}
