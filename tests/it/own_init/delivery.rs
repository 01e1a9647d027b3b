//! The volume with the init: there when it is needed, and gone with its server.

use super::super::run::shell;
use super::super::support::{IMAGE, Server, docker, leftovers, program};
use super::had_init;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

fn init_volumes(instance: &str) -> Vec<String> {
    let filter = format!("label=oneoff.instance={instance}");
    let listed = docker(&["volume", "ls", "--quiet", "--filter", &filter]);
    let volumes = listed.lines().filter(|name| name.ends_with("-init"));
    volumes.map(str::to_owned).collect()
}

#[test]
fn health_and_metrics_say_whether_runs_can_have_it() {
    let server = Server::start();
    let result = server.run(shell("true", json!({})));
    assert!(had_init(&result), "{result}");
    let plain = server.run(shell("true", json!({"init": false})));
    assert!(!had_init(&plain), "{plain}");
    let health = server.get("/health").json();
    let expected = json!({"mode": "auto", "available": true, "reason": null});
    assert_eq!(health["init"], expected);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "oneoff_run_containers_total{pid_1=\"command\"} 1\n",
        "oneoff_run_containers_total{pid_1=\"init\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    server.stop();
}

#[test]
fn a_volume_that_is_removed_is_made_again_and_there_is_never_more_than_one() {
    let server = Server::start();
    for _ in 0..3 {
        let result = server.run(shell("echo here", json!({})));
        assert!(had_init(&result), "{result}");
        server.await_nothing_left();
        let volumes = init_volumes(&server.instance);
        assert_eq!(volumes.len(), 1);
        docker(&["volume", "rm", &volumes[0]]);
    }
    server.stop();
}

#[test]
fn runs_at_once_share_it_and_no_prune_takes_it() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let result = server.run(shell("echo here", json!({})));
                assert!(had_init(&result), "{result}");
            });
        }
    });
    let before = init_volumes(&server.instance);
    assert_eq!(before.len(), 1);
    docker(&[
        "volume",
        "prune",
        "--force",
        "--filter",
        &format!("label=oneoff.instance={}", server.instance),
    ]);
    assert_eq!(init_volumes(&server.instance), before);
    server.stop();
}

#[test]
fn a_dead_servers_volume_goes_with_the_next_one_or_with_reap() {
    let server = Server::start();
    server.run(shell("true", json!({})));
    server.await_nothing_left();
    let left = init_volumes(&server.instance);
    let heir = Server::named(&server.kill(), &[]);
    heir.run(shell("true", json!({})));
    let deadline = Instant::now() + Duration::from_secs(20);
    while init_volumes(&heir.instance).contains(&left[0]) {
        assert!(Instant::now() < deadline, "{left:?}");
    }
    heir.await_nothing_left();
    let instance = heir.kill();
    let reaped = Command::new(program())
        .arg("reap")
        .env("RUNNER_INSTANCE", &instance)
        .output()
        .unwrap();
    assert!(reaped.status.success());
    let label = format!("oneoff.instance={instance}");
    assert_eq!(leftovers(&label), Vec::<String>::new());
}

#[test]
fn nothing_can_be_mounted_over_it() {
    let server = Server::start();
    for more in [
        json!({"volumes": {"/.oneoff": {"type": "directory"}}}),
        json!({"volumes": {"/.oneoff/init:ro": {"type": "file", "text": ""}}}),
        json!({"tmpfs": {"/./.oneoff": ""}}),
    ] {
        let answer = server.post("/run", &shell("true", more));
        assert_eq!(answer.status, 422);
        let problem = answer.json();
        assert!(
            problem.to_string().contains("this service's PID 1"),
            "{problem}"
        );
    }
    let result = server.run(shell(
        "echo x > /.oneoff/init; echo x > /.oneoff/new; ls /.oneoff; mount | grep -c oneoff",
        json!({}),
    ));
    assert_eq!(result["stdout"], "init\n1\n", "{result}");
    server.stop();
}

/// An image made of the usual one by this script.
struct Image(String);

impl Image {
    fn new(name: &str, script: &str) -> Self {
        let name = format!("oneoff-test:{name}-{}", std::process::id());
        let container = docker(&["create", IMAGE, "sh", "-c", script]);
        docker(&["start", "-a", &container]);
        docker(&["commit", &container, &name]);
        docker(&["rm", &container]);
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["rmi", "-f", &self.0]);
    }
}

#[test]
fn an_image_that_cannot_have_it_keeps_it_from_no_other() {
    let image = Image::new("file", "echo > /.oneoff");
    let server = Server::start();
    for _ in 0..2 {
        let result = server.run(shell(
            "echo here",
            json!({"image": image.0, "pull_policy": "never"}),
        ));
        assert_eq!(result["stdout"], "here\n", "{result}");
        assert!(!had_init(&result), "{result}");
        let result = server.run(shell("echo here", json!({})));
        assert!(had_init(&result), "{result}");
    }
    assert_eq!(server.get("/health").json()["init"]["available"], true);
    server.stop();
}

#[test]
fn an_image_with_a_link_in_its_place_is_run_without_it_or_said_to_have_one() {
    let server = Server::start();
    for (target, is_run) in [("/etc", true), ("/bin", false)] {
        let image = Image::new("link", &format!("ln -s {target} /.oneoff"));
        let mut request = shell(
            "echo here",
            json!({"image": image.0, "pull_policy": "never"}),
        );
        if !is_run {
            let problem = server.post("/run", &request).json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("/.oneoff is a symbolic link"), "{problem}");
            assert!(detail.contains("send \"init\": false"), "{problem}");
            request["init"] = json!(false);
        }
        assert_eq!(server.run(request)["stdout"], "here\n", "{target}");
    }
    assert!(had_init(&server.run(shell("true", json!({})))));
    server.stop();
}

#[test]
fn outside_a_container_it_does_nothing() {
    let output = Command::new(program()).arg("init").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("this is not PID 1"), "{words}");
}
