//! Runs beside another client that removes their containers and volumes, as `docker system prune --volumes` does, at one chosen
//! call; and collections that fail for other reasons. See `prune_loop` for prunes at any moment.

use super::run::shell;
use super::support::{
    Directory, Fate, FaultProxy, IMAGE, SecondEngine, Server, docker, read_answer, untar,
};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Removes what a prune would remove of this instance: containers that do not run, without their volumes, then volumes that no
/// container uses.
fn prune(instance: &str) {
    remove(instance, &["ps", "-aq"], &["rm"]);
    remove(instance, &["volume", "ls", "-q"], &["volume", "rm"]);
}

fn remove(instance: &str, list: &[&str], remove: &[&str]) {
    let filter = format!("--filter=label=oneoff.instance={instance}");
    for name in docker(&[list, &[&filter]].concat()).lines() {
        // Fails for what is in use.
        let _ = Command::new("docker").args(remove).arg(name).output();
    }
}

/// A server of a known name, whose first engine call that `is_it` chooses waits until `action` was done. `is_it` gets the head
/// of the call.
fn server_at(is_it: IsIt, action: impl Fn(&str) + Send + Sync + 'static) -> (Server, FaultProxy) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let instance = format!("pruned-{}-{number}", std::process::id());
    let (name, held) = (instance.clone(), AtomicBool::new(false));
    let proxy = FaultProxy::judging(move |head| {
        if !is_it(head) || held.swap(true, Ordering::SeqCst) {
            return Fate::Pass;
        }
        action(&name);
        Fate::Delayed
    });
    let settings = [
        ("DOCKER_HOST", proxy.docker_host()),
        ("RUNNER_ALLOWED_VOLUMES", "*".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    (Server::named(&instance, &settings), proxy)
}

/// Done to the objects of an instance.
type Action = fn(&str);

/// Whether an engine call is meant, by its head.
type IsIt = fn(&str) -> bool;

fn is_upload(head: &str) -> bool {
    head.starts_with("PUT ") && head.contains("/archive?")
}

fn is_create_of_run(head: &str) -> bool {
    // Its body names the volume of the stage.
    let call = head.lines().next().unwrap_or_default();
    call.contains("/containers/create?name=oneoff-") && !call.contains("-stage")
}

fn is_read(head: &str) -> bool {
    head.starts_with("GET ") && head.contains("/archive?")
}

/// A run with every kind of mount that is staged or collected.
fn rich_run(more: Value) -> Value {
    let mut request = shell(
        "cat /in; cat > /out/file; cat /d/a > /d/b; echo changed > /f; exit 3",
        json!({
            "stdin": "fed",
            "volumes": {
                "/in:ro": {"type": "file", "text": "staged\n"},
                "/d": {"type": "directory", "files": {"a": "x"}, "response": true},
                "/f": {"type": "file", "text": "as it was", "response": true},
                "/out/file": {"type": "file", "response": true},
            },
        }),
    );
    let Value::Object(more) = more else {
        panic!("an object")
    };
    request.as_object_mut().unwrap().extend(more);
    request
}

fn expect_all(result: &Value) {
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(3), &json!("staged\n")),
        "{result}"
    );
    expect_volumes(result);
    assert_eq!(result["warnings"], Value::Null, "{result}");
}

fn expect_volumes(result: &Value) {
    let volumes = &result["volumes"];
    let content = |key: &str| {
        volumes[key]["content"]
            .as_str()
            .unwrap_or_else(|| panic!("{key}: {result}"))
    };
    assert_eq!(content("/out/file"), "ZmVk", "{result}");
    assert_eq!(content("/f"), "Y2hhbmdlZAo=", "{result}");
    let names: Vec<String> = untar(content("/d"))
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn what_is_removed_before_the_start_is_made_again_and_the_run_is_as_if_nothing_had_been() {
    let calls: [(&str, IsIt); 6] = [
        ("the inspection of the stage", |head| {
            head.starts_with("GET ")
                && head.contains("/json ")
                && head.contains("/containers/")
                && !head.contains("/containers/json")
        }),
        ("the upload", is_upload),
        ("the container's creation", is_create_of_run),
        ("the attachment", |head| head.contains("/attach?")),
        ("the watch", |head| head.contains("/events?")),
        ("the start", |head| head.contains("/start ")),
    ];
    for (name, is_it) in calls {
        let (server, proxy) = server_at(is_it, prune);
        let result = server.run(rich_run(json!({})));
        assert!(proxy.has_cut(), "{name} did not happen");
        expect_all(&result);
        server.await_nothing_left();
        server.stop();
    }
}

#[test]
fn a_container_that_is_removed_before_every_start_ends_in_an_error_that_says_so() {
    let instance = format!("always-pruned-{}", std::process::id());
    let name = instance.clone();
    let proxy = FaultProxy::judging(move |head| {
        if head.contains("/start ") {
            prune(&name);
        }
        Fate::Pass
    });
    let server = Server::named(&instance, &[("DOCKER_HOST", &proxy.docker_host())]);
    let answer = server.post("/run", &shell("true", json!({})));
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (502, "object_removed"), "{detail}");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn outputs_come_back_from_whatever_a_prune_after_the_end_has_left() {
    let left: [(&str, Action); 2] = [
        ("no helper", |instance| {
            let stage = format!("--filter=label=oneoff.instance={instance}");
            let helper = docker(&["ps", "-aq", &stage, "--filter=name=-stage$"]);
            docker(&["rm", &helper]);
        }),
        ("no container, but the volume", |instance| {
            remove(instance, &["ps", "-aq"], &["rm"]);
        }),
    ];
    for (name, action) in left {
        let (server, proxy) = server_at(is_read, action);
        // Nothing that is only in the run's container.
        let result = server.run(shell(
            "cat /d/a > /d/b",
            json!({"volumes": {"/d": {"type": "directory", "files": {"a": "x"}, "response": true}}}),
        ));
        assert!(proxy.has_cut(), "{name}");
        let content = result["volumes"]["/d"]["content"].as_str();
        let entries = untar(content.unwrap_or_else(|| panic!("{name}: {result}")));
        assert_eq!(entries.len(), 2, "{name}");
        server.await_nothing_left();
        server.stop();
    }
}

#[test]
fn outputs_that_a_prune_took_after_the_end_are_named_and_never_a_bare_null() {
    let (server, proxy) = server_at(is_read, prune);
    let result = server.run(rich_run(json!({})));
    assert!(proxy.has_cut());
    assert_eq!(
        (&result["status"], &result["exit_code"], &result["stdout"]),
        (&json!("error: 3"), &json!(3), &json!("staged\n"))
    );
    for key in ["/d", "/f", "/out/file"] {
        let volume = &result["volumes"][key];
        assert_eq!(volume["content"], Value::Null);
        let detail = volume["detail"].as_str().unwrap_or_default();
        assert!(
            detail.contains("removed by another client"),
            "{key}: {result}"
        );
        let warnings = result["warnings"].as_array().unwrap();
        let named = warnings
            .iter()
            .any(|warning| warning.as_str().unwrap().starts_with(&format!("{key}: ")));
        assert!(named, "{key}: {warnings:?}");
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_collection_that_the_engine_fails_leaves_the_runs_own_answer_as_it_is() {
    let proxy = FaultProxy::judging(|head| match is_read(head) {
        true => Fate::Fails,
        false => Fate::Pass,
    });
    let server = Server::with(&[
        ("DOCKER_HOST", &proxy.docker_host()),
        ("RUNNER_ALLOWED_VOLUMES", "unread-*"),
    ]);
    let name = format!("unread-{}", std::process::id());
    docker(&["volume", "create", &name]);
    let mut request = rich_run(json!({}));
    request["volumes"]["/named"] = json!({"type": "volume", "name": name, "response": true});
    let result = server.run(request);
    docker(&["volume", "rm", &name]);
    assert_eq!(
        (&result["exit_code"], &result["stdout"]),
        (&json!(3), &json!("staged\n"))
    );
    for (key, kind) in [
        ("/d", "directory"),
        ("/f", "file"),
        ("/out/file", "file"),
        ("/named", "directory"),
    ] {
        let volume = &result["volumes"][key];
        assert_eq!(
            (&volume["type"], &volume["content"]),
            (&json!(kind), &Value::Null)
        );
        let detail = volume["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("disk on fire"), "{key}: {result}");
    }
    assert_eq!(result["warnings"].as_array().unwrap().len(), 4, "{result}");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_named_volume_that_is_removed_is_never_replaced_by_an_empty_one() {
    let name = |n: u32| format!("vanishing-{n}-{}", std::process::id());
    let volume = |n: u32| json!({"/v": {"type": "volume", "name": name(n), "response": true}});
    let run = |n: u32| shell("ls /v", json!({"volumes": volume(n)}));

    docker(&["volume", "create", &name(1)]);
    let (server, _proxy) = server_at(is_create_of_run, move |_| {
        drop(docker(&["volume", "rm", &name(1)]))
    });
    let (status, code, _) = server.post("/run", &run(1)).problem();
    assert_eq!((status, code.as_str()), (404, "volume_not_found"));
    server.await_nothing_left();
    server.stop();

    docker(&["volume", "create", &name(2)]);
    let is_reader = |head: &str| head.contains("-read");
    let (server, _proxy) = server_at(is_reader, move |instance| {
        prune(instance);
        docker(&["volume", "rm", &name(2)]);
    });
    let result = server.run(run(2));
    assert_eq!(result["status"], "success");
    let detail = result["volumes"]["/v"]["detail"]
        .as_str()
        .unwrap_or_default();
    assert!(detail.contains("removed by another client"), "{result}");
    server.await_nothing_left();
    server.stop();

    let (server, _proxy) = server_at(is_reader, move |_| {
        drop(docker(&["volume", "rm", &name(3)]))
    });
    let made = server.post("/volume", &json!({"name": name(3), "files": {"a": "x"}}));
    assert_eq!(made.status, 200);
    let (status, code, _) = server.get(&format!("/volume/{}", name(3))).problem();
    assert_eq!((status, code.as_str()), (404, "volume_not_found"));
    server.await_nothing_left();
    server.stop();

    for n in 1..=3 {
        let filter = format!("--filter=name={}", name(n));
        assert_eq!(
            docker(&["volume", "ls", "-q", &filter]),
            "",
            "volume {n} is back"
        );
    }
}

#[test]
fn a_volume_whose_helper_is_removed_while_it_is_filled_is_filled_again() {
    for existed in [false, true] {
        let name = format!("refilled-{existed}-{}", std::process::id());
        let (server, proxy) = server_at(is_upload, prune);
        if existed {
            assert_eq!(server.post("/volume", &json!({"name": name})).status, 200);
        }
        let answer = server.post("/volume", &json!({"name": name, "files": {"a": "x"}}));
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert!(proxy.has_cut());
        let read = server.get(&format!("/volume/{name}")).json();
        assert_eq!(untar(read["content"].as_str().unwrap()).len(), 1, "{read}");
        assert_eq!(
            server
                .request("DELETE", &format!("/volume/{name}"), "")
                .status,
            204
        );
        server.await_nothing_left();
        server.stop();
    }
}

#[test]
fn what_a_running_container_uses_survives_prunes() {
    let mut engine = SecondEngine::unix("pruned");
    engine.start();
    engine.load_images();
    let server = engine.server(&[]);
    let instance = server.instance.clone();
    let named = json!({"name": "kept", "files": {"a": "named"}});
    assert_eq!(server.post("/volume", &named).status, 200);
    let script = "trap 'cat /d/a /v/a; echo end > /d/b; echo end > /out/file; exit 0' TERM; while :; do sleep 0.1; done";
    let volumes = json!({
        "/d": {"type": "directory", "files": {"a": "staged "}, "response": true},
        "/v": {"type": "volume", "name": "kept", "response": true},
        "/out/file": {"type": "file", "response": true},
    });
    let mut run = server.begin_run(&shell(script, json!({"volumes": volumes})));
    engine.await_running(&instance);
    engine.docker(&["system", "prune", "--all", "--force", "--volumes"]);
    engine.docker(&["volume", "prune", "--force"]);
    let filter = format!("--filter=label=oneoff.instance={instance}");
    let running = engine.docker(&["ps", "-q", &filter]);
    engine.docker(&["kill", "--signal", "TERM", &running]);
    let result = read_answer(&mut run).unwrap().json();
    assert_eq!(result["stdout"], "staged named", "{result}");
    let entries = |key: &str| untar(result["volumes"][key]["content"].as_str().unwrap()).len();
    assert_eq!((entries("/d"), entries("/v")), (2, 1), "{result}");
    assert_eq!(result["volumes"]["/out/file"]["content"], "ZW5kCg==");
    engine.await_nothing_left(&instance);
    server.stop();
}

#[test]
fn the_staging_volume_is_out_of_sight_and_cannot_be_mounted_over() {
    let server = Server::start();
    let files = json!({"/d": {"type": "directory", "files": {"needle": "x"}}});
    let script = "ls -A / /dev/.oneoff; find / -name needle -not -path '/proc/*' 2>/dev/null; cat /proc/kcore | wc -c";
    for user in ["0", "nobody"] {
        let more = json!({"volumes": files, "user": user, "read_only": true});
        let result = server.run(shell(script, more));
        let stdout = result["stdout"].as_str().unwrap();
        assert!(
            stdout.contains("/dev/.oneoff:\n/d/needle\n0\n")
                || stdout.contains("/dev/.oneoff:\n\n/d/needle\n0\n"),
            "{result}"
        );
        assert!(!stdout.starts_with(".oneoff"), "{stdout}");
    }
    let answer = server.post(
        "/run",
        &shell(
            "true",
            json!({"volumes": {"/dev/.oneoff": {"type": "directory"}}}),
        ),
    );
    assert_eq!(answer.status, 422);
    server.stop();
}

#[test]
fn what_a_run_mounted_is_free_as_soon_as_it_is_answered() {
    let directory = Directory::new("mounted");
    let server = Server::with(&[
        (
            "RUNNER_ALLOWED_HOST_PATHS",
            directory.path().to_str().unwrap(),
        ),
        ("RUNNER_ALLOWED_VOLUMES", "freed-*"),
    ]);
    let endings: [(&str, Value); 5] = [
        ("success", json!({"command": ["true"]})),
        ("failure", json!({"command": ["sh", "-c", "exit 7"]})),
        (
            "timeout",
            json!({"command": ["sleep", "60"], "timeout_secs": 0.5}),
        ),
        ("no start", json!({"command": ["/no/such/program"]})),
        ("bridge", json!({"command": ["true"], "network": "bridge"})),
    ];
    for (number, (ending, more)) in endings.into_iter().enumerate() {
        for response in [false, true] {
            let name = format!("freed-{number}-{response}-{}", std::process::id());
            docker(&["volume", "create", &name]);
            let mut request = json!({
                "image": IMAGE, "pull_policy": "never", "network": "none",
                "volumes": {
                    "/v": {"type": "volume", "name": name, "response": response},
                    "/d": {"type": "directory", "response": response},
                },
            });
            let fields = more.as_object().unwrap().clone();
            request.as_object_mut().unwrap().extend(fields);
            let answer = server.post("/run", &request);
            assert!(
                [200, 422].contains(&answer.status),
                "{ending}: {}",
                answer.json()
            );
            docker(&["volume", "rm", &name]);
            assert_eq!(server.leftovers(), [""; 0], "{ending}");
        }
        let mut request = json!({
            "image": IMAGE, "pull_policy": "never", "network": "none",
            "volumes": {"/h:ro": {"type": "host", "host_path": directory.path()}},
        });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.post("/run", &request);
        assert_eq!(server.leftovers(), [""; 0], "{ending}");
    }
    server.stop();
}
