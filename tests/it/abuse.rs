//! Requests and images that try to cross a boundary, and faults that must stay within one request.

use super::run::shell;
use super::support::{IMAGE, Server, docker};
use serde_json::{Value, json};
use std::time::Duration;

fn name(what: &str) -> String {
    format!("abuse-{what}-{}", std::process::id())
}

#[test]
fn a_volume_with_an_empty_driver_name_obeys_the_rules_for_local() {
    let server = Server::start();
    for options in [
        json!({"type": "proc", "device": "proc"}),
        json!({"type": "sysfs", "device": "sysfs"}),
        json!({"type": "none", "o": "bind", "device": "/"}),
    ] {
        let name = name("driver");
        let request = json!({"name": name, "driver": "", "driver_opts": options});
        let answer = server.post("/volume", &request);
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &json!("host_path_not_allowed")),
            "{options}"
        );
        assert_eq!(server.get(&format!("/volume/{name}")).status, 404);
    }
    server.stop();
}

#[test]
fn labels_of_an_image_neither_remove_a_volume_nor_keep_a_container() {
    let (victim, image) = (name("victim"), name("image"));
    docker(&["volume", "create", &victim]);
    let source = docker(&["create", IMAGE]);
    let labels = format!("LABEL oneoff.fills={victim} oneoff.volume=1");
    docker(&["commit", "--change", &labels, &source, &image]);
    docker(&["rm", &source]);

    let server = Server::start();
    let mut request = shell("sleep 600", json!({}));
    request["image"] = json!(image);
    let run = server.begin_run(&request);
    server.await_running();
    let heir = Server::named(&server.kill(), &[]);
    drop(run);
    heir.await_nothing_left();
    assert_eq!(
        docker(&["volume", "inspect", "--format", "{{.Name}}", &victim]),
        victim
    );
    heir.stop();
    docker(&["volume", "rm", &victim]);
    docker(&["rmi", &image]);
}

#[test]
fn a_working_directory_cannot_lead_into_proc_by_another_spelling() {
    let server = Server::start();
    for dir in ["//proc/self/fd/7", "/./proc/self", "/proc/", "/a/../proc"] {
        let answer = server.post("/run", &shell("pwd", json!({"working_dir": dir})));
        assert_eq!(answer.status, 422, "{dir}");
        let place = &answer.json()["errors"][0]["loc"];
        assert_eq!(place, &json!(["body", "working_dir"]), "{dir}");
    }
    server.stop();
}

#[test]
fn a_body_of_very_many_small_values_is_refused_and_takes_little_memory() {
    let server = Server::start();
    let before_kb = server.status_number("VmHWM");
    let body = format!("{{\"command\":[{}1]}}", "1,".repeat(30_000_000));
    let answer = server.request("POST", "/run", &body);
    assert_eq!(answer.status, 400, "{:?}", answer.head);
    let grown_kb = server.status_number("VmHWM") - before_kb;
    assert!(grown_kb < 300 << 10, "{grown_kb} kB for a body of 60 MB");
    server.stop();
}

#[test]
fn the_answer_to_very_many_faults_is_bounded() {
    let server = Server::start();
    let fields: Vec<String> = (0..200_000).map(|n| format!("\"f{n}\":1")).collect();
    let answer = server.request("POST", "/run", &format!("{{{}}}", fields.join(",")));
    assert_eq!(answer.status, 422);
    assert!(answer.body.len() < 4 << 20, "{} bytes", answer.body.len());
    server.stop();
}

#[test]
fn a_directory_of_very_many_files_is_checked_quickly() {
    let server = Server::start();
    let mut files: serde_json::Map<String, Value> =
        (0..60_000).map(|n| (format!("d/{n}"), json!(""))).collect();
    files.insert("a".into(), json!(""));
    files.insert("a/b".into(), json!(""));
    let before = std::time::Instant::now();
    let request = shell(
        "true",
        json!({"volumes": {"/d": {"type": "directory", "files": files}}}),
    );
    let answer = server.post("/run", &request);
    assert_eq!(answer.status, 422);
    let place = &answer.json()["errors"][0]["loc"];
    assert_eq!(place, &json!(["body", "volumes", "/d", "files", "a"]));
    assert!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
    server.stop();
}

#[test]
fn a_fault_of_the_request_that_the_engine_reports_at_start_is_a_422() {
    let server = Server::start();
    let volume = name("broken");
    let options = json!({"type": "tmpfs", "device": "tmpfs", "o": "no-such-option"});
    let made = server.post("/volume", &json!({"name": volume, "driver_opts": options}));
    assert_eq!(made.status, 200);
    for request in [
        json!({"user": "99999999999"}),
        json!({"user": "-1"}),
        json!({"tmpfs": {"/t": "no-such-option"}}),
        json!({"volumes": {"/v": {"type": "volume", "name": volume}}}),
    ] {
        let answer = server.post("/run", &shell("true", request.clone()));
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (422, &json!("start_failed")),
            "{request}"
        );
    }
    assert_eq!(
        server
            .request("DELETE", &format!("/volume/{volume}"), "")
            .status,
        204
    );
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_object_that_cannot_be_removed_does_not_block_the_removal_of_others() {
    let server = Server::start();
    // Helpers of an earlier process whose volumes another container mounts: they cannot be removed until it is gone.
    let holder = name("holder");
    let mut create = vec!["create".to_owned(), "--name".into(), holder.clone()];
    let volumes: Vec<String> = (0..8).map(|n| name(&format!("held{n}"))).collect();
    for (n, volume) in volumes.iter().enumerate() {
        let fill = format!("f{n}-{}", std::process::id());
        docker(&[
            "volume",
            "create",
            "--label",
            &format!("oneoff.volume={fill}"),
            volume,
        ]);
        create.extend(["-v".into(), format!("{volume}:/v{n}")]);
        let labels = [
            format!("--label=oneoff.instance={}", server.instance),
            format!("--label=oneoff.run={fill}"),
            format!("--label=oneoff.fills={volume}"),
            format!("--name=oneoff-{fill}-fill"),
        ];
        let mut helper = vec!["create"];
        helper.extend(labels.iter().map(String::as_str));
        helper.push(IMAGE);
        docker(&helper);
    }
    create.push(IMAGE.into());
    docker(&create.iter().map(String::as_str).collect::<Vec<_>>());

    let heir = Server::named(&server.kill(), &[]);
    let await_only_markers = || {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let left = heir.leftovers();
            if left.len() == volumes.len() && left.iter().all(|line| line.starts_with("volume")) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{left:?}");
        }
    };
    await_only_markers();
    assert_eq!(heir.run(shell("echo on", json!({})))["stdout"], "on\n");
    await_only_markers();
    docker(&["rm", &holder]);
    heir.await_nothing_left();
    let filter = format!("name=abuse-held.*-{}", std::process::id());
    assert_eq!(
        docker(&["volume", "ls", "-q", "--filter", &filter]),
        "",
        "no incomplete volume stays"
    );
    heir.stop();
}

#[test]
fn an_output_below_a_file_is_null() {
    let server = Server::start();
    let result = server.run(shell(
        "true",
        json!({"volumes": {"/etc/passwd/out": {"type": "file", "response": true}}}),
    ));
    assert_eq!(result["volumes"], json!({"/etc/passwd/out": null}));
    server.stop();
}

#[test]
fn all_volumes_of_a_run_share_the_collect_limit() {
    let server = Server::with(&[("RUNNER_MAX_COLLECT_BYTES", "1m")]);
    let back = json!({"type": "file", "response": true});
    let script =
        "for f in a b c; do dd if=/dev/urandom of=/out/$f bs=1k count=400 2>/dev/null; done";
    let result = server.run(shell(
        script,
        json!({"volumes": {"/out/a": back, "/out/b": back, "/out/c": back}}),
    ));
    let volumes = result["volumes"].as_object().unwrap();
    let is_there = |volume: &&serde_json::Value| volume["content"].is_string();
    // Which two is not said: they are read in the order in which the engine answers.
    let (there, left_out): (Vec<_>, Vec<_>) = volumes.values().partition(is_there);
    assert_eq!((there.len(), left_out.len()), (2, 1), "{result}");
    let detail = left_out[0]["detail"].as_str().unwrap();
    assert!(detail.contains("bytes"), "{detail}");
    server.stop();
}

#[test]
fn a_tmpfs_and_a_volume_at_one_path_are_refused() {
    let server = Server::start();
    for tmpfs in [json!({"/t": ""}), json!(["/t/"]), json!(["/u", "/./u"])] {
        let request = json!({"tmpfs": tmpfs, "volumes": {"/t": {"type": "directory"}}});
        let answer = server.post("/run", &shell("true", request));
        assert_eq!(answer.status, 422, "{tmpfs}");
        assert_eq!(answer.json()["errors"][0]["loc"][1], "tmpfs");
    }
    server.stop();
}

#[test]
fn truncated_output_has_no_broken_characters() {
    let server = Server::start();
    let result = server.run(shell("printf 'aé€bb€é'", json!({"max_output_bytes": 8})));
    assert_eq!(
        (&result["stdout"], &result["stdout_omitted_bytes"]),
        (&json!("aéé"), &json!(8))
    );
    server.stop();
}
