//! Mounts inside mounts: their mount points, what is returned of the directory around them, and what cannot be returned.

use super::named_users::Image;
use super::run::shell;
use super::support::{Server, docker, tar_gz, untar};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

fn name(what: &str) -> String {
    format!("nested-{what}-{}", std::process::id())
}

fn names_in(volume: &Value) -> Vec<String> {
    let content = volume["content"]
        .as_str()
        .unwrap_or_else(|| panic!("{volume}"));
    untar(content).into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_mount_inside_a_read_only_directory_has_its_mount_point() {
    let server = Server::start();
    let archive = tar_gz(&[("own/a", b"A")], "own");
    let text = |text: &str| json!({"type": "file", "text": text});
    let named = name("inside-ro");
    assert_eq!(
        server
            .post("/volume", &json!({"name": named, "files": {"v": "V"}}))
            .status,
        200
    );
    for (case, volumes, more, script, expected) in [
        (
            "a file",
            json!({"/d:ro": {"type": "directory"}, "/d/f": text("F")}),
            json!({}),
            "cat /d/f",
            "F",
        ),
        (
            "a file below new directories",
            json!({"/d:ro": {"type": "directory", "content": archive}, "/d/x/y/f:ro": text("F")}),
            json!({}),
            "cat /d/x/y/f /d/own/a",
            "FA",
        ),
        (
            "a directory, which can be written to",
            json!({"/d:ro": {"type": "directory", "content": archive}, "/d/own": {"type": "directory", "files": {"b": "B"}}}),
            json!({}),
            "echo x > /d/own/new && ls /d/own",
            "b\nnew\n",
        ),
        (
            "nested twice",
            json!({"/d:ro": {"type": "directory"}, "/d/e:ro": {"type": "directory"}, "/d/e/g/f": text("F")}),
            json!({}),
            "cat /d/e/g/f",
            "F",
        ),
        (
            "a named volume",
            json!({"/d:ro": {"type": "directory"}, "/d/v": {"type": "volume", "name": named}}),
            json!({}),
            "cat /d/v/v",
            "V",
        ),
        (
            "a tmpfs",
            json!({"/d:ro": {"type": "directory", "files": {"a": "A"}}}),
            json!({"tmpfs": ["/d/t/u"]}),
            "echo x > /d/t/u/x && cat /d/a /d/t/u/x",
            "Ax\n",
        ),
        (
            "the engine's own files",
            json!({"/etc:ro": {"type": "directory", "files": {"mine": "M"}}}),
            json!({}),
            "ls /etc",
            "hostname\nhosts\nmine\nresolv.conf\n",
        ),
    ] {
        let mut request = shell(script, json!({"volumes": volumes}));
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let result = server.run(request);
        assert_eq!(result["stdout"], expected, "{case}: {result}");
        assert_eq!(result["exit_code"], 0, "{case}: {result}");
    }
    server.await_nothing_left();
    let path = format!("/volume/{named}");
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.stop();
}

#[test]
fn a_returned_directory_does_not_have_the_mount_points_of_what_was_mounted_in_it() {
    let server = Server::start();
    let named = name("inside");
    assert_eq!(server.post("/volume", &json!({"name": named})).status, 200);
    for access in ["", ":ro"] {
        let volumes = json!({
            format!("/d{access}"): {"type": "directory", "files": {"sub/kept": "K", "hidden": "old"}, "response": true},
            "/d/file": {"type": "file", "text": "F"},
            "/d/deep/er/file": {"type": "file", "text": "F", "response": true},
            "/d/sub/file": {"type": "file", "text": "F"},
            "/d/hidden": {"type": "file", "text": "new"},
            "/d/dir": {"type": "directory", "response": true},
            "/d/dir/in": {"type": "file", "text": "F"},
            "/d/named": {"type": "volume", "name": named, "response": true},
            "/d/named/file": {"type": "file", "text": "F"},
            "/d/named/sub/dir": {"type": "directory"},
        });
        let script = "for d in /d/dir /d/named /d/tmp; do echo x > $d/made; done; echo y > /d/deep/er/file; cat /d/hidden";
        let result = server.run(shell(
            script,
            json!({"volumes": volumes, "tmpfs": {"/d/tmp": ""}}),
        ));
        assert_eq!(result["stdout"], "new", "{result}");
        let volumes = &result["volumes"];
        assert_eq!(
            names_in(&volumes["/d"]),
            ["hidden", "sub", "sub/kept"],
            "{access}"
        );
        assert_eq!(names_in(&volumes["/d/dir"]), ["made"]);
        assert_eq!(names_in(&volumes["/d/named"]), ["made"]);
        assert_eq!(volumes["/d/deep/er/file"]["content"], "eQo=");
    }
    // What the run itself leaves beside a mount point, in a directory that is there for it alone.
    let volumes = json!({
        "/d": {"type": "directory", "response": true},
        "/d/a/b/file": {"type": "file", "text": "F"},
        "/etc": {"type": "directory", "response": true},
    });
    let script = "touch /d/a/empty; mkdir /d/a/b/c; touch /etc/mine";
    let result = server.run(shell(script, json!({"volumes": volumes, "user": "1000"})));
    assert_eq!(
        names_in(&result["volumes"]["/d"]),
        ["a", "a/b", "a/b/c", "a/empty"],
        "{result}"
    );
    assert_eq!(names_in(&result["volumes"]["/etc"]), ["mine"]);
    server.await_nothing_left();
    let path = format!("/volume/{named}");
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.stop();
}

#[test]
fn content_of_another_type_where_something_is_mounted_is_refused() {
    let server = Server::start();
    let file = || json!({"type": "file", "text": "F"});
    let directory = || json!({"type": "directory"});
    let archive =
        json!({"type": "directory", "content": tar_gz(&[("a", b"A"), ("s/b", b"B")], "a s")});
    let files = json!({"type": "directory", "files": {"a": "A", "s/b": "B"}});
    let mut cases = vec![
        (
            json!({"/f": file(), "/f/x": file()}),
            json!({}),
            json!(["body", "volumes", "/f/x"]),
        ),
        (
            json!({"/f:ro": file(), "/f/x/y": directory()}),
            json!({}),
            json!(["body", "volumes", "/f/x/y"]),
        ),
        (
            json!({"/f": file(), "/f/x": {"type": "file", "response": true}}),
            json!({}),
            json!(["body", "volumes", "/f/x"]),
        ),
        (
            json!({"/f": file()}),
            json!({"tmpfs": ["/f/t"]}),
            json!(["body", "tmpfs", "/f/t"]),
        ),
    ];
    for (content, field) in [(&archive, Some("content")), (&files, None)] {
        for (key, inside) in [
            ("/d/a", directory()),
            ("/d/a/x", file()),
            ("/d/s", file()),
            ("/d/s/b/c", directory()),
        ] {
            for access in ["", ":ro"] {
                let outer = format!("/d{access}");
                let mut loc = json!(["body", "volumes", outer]);
                loc.as_array_mut()
                    .unwrap()
                    .extend(field.map(|field| json!(field)));
                cases.push((json!({outer: content, key: inside}), json!({}), loc));
            }
        }
    }
    for (volumes, more, loc) in cases {
        let mut request = shell("true", json!({"volumes": volumes}));
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = server.post("/run", &request);
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{volumes}: {problem}");
        assert_eq!(problem["errors"][0]["loc"], loc, "{volumes}: {problem}");
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn what_is_gone_with_the_container_cannot_be_collected() {
    let server = Server::start();
    let collected = || json!({"type": "file", "response": true});
    for (volumes, tmpfs, places) in [
        (json!({"/t/x": collected()}), json!(["/t"]), vec!["/t/x"]),
        (
            json!({"/t": collected()}),
            json!({"/t": "size=1m"}),
            vec!["/t"],
        ),
        (
            json!({"//t/./a/b": collected(), "/u": collected()}),
            json!({"/t/": ""}),
            vec!["//t/./a/b"],
        ),
        (
            json!({"/d": {"type": "directory"}, "/d/t/x": collected()}),
            json!(["/d/t"]),
            vec!["/d/t/x"],
        ),
        (
            json!({"/t/x": collected(), "/t/y/z": collected()}),
            json!(["/t:size=1m"]),
            vec!["/t/x", "/t/y/z"],
        ),
    ] {
        let request = shell("true", json!({"volumes": volumes, "tmpfs": tmpfs}));
        let answer = server.post("/run", &request);
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{volumes}: {problem}");
        let faults = problem["errors"].as_array().unwrap();
        assert_eq!(faults.len(), places.len(), "{problem}");
        for (fault, place) in faults.iter().zip(places) {
            assert_eq!(fault["loc"], json!(["body", "volumes", place]));
            assert!(
                fault["msg"].as_str().unwrap().contains("tmpfs./"),
                "{problem}"
            );
        }
    }
    for path in ["/dev/shm/x", "/dev/x", "/proc/version", "/sys/x"] {
        let answer = server.post(
            "/run",
            &shell("true", json!({"volumes": {path: collected()}})),
        );
        assert_eq!(answer.status, 422, "{path}: {}", answer.json());
    }
    // A directory inside a tmpfs stays.
    let volumes = json!({"/t/d": {"type": "directory", "response": true}, "/t/d/x": collected()});
    let result = server.run(shell(
        "echo x > /t/d/x",
        json!({"volumes": volumes, "tmpfs": ["/t"]}),
    ));
    assert_eq!(names_in(&result["volumes"]["/t/d"]), ["x"], "{result}");
    assert_eq!(result["volumes"]["/t/d/x"]["content"], "eAo=", "{result}");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_named_volume_in_memory_cannot_be_collected() {
    let server = Server::start();
    let name = name("memory");
    let options = json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"});
    let request = json!({"name": name, "driver_opts": options});
    assert_eq!(server.post("/volume", &request).status, 200);
    let mount = |response: bool| json!({"type": "volume", "name": name, "response": response});
    let collected = json!({"type": "file", "response": true});
    for (volumes, place) in [
        (json!({"/v": mount(true)}), "/v"),
        (json!({"/v:ro": mount(true)}), "/v:ro"),
        (json!({"/v": mount(false), "/v/a/x": collected}), "/v/a/x"),
    ] {
        let answer = server.post("/run", &shell("echo x > /v/x", json!({"volumes": volumes})));
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{volumes}: {problem}");
        let fault = &problem["errors"][0];
        assert_eq!(fault["loc"], json!(["body", "volumes", place]), "{problem}");
        assert!(fault["msg"].as_str().unwrap().contains(&name), "{problem}");
    }
    let script = "echo x > /v/x && cat /v/x";
    let result = server.run(shell(
        script,
        json!({"volumes": {"/v": mount(false)}, "user": "1000"}),
    ));
    assert_eq!(result["stdout"], "x\n", "{result}");
    server.await_nothing_left();
    let path = format!("/volume/{name}");
    assert_eq!(server.request("DELETE", &path, "").status, 204);
    server.stop();
}

#[test]
fn a_file_behind_a_link_into_what_is_gone_is_reported_and_never_read_from_the_image() {
    let image = Image::new("links", |root| {
        std::fs::create_dir_all(root.join("run")).unwrap();
        std::fs::create_dir_all(root.join("var/sub")).unwrap();
        for stale in ["run/file", "var/sub/file"] {
            std::fs::write(root.join(stale), "the image's").unwrap();
        }
        symlink("/run", root.join("var/run")).unwrap();
        symlink("../var/run", root.join("var/again")).unwrap();
        symlink("/dev/shm", root.join("shared")).unwrap();
        symlink("sub", root.join("var/fine")).unwrap();
    });
    let server = Server::start();
    let collected = json!({"type": "file", "response": true});
    let result = server.run(json!({
        "image": image.0, "pull_policy": "never", "network": "none", "user": "0", "tmpfs": ["/run"],
        "command": ["sh", "-c", "for f in /var/run/file /var/again/new /shared/file /var/fine/file; do echo x > $f; done"],
        "volumes": {
            "/var/run/file": collected, "/var/again/new": collected, "/shared/file": collected, "/var/fine/file": collected,
        },
    }));
    for (key, place) in [
        ("/var/run/file", "/run"),
        ("/var/again/new", "/run"),
        ("/shared/file", "/dev"),
    ] {
        let volume = &result["volumes"][key];
        assert_eq!(volume["content"], json!(null), "{result}");
        let detail = volume["detail"]
            .as_str()
            .unwrap_or_else(|| panic!("{key}: {result}"));
        assert!(
            detail.contains(&format!("below {place}, whose content is gone")),
            "{detail}"
        );
        assert!(result["warnings"].to_string().contains(key), "{result}");
    }
    assert_eq!(
        result["volumes"]["/var/fine/file"]["content"], "eAo=",
        "{result}"
    );
    // A link that the run makes.
    let script = "rmdir /o && ln -s /run /o && echo x > /o/file";
    let volumes = json!({"/o/file": collected});
    let result = server.run(shell(
        script,
        json!({"volumes": volumes, "tmpfs": ["/run"]}),
    ));
    assert_eq!(
        result["volumes"]["/o/file"]["content"],
        json!(null),
        "{result}"
    );
    assert!(
        result["volumes"]["/o/file"]["detail"].is_string(),
        "{result}"
    );
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_empty_named_volume_neither_shows_nor_keeps_what_the_image_has_there() {
    let (ours, theirs, tmpfs) = (name("ours"), name("theirs"), name("tmpfs"));
    let server = Server::with(&[("RUNNER_ALLOWED_VOLUMES", "nested-*")]);
    assert_eq!(server.post("/volume", &json!({"name": ours})).status, 200);
    docker(&["volume", "create", &theirs]);
    let options = json!({"type": "tmpfs", "device": "tmpfs"});
    assert_eq!(
        server
            .post("/volume", &json!({"name": tmpfs, "driver_opts": options}))
            .status,
        200
    );
    for path in ["/app/data", "/declared", "/absent"] {
        for name in [&ours, &theirs, &tmpfs] {
            for access in ["", ":ro", ":rw"] {
                let result = server.run(json!({
                    "image": "oneoff-test:content", "pull_policy": "never", "network": "none",
                    "command": ["sh", "-c", format!("ls -A {path}")],
                    "volumes": {format!("{path}{access}"): {"type": "volume", "name": name}},
                }));
                assert_eq!(result["stdout"], "", "{path}{access} {name}: {result}");
            }
        }
    }
    server.await_nothing_left();
    for name in [&ours, &tmpfs] {
        let path = format!("/volume/{name}");
        assert_eq!(
            names_in(&server.get(&path).json()),
            Vec::<String>::new(),
            "{name}"
        );
        assert_eq!(server.request("DELETE", &path, "").status, 204);
    }
    docker(&["volume", "rm", &theirs]);
    server.stop();
}

#[test]
fn a_volume_that_the_image_declares_inside_a_mount_has_its_place_and_leaves_no_trace() {
    let tag = format!("oneoff-declared:{}", std::process::id());
    let container = docker(&["create", super::support::IMAGE, "x"]);
    let change = "VOLUME [\"/outer/inner\"]";
    docker(&["commit", "-c", change, &container, &tag]);
    docker(&["rm", &container]);
    let server = Server::start();
    for access in ["", ":ro"] {
        let result = server.run(json!({
            "image": tag, "pull_policy": "never", "network": "none",
            "command": ["sh", "-c", "echo x > /outer/inner/made && cat /outer/a"],
            "volumes": {format!("/outer{access}"): {"type": "directory", "files": {"a": "A"}, "response": true}},
        }));
        assert_eq!(result["stdout"], "A", "{access}: {result}");
        assert_eq!(names_in(&result["volumes"]["/outer"]), ["a"], "{access}");
    }
    server.await_nothing_left();
    server.stop();
    docker(&["rmi", "-f", &tag]);
}
