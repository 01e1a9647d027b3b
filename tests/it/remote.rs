//! Engines on other addresses, with and without TLS, and engines that are absent, end during a run, or hang.

use super::support::quickstart::{expect_files, expect_hello, files, hello, without_network};
use super::support::{Answer, Authority, IMAGE, SecondEngine, Server, read_answer, tar_gz};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long an answer that needs no engine may take.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn the_quick_starts_requests_work_on_an_engine_behind_tls() {
    let engine = SecondEngine::start_tls("quick-start");
    engine.load_images();
    let server = engine.server(&[]);
    let instance = server.instance.clone();
    assert_eq!(server.get("/health").status, 200);
    expect_hello(&server.run(without_network(hello())));

    expect_files(&server.run(without_network(files())));

    // Standard input uses a separate connection to the engine.
    let request = json!({
        "image": IMAGE, "command": "cat", "stdin": "through TLS", "pull_policy": "never", "network": "none",
    });
    assert_eq!(server.run(request)["stdout"], "through TLS");
    let volume = json!({"name": "remote", "content": tar_gz(&[("a.txt", b"a")], ".")});
    assert_eq!(server.post("/volume", &volume).status, 200);
    assert_eq!(server.get("/volume/remote").status, 200);
    assert_eq!(server.request("DELETE", "/volume/remote", "").status, 204);
    server.stop();
    assert_eq!(engine.leftovers(&instance), Vec::<String>::new());
}

#[test]
fn an_engine_that_refuses_the_connection_is_a_503_with_the_reason() {
    let engine = SecondEngine::start_tls("closed");
    let directory = |name: &str| engine.directory().join(name);
    let stranger = Authority::new("somebody else's CA");
    stranger.write_client(&directory("wrong-ca"), &stranger);
    std::fs::create_dir(directory("no-client")).unwrap();
    std::fs::copy(
        engine.certificates().join("ca.pem"),
        directory("no-client").join("ca.pem"),
    )
    .unwrap();
    let host = engine.docker_host();
    let path = |name: &str| directory(name).to_str().unwrap().to_owned();
    let verified = |name: &str| {
        vec![
            ("DOCKER_TLS_VERIFY", "1".to_owned()),
            ("DOCKER_CERT_PATH", path(name)),
        ]
    };
    for (settings, advice) in [
        (verified("wrong-ca"), "ca.pem in DOCKER_CERT_PATH"),
        (verified("no-client"), "cert.pem and key.pem"),
        (vec![], "TLS"),
    ] {
        let mut all = vec![("DOCKER_HOST", host.as_str())];
        all.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
        let server = Server::with(&all);
        for answer in [
            server.post("/run", &without_network(hello())),
            server.get("/health"),
        ] {
            let (status, code, detail) = answer.problem();
            assert_eq!(status, 503, "{settings:?}: {detail}");
            assert_eq!(code, "engine_unreachable", "{settings:?}: {detail}");
            assert!(detail.contains(advice), "{settings:?}: {detail}");
        }
        server.stop();
    }
}

#[test]
fn a_server_starts_without_its_engine_and_serves_once_it_comes() {
    let mut engine = SecondEngine::unix("late");
    let server = engine.server(&[]);
    let instance = server.instance.clone();
    for answer in [
        server.post("/run", &without_network(hello())),
        server.get("/health"),
    ] {
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str()), (503, "engine_unreachable"));
        assert!(detail.contains("is the engine running"), "{detail}");
    }
    engine.start();
    engine.load_images();
    assert_eq!(server.get("/health").status, 200);
    expect_hello(&server.run(without_network(hello())));
    server.stop();
    assert_eq!(engine.leftovers(&instance), Vec::<String>::new());
}

#[test]
fn an_engine_killed_during_a_run_is_reported_at_once_and_nothing_is_left_when_it_is_back() {
    let answer = an_engine_ends_during_a_run("killed", SecondEngine::kill);
    let (status, code, detail) = answer.problem();
    assert!([502, 503].contains(&status), "{status} {code}: {detail}");
}

#[test]
fn an_engine_stopped_during_a_run_is_reported_at_once_and_nothing_is_left_when_it_is_back() {
    let answer = an_engine_ends_during_a_run("stopped", SecondEngine::stop);
    // It kills its containers before it ends, and may still report their end.
    match answer.status {
        200 => assert_eq!(answer.json()["exit_code"], 143, "{}", answer.json()),
        status => assert!([502, 503].contains(&status), "{}", answer.json()),
    }
}

/// Returns the answer of the run.
fn an_engine_ends_during_a_run(name: &str, end: fn(&mut SecondEngine)) -> Answer {
    let mut engine = SecondEngine::unix(name);
    engine.start();
    engine.load_images();
    let server = engine.server(&[]);
    let instance = server.instance.clone();
    let mut run = server.begin_run(&json!({
        "image": IMAGE, "command": ["sleep", "600"], "init": true, "pull_policy": "never", "network": "none",
        "volumes": {"/data": {"type": "directory", "files": {"a": "a"}, "response": true}},
    }));
    engine.await_running(&instance);
    // These are interrupted at an arbitrary step.
    let others: Vec<_> = (0..3)
        .map(|_| server.begin_run(&without_network(files())))
        .collect();
    end(&mut engine);
    let ended = Instant::now();
    let answer = read_answer(&mut run).expect("an answer");
    for mut other in others {
        let other = read_answer(&mut other).expect("an answer");
        assert!([200, 502, 503].contains(&other.status), "{}", other.json());
    }
    assert!(ended.elapsed() < SOON, "{:?}", ended.elapsed());
    expect_no_health(&server);

    engine.start();
    assert_eq!(server.get("/health").status, 200);
    expect_hello(&server.run(without_network(hello())));
    engine.await_nothing_left(&instance);
    server.stop();
    assert_eq!(engine.leftovers(&instance), Vec::<String>::new());
    answer
}

#[test]
fn an_engine_that_hangs_fails_health_within_two_seconds_and_no_run() {
    let mut engine = SecondEngine::unix("frozen");
    engine.start();
    engine.load_images();
    let server = engine.server(&[]);
    let instance = server.instance.clone();
    let mut run = server.begin_run(&json!({
        "image": IMAGE, "command": ["sh", "-c", "echo begun; sleep 1; echo ended"], "pull_policy": "never",
        "network": "none",
    }));
    engine.await_running(&instance);
    engine.freeze();
    expect_no_health(&server);
    engine.unfreeze();
    let answer = read_answer(&mut run).unwrap().json();
    assert_eq!(answer["stdout"], "begun\nended\n", "{answer}");
    assert_eq!(server.get("/health").status, 200);
    engine.await_nothing_left(&instance);
    server.stop();
    assert_eq!(engine.leftovers(&instance), Vec::<String>::new());
}

fn expect_no_health(server: &Server) {
    let asked = Instant::now();
    let answer = server.get("/health");
    let took = asked.elapsed();
    let (status, _, detail) = answer.problem();
    assert_eq!(status, 503, "{detail}");
    assert!(!detail.is_empty());
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[test]
fn a_server_stops_in_bounded_time_although_its_engine_hangs() {
    let mut engine = SecondEngine::unix("stuck");
    engine.start();
    engine.load_images();
    let host = engine.docker_host();
    let log = engine.directory().join("log");
    let settings = [
        ("DOCKER_HOST", host.as_str()),
        ("RUNNER_SHUTDOWN_GRACE_SECS", "4"),
        ("RUST_LOG", "info"),
    ];
    let server = Server::with_log(&settings, &log);
    let instance = server.instance.clone();
    let run = server.begin_run(&json!({
        "image": IMAGE, "command": ["sleep", "600"], "pull_policy": "never", "network": "none",
    }));
    engine.await_running(&instance);
    engine.freeze();
    let told = Instant::now();
    server.stop();
    assert!(
        told.elapsed() < Duration::from_secs(4),
        "the grace period is all it takes: {:?}",
        told.elapsed()
    );
    drop(run);
    let logged = std::fs::read_to_string(&log).unwrap();
    // The run, and the volume with its PID 1.
    assert!(logged.contains("2 runs or objects are left"), "{logged}");
    engine.unfreeze();
    // The next server of this instance removes the container.
    let next = Server::named(&instance, &[("DOCKER_HOST", &host)]);
    engine.await_nothing_left(&instance);
    next.stop();
}
