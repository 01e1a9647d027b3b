//! Fills of volumes beside the sweep for leftovers of the same server.

use super::support::{Fate, FaultProxy, Server};
use serde_json::json;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Opened once; those who wait for it then go on.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let is_open = self.0.0.lock().unwrap();
        let waited = self
            .0
            .1
            .wait_timeout_while(is_open, PATIENCE, |open| !*open);
        drop(waited.unwrap());
    }
}

#[test]
fn a_volume_that_is_completed_while_a_sweep_looks_at_its_helper_stays() {
    let (filling, listed, filled) = (Gate::default(), Gate::default(), Gate::default());
    let proxy = FaultProxy::judging({
        let (filling, listed, filled) = (filling.clone(), listed.clone(), filled.clone());
        move |head| {
            let is = |method: &str, part: &str| head.starts_with(method) && head.contains(part);
            if is("GET", "/containers/json?") && head.contains("oneoff.instance") {
                // The sweep lists the helper.
                filling.pass();
            } else if is("PUT", "/archive?") {
                filling.open();
                listed.pass();
            } else if is("GET", "/volumes?") {
                // Next the sweep lists volumes; the fill ends before it judges what it has seen.
                listed.open();
                filled.pass();
            }
            Fate::Pass
        }
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let name = format!("sweeps-{}", std::process::id());
    let made = server.post("/volume", &json!({"name": name, "files": {"a": "A"}}));
    assert_eq!(made.status, 200, "{}", made.json());
    filled.open();
    let deadline = Instant::now() + PATIENCE;
    while server.get("/runs/none").status == 503 {
        assert!(Instant::now() < deadline, "the first sweep does not end");
    }
    let path = format!("/volume/{name}");
    assert_eq!(
        server.get(&path).status,
        200,
        "the sweep removed a complete volume"
    );
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.await_nothing_left();
    server.stop();
}
