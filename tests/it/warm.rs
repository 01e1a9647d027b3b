//! Containers that wait for runs: used once, never stale, gone when they should be.

mod claims;
mod life;
mod shapes;

use super::run::shell;
use super::support::{Server, docker};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A server of which as many containers may wait.
fn server(most: &str) -> Server {
    Server::with(&[("RUNNER_WARM_CONTAINERS", most)])
}

/// The value of a metric; 0 if there is none of this name and these labels.
fn metric(server: &Server, name: &str) -> f64 {
    let answer = server.get("/metrics");
    let text = answer.text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn outcomes(server: &Server, outcome: &str) -> f64 {
    metric(
        server,
        &format!("oneoff_warm_runs_total{{outcome=\"{outcome}\"}}"),
    )
}

/// Blocks until as many containers wait. Returns their ids as the engine has them.
fn await_waiting(server: &Server, count: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let counted = metric(server, "oneoff_warm_containers");
        let ids = waiting(server);
        if counted == count as f64 && ids.len() == count {
            return ids;
        }
        assert!(
            Instant::now() < deadline,
            "{counted} wait by the server's count, and {ids:?}, not {count}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The running containers that wait or have waited.
fn waiting(server: &Server) -> Vec<String> {
    let instance = format!("label=oneoff.instance={}", server.instance);
    let filters = ["--filter", &instance, "--filter", "label=oneoff.warm"];
    let ids = docker(&[&["ps", "-q", "--no-trunc"][..], &filters].concat());
    ids.lines().map(str::to_owned).collect()
}

/// Makes a container wait that this request can have. Returns what the request came to without one.
fn warm_up(server: &Server, request: &Value) -> Value {
    let result = server.run(request.clone());
    assert_eq!(result["timings"]["warm"], false, "{result}");
    await_waiting(server, 1);
    result
}

fn is_warm(result: &Value) -> bool {
    result["timings"]["warm"].as_bool().unwrap()
}

/// The short id by which a run knows its container.
fn hostname_of(result: &Value) -> String {
    let stdout = result["stdout"].as_str().unwrap();
    stdout.lines().next().unwrap().to_owned()
}
