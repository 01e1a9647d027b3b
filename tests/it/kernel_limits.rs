//! Requests that the kernel cannot execute, or about which an engine would never answer again.

use super::run::shell;
use super::support::{Fate, FaultProxy, IMAGE, Server, docker};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The places of the faults in a 422: of each, the first two parts.
fn places(problem: &Value) -> Vec<String> {
    let faults = problem["errors"].as_array().cloned().unwrap_or_default();
    let place = |fault: &Value| {
        let parts = fault["loc"].as_array().unwrap();
        let parts = parts.iter().take(2).map(|part| part.as_str().unwrap());
        let parts: Vec<&str> = parts.collect();
        parts.join(" ")
    };
    faults.iter().map(place).collect()
}

#[test]
fn what_the_kernel_cannot_execute_is_refused_and_nothing_is_left_behind() {
    let server = Server::start();
    let x = |count: usize| "x".repeat(count);
    for (request, place) in [
        // From 70,000 bytes on, engines never answer again for such a container.
        (json!({"command": [x(70_000)]}), "body command"),
        (json!({"command": [x(200_000)]}), "body command"),
        (json!({"command": x(70_000)}), "body command"),
        (json!({"entrypoint": [x(70_000)]}), "body entrypoint"),
        (
            json!({"entrypoint": "", "command": [x(4096)]}),
            "body command",
        ),
        (json!({"command": ["echo", x(131_072)]}), "body command"),
        (
            json!({"entrypoint": ["echo", x(131_072)]}),
            "body entrypoint",
        ),
        (json!({"command": vec![x(100_000); 22]}), "body command"),
        (json!({"env_vars": {"A": x(131_070)}}), "body env_vars"),
        (json!({"env_vars": {x(140_000): 1}}), "body env_vars"),
        (
            json!({"working_dir": "/".to_owned() + &x(256)}),
            "body working_dir",
        ),
        (
            json!({"working_dir": "/x".repeat(2048)}),
            "body working_dir",
        ),
        (json!({"user": x(256)}), "body user"),
        (json!({"cap_drop": [x(70_000)]}), "body cap_drop"),
        (
            json!({"platform": "linux/".to_owned() + &x(300)}),
            "body platform",
        ),
        (json!({"tmpfs": {"/t": x(4096)}}), "body tmpfs"),
        (
            json!({"extra_hosts": {x(256): "127.0.0.1"}}),
            "body extra_hosts",
        ),
        (
            json!({"volumes": {"/d/".to_owned() + &x(256): {"type": "file", "response": true}}}),
            "body volumes",
        ),
        (
            json!({"auth_config": {"username": "u", "password": x(65_537)}}),
            "body auth_config",
        ),
    ] {
        let answer = server.post("/run", &shell("true", request));
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (422, &json!("invalid_request")),
            "{place}"
        );
        assert_eq!(places(&problem), [place]);
    }
    assert_eq!(server.leftovers(), Vec::<String>::new());
    server.stop();
}

#[test]
fn what_the_kernel_just_executes_runs() {
    let server = Server::start();
    let x = |count: usize| "x".repeat(count);
    let result = server.run(shell(
        "",
        json!({"command": ["sh", "-c", "echo ${#0} ${#A} $#", x(131_071), "b"], "env_vars": {"A": x(131_000)}}),
    ));
    assert_eq!(result["stdout"], "131071 131000 1\n", "{result}");
    // The image's entry point takes it as an argument.
    let result = server.run(shell(
        "",
        json!({"entrypoint": ["echo"], "command": [x(5000)]}),
    ));
    assert_eq!(result["stdout"], x(5000) + "\n");
    server.stop();
}

/// An image made from [`IMAGE`] with this change; removed when dropped.
struct ChangedImage(String);

impl ChangedImage {
    fn new(name: &str, change: &str) -> Self {
        let image = format!("kernel-limits-{name}-{}:1", std::process::id());
        let source = docker(&["create", IMAGE]);
        docker(&["commit", "--change", change, &source, &image]);
        docker(&["rm", &source]);
        Self(image)
    }

    fn run(&self, more: Value) -> Value {
        let mut request = json!({"image": self.0, "pull_policy": "never", "network": "none"});
        let more = more.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(more);
        request
    }
}

impl Drop for ChangedImage {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["rmi", "-f", &self.0])
            .output();
    }
}

#[test]
fn what_the_image_adds_counts_too() {
    let server = Server::start();
    let long = "x".repeat(5000);
    let own_program = ChangedImage::new("program", &format!("ENTRYPOINT [\"{long}\"]"));
    let own_command = ChangedImage::new("command", &format!("CMD [\"{long}\"]"));
    let own_variable = ChangedImage::new("variable", &format!("ENV A={}", "x".repeat(60_000)));
    let own_entrypoint = ChangedImage::new("entrypoint", "ENTRYPOINT [\"echo\"]");
    let own_dir = ChangedImage::new("dir", &format!("WORKDIR /{}", "d/".repeat(2500)));
    let large = vec!["x".repeat(103_000); 20];
    let with_echo = |words: &[String]| [&["echo".to_owned()], words].concat();
    for (request, place) in [
        (own_program.run(json!({})), "body image"),
        (own_program.run(json!({"command": ["a"]})), "body image"),
        (own_command.run(json!({})), "body image"),
        (
            own_variable.run(json!({"command": with_echo(&large)})),
            "body command",
        ),
        (own_dir.run(json!({"command": ["true"]})), "body image"),
    ] {
        let answer = server.post("/run", &request);
        assert_eq!(answer.status, 422, "{place}");
        assert_eq!(places(&answer.json()), [place]);
    }
    // The request's own values replace the image's.
    for (request, stdout) in [
        (
            own_program.run(json!({"entrypoint": ["echo", "a"]})),
            "a\n".to_owned(),
        ),
        (
            own_command.run(json!({"command": ["echo", "a"]})),
            "a\n".into(),
        ),
        (
            own_variable.run(json!({"command": with_echo(&large), "env_vars": {"A": 1}})),
            large.join(" ") + "\n",
        ),
        // A first word that is no program but an argument.
        (
            own_entrypoint.run(json!({"command": [long]})),
            long.clone() + "\n",
        ),
        (
            own_dir.run(json!({"command": ["pwd"], "working_dir": "/tmp"})),
            "/tmp\n".into(),
        ),
    ] {
        let result = server.run(request);
        assert_eq!(result["stdout"], stdout, "{}", result["stderr"]);
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn the_check_of_an_images_health_does_not_run_beside_the_command() {
    let server = Server::start();
    let image = ChangedImage::new("health", "HEALTHCHECK --interval=1s CMD touch /checked");
    let script = "sleep 2.5; ls /checked";
    let result = server.run(image.run(json!({"command": ["sh", "-c", script]})));
    assert_ne!(result["exit_code"], 0, "{result}");
    server.stop();
}

/// Containers whose removal the engine does not answer, until they are released.
#[derive(Default)]
struct Hanging {
    state: Mutex<HangingState>,
    changed: Condvar,
}

#[derive(Default)]
struct HangingState {
    paths: BTreeSet<String>,
    is_released: bool,
}

impl Hanging {
    const MOST: usize = 4;

    /// Blocks if the request removes one of the first containers.
    fn pass(&self, head: &str) {
        let Some(path) = head
            .strip_prefix("DELETE ")
            .and_then(|rest| rest.split('?').next())
            .filter(|path| path.contains("/containers/"))
        else {
            return;
        };
        let mut state = self.state.lock().unwrap();
        if state.paths.len() < Self::MOST {
            state.paths.insert(path.to_owned());
            self.changed.notify_all();
        }
        while state.paths.contains(path) && !state.is_released {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn await_all(&self) {
        let state = self.state.lock().unwrap();
        let are_there = |state: &mut HangingState| state.paths.len() < Self::MOST;
        drop(self.changed.wait_while(state, are_there).unwrap());
    }

    fn release(&self) {
        self.state.lock().unwrap().is_released = true;
        self.changed.notify_all();
    }
}

#[test]
fn objects_about_which_the_engine_does_not_answer_do_not_delay_the_removal_of_others() {
    let hanging = Arc::new(Hanging::default());
    let judged = Arc::clone(&hanging);
    let proxy = FaultProxy::judging(move |head| {
        judged.pass(head);
        Fate::Pass
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let request = shell("true", json!({}));
    // As many as there are threads that remove.
    for _ in 0..Hanging::MOST {
        server.run(request.clone());
    }
    hanging.await_all();
    // Gone once the first of those calls has timed out.
    let await_only_hanging = || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.leftovers().len() > Hanging::MOST {
            assert!(Instant::now() < deadline, "{:?}", server.leftovers());
        }
    };
    server.run(request.clone());
    await_only_hanging();
    // From then on the others do not wait.
    let begun = Instant::now();
    for _ in 0..6 {
        server.run(request.clone());
        await_only_hanging();
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    // They are not forgotten.
    assert_eq!(server.leftovers().len(), Hanging::MOST);
    hanging.release();
    server.await_nothing_left();
    server.stop();
}
