//! From start to stop: clients that leave, signals, settings.

use super::run::shell;
use super::support::{EventStream, IMAGE, Request, Server, docker, read_answer};
use serde_json::json;
use std::net::Shutdown;
use std::process::Command;

#[test]
fn a_run_ends_when_its_client_disconnects_and_nothing_is_left_behind() {
    let server = Server::start();
    let leave: [fn(&std::net::TcpStream); 2] = [
        |stream| stream.shutdown(Shutdown::Both).unwrap(),
        // A half-closed connection also counts as closed.
        |stream| stream.shutdown(Shutdown::Write).unwrap(),
    ];
    for leave in leave {
        let stream = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
        server.await_running();
        leave(&stream);
        server.await_nothing_left();
    }
    server.stop();
}

#[test]
fn a_client_that_disconnects_leaves_the_queue() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUNNER_QUEUE_LENGTH", "1"),
    ]);
    let running = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    server.await_running();
    let request = shell("echo queued", json!({})).to_string();
    let watched = [("Accept", "text/event-stream")];
    let mut queued = EventStream::new(
        server.begin(&Request::new("POST", "/run").fields(&watched).body(&request)),
    );
    queued.until("queued");
    let refused = server.post("/run", &shell("echo third", json!({})));
    assert_eq!(refused.status, 429);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(refused.json()["code"], "queue_full");
    drop(queued);
    drop(running);
    server.await_nothing_left();
    assert_eq!(
        server.run(shell("echo next", json!({})))["stdout"],
        "next\n"
    );
    server.stop();
}

#[test]
fn sigterm_lets_runs_finish_within_the_grace_and_refuses_new_ones() {
    let server = Server::with(&[("RUNNER_SHUTDOWN_GRACE_SECS", "60")]);
    let mut stream = server.begin_run(&shell("sleep 1; echo finished", json!({})));
    server.await_running();
    server.signal("TERM");
    let answer = read_answer(&mut stream)
        .expect("the run is answered")
        .json();
    assert_eq!(answer["stdout"], "finished\n");
    assert!(
        Request::new("GET", "/health")
            .send(&server.address)
            .is_err(),
        "nobody new is let in"
    );
    server.stop_signalled();
}

#[test]
fn sigterm_cancels_runs_after_the_grace_period_and_nothing_is_left_behind() {
    let server = Server::with(&[("RUNNER_SHUTDOWN_GRACE_SECS", "12")]);
    let volume = json!({"/d": {"type": "directory", "files": {"a": "x"}}});
    let mut stream = server.begin_run(&shell(
        "echo begun; sleep 600",
        json!({"timeout_secs": 1000, "volumes": volume}),
    ));
    server.await_running();
    server.signal("TERM");
    let answer = read_answer(&mut stream)
        .expect("the run is answered")
        .json();
    assert_eq!(answer["status"], "error: cancelled");
    assert_eq!(answer["stdout"], "begun\n", "what it printed is kept");
    server.stop_signalled();
}

#[test]
fn a_container_removed_from_outside_ends_its_run() {
    let server = Server::start();
    let mut stream = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    let id = server.await_running();
    docker(&["rm", "-f", &id]);
    let answer = read_answer(&mut stream).unwrap();
    assert!(
        answer.status == 200 || answer.status == 502,
        "{}",
        answer.json()
    );
    server.stop();
}

#[test]
fn every_request_but_health_needs_the_token() {
    let server = Server::with(&[("AUTH_TOKEN", "s3cret")]);
    let answer = server.post("/run", &shell("true", json!({})));
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("WWW-Authenticate").as_deref(), Some("Bearer"));
    assert_eq!(server.get("/health").status, 200);
    let output = Command::new(crate::support::program())
        .arg("healthcheck")
        .env("PORT", server.address.rsplit_once(':').unwrap().1)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    server.stop();
}

#[test]
fn health_names_the_engine_and_its_check_fails_without_a_server() {
    let server = Server::start();
    let health = server.get("/health").json();
    assert_eq!(health["status"], "ok");
    assert_eq!(
        health["docker_version"],
        docker(&["version", "--format", "{{.Server.Version}}"])
    );
    assert_eq!(
        health["api_version"],
        docker(&["version", "--format", "{{.Server.APIVersion}}"])
    );
    server.stop();
    let output = Command::new(crate::support::program())
        .arg("healthcheck")
        .env("PORT", "1")
        .output()
        .unwrap();
    assert!(
        !output.status.success() && !output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn without_an_engine_the_server_answers_503_with_advice() {
    let server = Server::with(&[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
    let health = server.get("/health");
    assert_eq!(
        (health.status, &health.json()["code"]),
        (503, &json!("engine_unreachable"))
    );
    let answer = server.post("/run", &json!({"image": IMAGE, "pull_policy": "never"}));
    assert_eq!(answer.status, 503);
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("engine"),
        "{}",
        answer.json()
    );
    assert_eq!(
        server
            .post("/volume", &json!({"name": "vol", "files": {"a": "b"}}))
            .status,
        503
    );
    server.stop();
}

#[test]
fn a_setting_that_does_not_parse_stops_the_start_with_its_name() {
    for (name, value) in [
        ("PORT", "many"),
        ("RUNNER_DEFAULT_MEMORY", "much"),
        ("DOCKER_HOST", "pigeon://x"),
    ] {
        let output = Command::new(crate::support::program())
            .env(name, value)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && stderr.contains(name),
            "{stderr}"
        );
    }
}

#[test]
fn settings_come_from_the_env_file_below_the_environment() {
    let dir = std::env::temp_dir().join(format!("oneoff-env-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let run = |file: &str, port: Option<&str>| {
        std::fs::write(dir.join(".env"), file).unwrap();
        let mut command = Command::new(crate::support::program());
        command.arg("healthcheck").current_dir(&dir);
        if let Some(port) = port {
            command.env("PORT", port);
        }
        String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned()
    };
    assert!(run("PORT=nonsense\n", None).contains("PORT"));
    assert!(
        !run("PORT=nonsense\n", Some("1")).contains("PORT:"),
        "the environment wins"
    );
    let broken = run("AUTH_TOKEN=\"unclosed SECRET\nX", None);
    assert!(
        broken.contains(".env") && !broken.contains("SECRET"),
        "{broken}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn help_lists_every_setting_and_unknown_arguments_are_refused() {
    let run = |argument: &str| {
        Command::new(crate::support::program())
            .arg(argument)
            .output()
            .unwrap()
    };
    let help = String::from_utf8(run("--help").stdout).unwrap();
    for setting in oneoff_docker_runner::config::SETTINGS {
        assert!(help.contains(setting.name), "{}", setting.name);
    }
    assert!(
        String::from_utf8(run("--version").stdout)
            .unwrap()
            .contains(env!("CARGO_PKG_VERSION"))
    );
    assert!(!run("--frobnicate").status.success());
}

#[test]
fn threads_and_descriptors_do_not_accumulate() {
    let server = Server::start();
    let request = |n: usize| {
        let volumes = json!({"/d": {"type": "directory", "files": {"a": "x"}, "response": true}});
        shell(
            &format!("echo {n}"),
            json!({"stdin": "x", "volumes": volumes}),
        )
    };
    server.run(request(0));
    server.await_nothing_left();
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
            .unwrap()
            .count()
    };
    let (threads, files) = (server.status_number("Threads"), descriptors());
    std::thread::scope(|scope| {
        for n in 0..6 {
            let server = &server;
            scope.spawn(move || server.run(request(n)));
        }
    });
    server.await_nothing_left();
    // Pooled threads and connections to the engine may stay for a while, but their number is bounded.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while server.status_number("Threads") > threads + 4 || descriptors() > files + 12 {
        let now = (server.status_number("Threads"), descriptors());
        assert!(
            std::time::Instant::now() < deadline,
            "{threads} threads and {files} files became {now:?}"
        );
    }
    server.stop();
}

/// The number of threads of all processes of the user who owns this process.
fn threads_of_the_user_of(pid: u32) -> u64 {
    let number = |pid: &str, field: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let user = number(&pid.to_string(), "Uid:").unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|pid| number(pid, "Uid:") == Some(user))
        .filter_map(|pid| number(&pid, "Threads:"))
        .sum()
}

#[test]
fn without_threads_the_server_answers_503_and_recovers_and_nothing_is_left_behind() {
    let server = Server::of_its_own_user();
    let limit = |threads: Option<u64>| server.limit_threads_of_its_user(threads);
    let volumes = json!({"/d": {"type": "directory", "files": {"a": "x"}, "response": true}});
    let request = shell("cat", json!({"stdin": "fed", "volumes": volumes}));
    assert_eq!(server.run(request.clone())["stdout"], "fed");

    limit(Some(1));
    // The request is sent in one write: a refused client's connection is closed before its request is read to the end.
    let ask = || server.post("/run", &request);
    let refused = ask();
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("too_many_connections"))
    );
    let mut statuses = Vec::new();
    // The more threads are left, the later in its course a run fails for lack of one.
    for spare in 0..10 {
        limit(Some(threads_of_the_user_of(server.pid()) + spare));
        statuses.push(ask().status);
        limit(None);
        server.await_nothing_left();
        assert_eq!(server.run(request.clone())["stdout"], "fed", "{statuses:?}");
    }
    let answered = |status: &u16| [200, 503].contains(status);
    assert!(statuses.iter().all(answered), "{statuses:?}");
    assert!(
        statuses.iter().filter(|status| **status == 503).count() > 2,
        "{statuses:?}"
    );
    assert_eq!(statuses.last(), Some(&200));
    server.stop();
}
