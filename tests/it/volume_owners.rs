//! Owners of named volumes: who may read and write what `POST /volume` makes.

use super::run::shell;
use super::support::{Server, docker, tar_gz};
use serde_json::{Value, json};

fn name(what: &str) -> String {
    format!("owners-{what}-{}", std::process::id())
}

fn remove(server: &Server, name: &str) {
    let path = format!("/volume/{name}");
    assert_eq!(server.request("DELETE", &path, "").status, 204, "{name}");
}

/// Owner, mode and path of everything in a volume, as a container sees it.
fn listed(server: &Server, name: &str) -> String {
    let volumes = json!({"/v:ro": {"type": "volume", "name": name}});
    let script = "cd /v && find . | sort | xargs stat -c '%u:%g %a %n'";
    let result = server.run(shell(script, json!({"volumes": volumes})));
    result["stdout"].as_str().unwrap().to_owned()
}

/// A tar.gz with modes of its own, of which one directory is only part of a name.
fn archive() -> String {
    let script = "d=$(mktemp -d) && cd $d && mkdir -p sub implied && echo a >a && echo b >sub/b && echo c >implied/c \
        && chmod 0755 sub && chmod 0600 a && chmod 0644 sub/b implied/c \
        && tar czf - --owner=7 --group=8 a sub implied/c | base64 && rm -r $d";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn every_user_may_use_a_volume_unless_an_owner_was_asked_for() {
    let server = Server::start();
    let archive = archive();
    for (case, request, expected) in [
        ("empty", json!({}), "0:0 777 .\n"),
        (
            "files",
            json!({"files": {"sub/a": "A"}}),
            "0:0 777 .\n0:0 777 ./sub\n0:0 666 ./sub/a\n",
        ),
        (
            "archive",
            json!({"content": archive}),
            "0:0 777 .\n0:0 600 ./a\n0:0 777 ./implied\n0:0 644 ./implied/c\n0:0 755 ./sub\n0:0 644 ./sub/b\n",
        ),
        (
            "empty-owned",
            json!({"owner": "1000:50"}),
            "1000:50 755 .\n",
        ),
        (
            "files-owned",
            json!({"owner": "1000", "files": {"sub/a": "A"}}),
            "1000:0 755 .\n1000:0 755 ./sub\n1000:0 644 ./sub/a\n",
        ),
        (
            "archive-owned",
            json!({"owner": 1000, "content": archive}),
            "1000:0 755 .\n1000:0 600 ./a\n1000:0 755 ./implied\n1000:0 644 ./implied/c\n1000:0 755 ./sub\n1000:0 644 ./sub/b\n",
        ),
    ] {
        let name = name(case);
        let mut request: Value = request;
        request["name"] = json!(name);
        let answer = server.post("/volume", &request);
        assert_eq!(answer.status, 200, "{case}: {}", answer.json());
        assert_eq!(listed(&server, &name), expected, "{case}");
        // Read and posted again, it is the same.
        let read = server.get(&format!("/volume/{name}")).json();
        let again = server.post(
            "/volume",
            &json!({"name": name, "content": read["content"]}),
        );
        assert_eq!(again.status, 200, "{case}: {}", again.json());
        assert_eq!(listed(&server, &name), expected, "{case}, again");
        remove(&server, &name);
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_process_that_is_not_root_reads_and_writes_volumes_of_this_service() {
    let server = Server::start();
    for (case, owner, user) in [
        ("anyone", None, "4321:4321"),
        ("named", None, "app"),
        ("owner", Some("1000:1000"), "1000"),
    ] {
        for (kind, content) in [("empty", None), ("files", Some(json!({"sub/a": "2"})))] {
            let name = name(&format!("{case}-{kind}"));
            let mut request = json!({"name": name});
            let mut script = "echo 1 > /v/new".to_owned();
            if let Some(owner) = owner {
                request["owner"] = json!(owner);
            }
            if let Some(files) = content {
                request["files"] = files;
                script.push_str(" && cat /v/sub/a && echo 3 > /v/sub/a && echo 4 > /v/sub/b");
            }
            assert_eq!(
                server.post("/volume", &request).status,
                200,
                "{case} {kind}"
            );
            let volumes = json!({"/v": {"type": "volume", "name": name}});
            let result = server.run(shell(&script, json!({"user": user, "volumes": volumes})));
            assert_eq!(result["exit_code"], 0, "{case} {kind}: {result}");
            remove(&server, &name);
        }
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_existing_volume_keeps_its_owner_and_its_top_directory() {
    let server = Server::start();
    let (owned, open) = (name("kept"), name("open"));
    let make = |request: Value| {
        let answer = server.post("/volume", &request);
        (
            answer.status,
            answer.json()["detail"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    assert_eq!(make(json!({"name": owned, "owner": "1000:50"})).0, 200);
    assert_eq!(make(json!({"name": open})).0, 200);
    for (name, owner) in [
        (&owned, "1000"),
        (&owned, "1000:51"),
        (&owned, "0"),
        (&open, "0"),
        (&open, "1000:50"),
    ] {
        let (status, detail) = make(json!({"name": name, "owner": owner, "files": {"f": "F"}}));
        assert_eq!(status, 409, "{owner}");
        assert!(
            detail.ends_with("differs from the request in owner"),
            "{detail}"
        );
    }
    let volumes = json!({"/v": {"type": "volume", "name": owned}});
    server.run(shell("chmod 700 /v", json!({"volumes": volumes})));
    for (request, place) in [
        (json!({"owner": "1000:50", "files": {"f": "F"}}), "./f"),
        (json!({"files": {"g": "G"}}), "./g"),
        (json!({"content": tar_gz(&[("x/h", b"H")], "x")}), "./h"),
    ] {
        let mut request = request;
        request["name"] = json!(owned);
        assert_eq!(make(request).0, 200, "{place}");
        let listed = listed(&server, &owned);
        assert!(listed.starts_with("1000:50 700 .\n"), "{listed}");
        assert!(
            listed.contains(&format!("1000:50 644 {place}\n")),
            "{listed}"
        );
    }
    remove(&server, &owned);
    remove(&server, &open);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_owner_is_a_number_and_not_for_volumes_in_memory() {
    let server = Server::start();
    let name = name("wrong");
    let memory = json!({"type": "tmpfs", "device": "tmpfs"});
    for (owner, options) in [
        (json!("app"), json!({})),
        (json!("1000:staff"), json!({})),
        (json!(4_294_967_295_u64), json!({})),
        (json!(-1), json!({})),
        (json!(true), json!({})),
        (json!("1000"), memory),
    ] {
        let request = json!({"name": name, "owner": owner, "driver_opts": options});
        let answer = server.post("/volume", &request);
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{owner}: {problem}");
        assert_eq!(
            problem["errors"][0]["loc"],
            json!(["body", "owner"]),
            "{problem}"
        );
    }
    let exists = docker(&["volume", "ls", "-q", "--filter", &format!("name=^{name}$")]);
    assert_eq!(exists, "");
    server.stop();
}

#[test]
fn a_directory_of_the_host_keeps_its_owner_and_mode_unless_an_owner_is_asked_for() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = super::support::Directory::new("owned");
    let path = directory.path().display().to_string();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
    let top = || {
        let found = std::fs::metadata(directory.path()).unwrap();
        (found.uid(), found.mode() & 0o7777)
    };
    let server = Server::with(&[("RUNNER_ALLOWED_HOST_PATHS", &path)]);
    let name = name("host");
    let options = json!({"type": "none", "o": "bind", "device": path});
    for (more, expected) in [
        (json!({}), (0, 0o750)),
        (json!({"files": {"a": "A"}}), (0, 0o750)),
        (json!({"owner": "1000:1000"}), (1000, 0o755)),
    ] {
        let mut request = json!({"name": name, "driver_opts": options});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = server.post("/volume", &request);
        assert_eq!(answer.status, 200, "{more}: {}", answer.json());
        assert_eq!(top(), expected, "{more}");
        remove(&server, &name);
    }
    let mode = std::fs::metadata(directory.path().join("a"))
        .unwrap()
        .mode()
        & 0o7777;
    assert_eq!(mode, 0o644);
    server.await_nothing_left();
    server.stop();
}
