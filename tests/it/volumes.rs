//! `POST /volume`, `GET` and `DELETE /volume/{name}`.

use super::run::shell;
use super::support::{Request, Server, docker, tar_gz, untar};
use serde_json::{Value, json};

fn name(what: &str) -> String {
    format!("volumes-{what}-{}", std::process::id())
}

fn names_in(content: &Value) -> Vec<String> {
    let entries = untar(content.as_str().unwrap());
    entries
        .into_iter()
        .filter(|entry| entry.content.is_some())
        .map(|entry| entry.name)
        .collect()
}

fn exists(name: &str) -> bool {
    !docker(&["volume", "ls", "-q", "--filter", &format!("name=^{name}$")]).is_empty()
}

#[test]
fn a_volume_is_made_filled_read_used_and_removed() {
    let server = Server::start();
    let name = name("whole");
    let content = tar_gz(
        &[("target_dir/a.txt", b"A"), ("target_dir/sub/b.txt", b"B")],
        "target_dir",
    );
    let answer = server.post(
        "/volume",
        &json!({"name": name, "content": content, "labels": {"team": "x"}}),
    );
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (200, &json!("success"))
    );
    assert_eq!(
        docker(&["volume", "inspect", "--format", "{{.Labels.team}}", &name]),
        "x"
    );

    let read = server.get(&format!("/volume/{name}")).json();
    assert_eq!(
        (&read["name"], &read["type"]),
        (&json!(name), &json!("directory"))
    );
    assert_eq!(
        names_in(&read["content"]),
        ["a.txt", "sub/b.txt"],
        "the shared directory is stripped"
    );

    let mount = json!({"volumes": {"/v": {"type": "volume", "name": name}}});
    assert_eq!(
        server.run(shell("cat /v/a.txt /v/sub/b.txt", mount))["stdout"],
        "AB"
    );

    // The content that was read can be posted again unchanged.
    let again = server.post(
        "/volume",
        &json!({"name": name, "content": read["content"]}),
    );
    assert_eq!(again.status, 200);
    let files = server.post("/volume", &json!({"name": name, "files": {"c.txt": "C"}}));
    assert_eq!(files.status, 200, "{:?}", files.json());
    let read = server.get(&format!("/volume/{name}")).json();
    assert_eq!(
        names_in(&read["content"]),
        ["a.txt", "c.txt", "sub/b.txt"],
        "written over, not replaced"
    );

    assert_eq!(
        server
            .request("DELETE", &format!("/volume/{name}"), "")
            .status,
        204
    );
    assert!(!exists(&name));
    assert_eq!(
        server
            .request("DELETE", &format!("/volume/{name}"), "")
            .status,
        404
    );
    assert_eq!(server.get(&format!("/volume/{name}")).status, 404);
    server.stop();
}

#[test]
fn archives_are_stripped_by_the_rule_or_as_asked() {
    let server = Server::start();
    for (case, archive, strip, expected) in [
        (
            "flat",
            tar_gz(&[("x", b"1"), ("y", b"2")], "x y"),
            None,
            vec!["x", "y"],
        ),
        (
            "one-top",
            tar_gz(&[("top/x", b"1")], "top"),
            None,
            vec!["x"],
        ),
        (
            "dotted",
            tar_gz(&[("top/x", b"1")], "."),
            None,
            vec!["top/x"],
        ),
        (
            "kept",
            tar_gz(&[("top/x", b"1")], "top"),
            Some(0),
            vec!["top/x"],
        ),
        (
            "deeper",
            tar_gz(&[("top/mid/x", b"1")], "top"),
            Some(2),
            vec!["x"],
        ),
    ] {
        let name = name(case);
        let mut request = json!({"name": name, "content": archive});
        if let Some(strip) = strip {
            request["strip_components"] = json!(strip);
        }
        let answer = server.post("/volume", &request);
        assert_eq!(answer.status, 200, "{case}: {}", answer.json());
        assert_eq!(
            names_in(&server.get(&format!("/volume/{name}")).json()["content"]),
            expected,
            "{case}"
        );
        assert_eq!(
            server
                .request("DELETE", &format!("/volume/{name}"), "")
                .status,
            204
        );
    }
    server.stop();
}

#[test]
fn only_volumes_of_ours_are_written_read_and_removed() {
    let server = Server::start();
    let name = name("foreign");
    docker(&["volume", "create", &name]);
    let write = server.post("/volume", &json!({"name": name, "files": {"a": "A"}}));
    assert_eq!(
        (write.status, &write.json()["code"]),
        (409, &json!("volume_not_ours"))
    );
    let read = server.get(&format!("/volume/{name}"));
    assert_eq!(
        (read.status, &read.json()["code"]),
        (403, &json!("volume_not_ours"))
    );
    assert_eq!(
        server
            .request("DELETE", &format!("/volume/{name}"), "")
            .status,
        403
    );
    assert!(exists(&name), "it is untouched");
    docker(&["volume", "rm", &name]);
    server.stop();
}

#[test]
fn a_volume_that_is_still_being_filled_is_not_found() {
    let server = Server::start();
    let name = name("unfinished");
    let (path, fill) = (format!("/volume/{name}"), format!("{name}-f"));
    let marker = format!("oneoff-{fill}-unfinished");
    let made_by = format!("oneoff.volume={fill}");
    docker(&["volume", "create", "--label", &made_by, &name]);
    let fills = format!("oneoff.fills={name}");
    docker(&["volume", "create", "--label", &fills, &marker]);

    let again = server.post("/volume", &json!({"name": name, "files": {"a": "A"}}));
    assert_eq!(
        (again.status, &again.json()["code"]),
        (409, &json!("volume_busy"))
    );
    let mount = json!({"volumes": {"/v": {"type": "volume", "name": name}}});
    let request = shell("ls /v", mount);
    assert_eq!(server.post("/run", &request).status, 404);
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(server.request("DELETE", &path, "").status, 404);

    docker(&["volume", "rm", &marker]);
    assert_eq!(server.get(&path).status, 200);
    assert_eq!(server.run(request)["status"], "success");
    server.await_nothing_left();
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.stop();
}

#[test]
fn a_volume_in_use_is_not_removed() {
    let server = Server::start();
    let name = name("busy");
    assert_eq!(server.post("/volume", &json!({"name": name})).status, 200);
    let mount = json!({"volumes": {"/v": {"type": "volume", "name": name}}, "timeout_secs": 100});
    let pending = server.begin_run(&shell("sleep 60", mount));
    server.await_running();
    let answer = server.request("DELETE", &format!("/volume/{name}"), "");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (409, &json!("volume_in_use"))
    );
    drop(pending);
    server.await_nothing_left();
    assert_eq!(
        server
            .request("DELETE", &format!("/volume/{name}"), "")
            .status,
        204
    );
    server.stop();
}

#[test]
fn a_volume_that_could_not_be_filled_is_absent_and_nothing_is_left_behind() {
    let server = Server::with(&[("RUNNER_ALLOWED_VOLUME_TYPES", "nfs")]);
    let name = name("failed");
    for (request, status) in [
        (json!({"name": name, "content": "bm90IGEgdGFy"}), 422),
        (json!({"name": name, "content": "***"}), 422),
        (json!({"name": name, "driver": "no-such-driver"}), 422),
        (
            json!({"name": name, "driver": "no-such-driver", "files": {"a": "A"}}),
            422,
        ),
        (
            json!({"name": name, "driver_opts": {"no-such": "option"}, "files": {"a": "A"}}),
            422,
        ),
        // The engine's host cannot mount it.
        (
            json!({"name": name, "files": {"a": "A"},
                   "driver_opts": {"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1,no-such-option"}}),
            502,
        ),
    ] {
        let answer = server.post("/volume", &request);
        assert_eq!(answer.status, status, "{request}: {}", answer.json());
        assert!(!exists(&name), "{request}");
    }
    server.stop();
}

#[test]
fn driver_options_do_not_reach_the_host() {
    let server = Server::start();
    let name = name("host");
    for options in [
        json!({"type": "none", "o": "bind", "device": "/"}),
        json!({"o": "rbind", "device": "/etc"}),
        json!({"type": "tmpfs", "o": "bind", "device": "/etc"}),
        json!({"type": "ext4", "device": "/dev/sda1"}),
        json!({"type": "overlay", "device": "overlay", "o": "lowerdir=/etc,upperdir=/tmp/u,workdir=/tmp/w"}),
        json!({"type": "proc", "device": "proc"}),
        json!({"type": "none", "o": "size=1,bind", "device": "/tmp/../etc"}),
    ] {
        let answer = server.post(
            "/volume",
            &json!({"name": name, "driver_opts": options, "files": {"a": "A"}}),
        );
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &json!("host_path_not_allowed")),
            "{options}"
        );
        assert!(!exists(&name));
    }
    server.stop();
    let open = Server::with(&[("RUNNER_ALLOWED_HOST_PATHS", "/tmp")]);
    let options = json!({"type": "none", "o": "bind", "device": "/tmp"});
    assert_eq!(
        open.post("/volume", &json!({"name": name, "driver_opts": options}))
            .status,
        200
    );
    assert_eq!(
        open.request("DELETE", &format!("/volume/{name}"), "")
            .status,
        204
    );
    open.stop();
}

#[test]
fn a_volume_name_that_the_engine_does_not_take_is_a_422_wherever_it_comes_in() {
    let server = Server::start();
    for name in ["v", "_v", "a%20b"] {
        let path = format!("/volume/{name}");
        let mount = json!({"/v": {"type": "volume", "name": name}});
        for (answer, place) in [
            (
                server.post("/volume", &json!({"name": name})),
                "body.name: ",
            ),
            (server.get(&path), "path.name: "),
            (server.ask(&Request::new("DELETE", &path)), "path.name: "),
            (
                server.post("/run", &shell("true", json!({"volumes": mount}))),
                "body.volumes./v.name: ",
            ),
        ] {
            let problem = answer.json();
            assert_eq!(answer.status, 422, "{name}: {problem}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(place), "{detail}");
            assert!(detail.contains("2 to 255 letters"), "{detail}");
        }
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_wrong_volume_request_is_answered_with_every_fault() {
    let server = Server::start();
    for (request, places) in [
        (json!({}), vec!["body.name"]),
        (json!({"name": "/etc"}), vec!["body.name"]),
        (json!({"name": "v"}), vec!["body.name"]),
        (
            json!({"name": "a:b", "colour": 1, "driver": 5}),
            vec!["body.name", "body.colour", "body.driver"],
        ),
        (
            json!({"name": "vol", "content": "", "files": {}}),
            vec!["body.files"],
        ),
        (
            json!({"name": "vol", "files": {"../x": "1", "/y": "2"}}),
            vec!["body.files.../x", "body.files./y"],
        ),
        (
            json!({"name": "vol", "strip_components": -1}),
            vec!["body.strip_components"],
        ),
        (
            json!({"name": "vol", "labels": {"oneoff.volume": "x"}}),
            vec!["body.labels.oneoff.volume"],
        ),
    ] {
        let answer = server.post("/volume", &request);
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{request}: {problem}");
        let found: Vec<String> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| {
                fault["loc"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|part| part.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(".")
            })
            .collect();
        for place in places {
            assert!(
                found.iter().any(|found| found == place),
                "{place} is missing in {found:?}"
            );
        }
    }
    for name in ["%2Fetc", "a%3Ab", ".hidden", "a%2F..%2Fb"] {
        let answer = server.get(&format!("/volume/{name}"));
        assert!(
            matches!(answer.status, 404 | 422),
            "{name}: {}",
            answer.status
        );
    }
    server.stop();
}

#[test]
fn a_run_mounts_volumes_of_others_only_if_the_settings_name_them() {
    let (theirs, ours, internal) = (name("theirs"), name("ours"), name("internal"));
    docker(&["volume", "create", &theirs]);
    docker(&[
        "volume",
        "create",
        "--label",
        "oneoff.instance=x",
        &internal,
    ]);
    let mount = |name: &str| {
        let volumes = json!({"/v": {"type": "volume", "name": name}});
        shell("touch /v/x && ls /v", json!({"volumes": volumes}))
    };
    let server = Server::start();
    let made = server.post("/volume", &json!({"name": ours}));
    assert_eq!(made.status, 200);
    assert_eq!(server.run(mount(&ours))["stdout"], "x\n");
    for name in [&theirs, &internal] {
        let refused = server.post("/run", &mount(name));
        assert_eq!(refused.status, 403, "{name}: {}", refused.json());
    }
    let absent = server.post("/run", &mount("volumes-absent"));
    assert_eq!(absent.status, 404);
    server.stop();

    let open = Server::with(&[("RUNNER_ALLOWED_VOLUMES", "volumes-*")]);
    assert_eq!(open.run(mount(&theirs))["stdout"], "x\n");
    assert_eq!(open.run(mount(&ours))["stdout"], "x\n");
    // What the service keeps for runs is nobody's, whatever its name.
    assert_eq!(open.post("/run", &mount(&internal)).status, 403);
    open.await_nothing_left();
    let path = format!("/volume/{ours}");
    assert_eq!(open.request("DELETE", &path, "").status, 204);
    docker(&["volume", "rm", &theirs, &internal]);
    open.stop();
}

#[test]
fn network_file_systems_are_mounted_only_if_the_settings_name_their_type() {
    let name = name("network");
    let request = |kind: &str| {
        let options = json!({"type": kind, "o": "addr=127.0.0.1", "device": ":/x"});
        json!({"name": name, "driver_opts": options})
    };
    let server = Server::start();
    for kind in ["nfs", "nfs4", "cifs", "smb3", "NFS", "fuse.sshfs"] {
        let answer = server.post("/volume", &request(kind));
        assert_eq!(answer.status, 403, "{kind}: {}", answer.json());
    }
    assert!(!exists(&name));
    server.stop();

    let open = Server::with(&[("RUNNER_ALLOWED_VOLUME_TYPES", "nfs")]);
    let refused = open.post("/volume", &request("cifs"));
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (403, &json!("volume_type_not_allowed"))
    );
    assert_eq!(open.post("/volume", &request("nfs")).status, 200);
    let path = format!("/volume/{name}");
    assert_eq!(open.request("DELETE", &path, "").status, 204);
    open.stop();
}

#[test]
fn content_for_a_volume_that_keeps_nothing_is_refused() {
    let server = Server::start();
    let name = name("memory");
    let options = json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"});
    let content = tar_gz(&[("x", b"1")], "x");
    for (field, value) in [("files", json!({"a": "A"})), ("content", json!(content))] {
        let request = json!({"name": name, "driver_opts": options, field: value});
        let answer = server.post("/volume", &request);
        assert_eq!(answer.status, 422, "{field}");
        assert_eq!(answer.json()["errors"][0]["loc"], json!(["body", field]));
        assert!(!exists(&name), "{field}");
    }
    let empty = json!({"name": name, "driver_opts": options});
    assert_eq!(server.post("/volume", &empty).status, 200);
    // Without its options too.
    let answer = server.post("/volume", &json!({"name": name, "files": {"a": "A"}}));
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["errors"][0]["loc"], json!(["body", "files"]));
    let path = format!("/volume/{name}");
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.stop();
}

#[test]
fn a_volume_that_is_not_as_asked_for_is_a_409_that_names_what_differs() {
    let server = Server::start();
    let name = name("differs");
    let original = json!({"name": name, "files": {"f": "1"}, "labels": {"a": "1"}});
    assert_eq!(server.post("/volume", &original).status, 200);
    for (change, difference) in [
        (json!({"driver": "another"}), "driver"),
        (
            json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "secret"}}),
            "driver_opts.device, driver_opts.o, driver_opts.type",
        ),
        (json!({"labels": {"a": "secret"}}), "labels.a"),
        (json!({"labels": {"a": "1", "b": "secret"}}), "labels.b"),
        (json!({"labels": {}}), "labels.a"),
    ] {
        let mut request = json!({"name": name});
        let change = change.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(change);
        let answer = server.post("/volume", &request);
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str()), (409, "volume_differs"), "{detail}");
        assert!(
            detail.ends_with(&format!("differs from the request in {difference}")),
            "{detail}"
        );
        assert!(!detail.contains("secret"), "{detail}");
    }
    for same in [
        json!({"name": name, "files": {"f": "2"}, "labels": {"a": "1"}}),
        json!({"name": name, "files": {"f": "3"}, "driver": "local", "driver_opts": {}}),
        json!({"name": name, "files": {"f": "4"}}),
    ] {
        assert_eq!(server.post("/volume", &same).status, 200, "{same}");
    }
    let path = format!("/volume/{name}");
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.stop();
}
