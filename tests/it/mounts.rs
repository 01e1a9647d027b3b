//! `volumes` of a run: files and directories in and out. To the container they look like bind mounts.

use super::run::shell;
use super::support::{Entry, IMAGE, Server, docker, tar_gz, untar};
use serde_json::{Value, json};

fn file(name: &str, content: &str) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(content.as_bytes().to_vec()))
}

fn files_of(content: &Value) -> Vec<(String, Option<Vec<u8>>)> {
    let entries = untar(content.as_str().expect("content"));
    entries
        .into_iter()
        .filter(|entry| entry.content.is_some())
        .map(|entry| (entry.name, entry.content))
        .collect()
}

#[test]
fn the_quick_starts_volumes_request_works_as_written() {
    let server = Server::start();
    let data = tar_gz(&[("data/seed.txt", b"seed\n")], "data");
    let result = server.run(json!({
        "image": "alpine:latest", "pull_policy": "never", "command": ["/test.sh"],
        "volumes": {
            "/app/data": {"content": data, "response": true, "type": "directory"},
            "/test.sh:ro": {
                "mode": "0755", "type": "file",
                "content": "IyEvYmluL2FzaAoKZWNobyAiSGVsbG8sIFdvcmxkISIgPiAvYXBwL2RhdGEvdGVzdC50eHQ=",
            },
        },
    }));
    assert_eq!(result["status"], "success", "{result}");
    let volume = &result["volumes"]["/app/data"];
    assert_eq!(volume["type"], "directory");
    assert_eq!(
        files_of(&volume["content"]),
        [
            file("data/seed.txt", "seed\n"),
            file("test.txt", "Hello, World!\n")
        ]
    );
    server.stop();
}

#[test]
fn returned_content_can_be_posted_again() {
    let server = Server::start();
    let append = |content: serde_json::Value| {
        let result = server.run(shell(
            "echo line >> /d/log; mkdir -p /d/sub; ln -sf ../log /d/sub/link; chmod 750 /d/sub",
            json!({"volumes": {"/d": {"type": "directory", "content": content, "response": true}}}),
        ));
        result["volumes"]["/d"]["content"].clone()
    };
    let first = append(json!(tar_gz(&[], ".")));
    let third = append(append(first));
    let entries = untar(third.as_str().unwrap());
    assert_eq!(
        entries[0],
        Entry {
            name: "log".into(),
            mode: 0o644,
            content: Some(b"line\n".repeat(3))
        }
    );
    assert_eq!((entries[1].name.as_str(), entries[1].mode), ("sub", 0o750));
    assert_eq!(entries[2].name, "sub/link");
    server.stop();
}

#[test]
fn a_mount_hides_the_images_content_at_its_path() {
    let server = Server::start();
    let result = server.run(json!({
        "image": "oneoff-test:content", "pull_policy": "never", "network": "none",
        "command": ["sh", "-c", "ls -A /app/data; ls -A /declared"],
        "volumes": {"/app/data": {"type": "directory", "files": {"mine.txt": "x"}}, "/declared": {"type": "directory"}},
    }));
    assert_eq!(result["stdout"], "mine.txt\n", "{result}");
    server.stop();
}

#[test]
fn read_only_mounts_refuse_writes_with_erofs_and_are_still_returned() {
    let server = Server::start();
    let script = "exec 2>&1; echo x > /f; echo x > /d/new; rm /d/a; true";
    let result = server.run(shell(
        script,
        json!({"volumes": {
            "/f:ro": {"type": "file", "text": "file", "response": true},
            "/d:ro": {"type": "directory", "files": {"a": "A"}, "response": true},
        }}),
    ));
    assert_eq!(
        result["stdout"]
            .as_str()
            .unwrap()
            .matches("Read-only file system")
            .count(),
        3,
        "{result}"
    );
    assert_eq!(result["volumes"]["/f"]["content"], "ZmlsZQ==");
    assert_eq!(
        files_of(&result["volumes"]["/d"]["content"]),
        [file("a", "A")]
    );
    server.stop();
}

#[test]
fn files_have_the_requested_mode_and_content_and_their_changes_are_returned() {
    let server = Server::start();
    let result = server.run(shell(
        "stat -c '%a %s' /a /b; cat /a; echo changed > /b",
        json!({"volumes": {
            "/a": {"type": "file", "content": "aGVs\nbG8=\n", "mode": "0600"},
            "/b:rw": {"type": "file", "text": "grüße", "response": true},
        }}),
    ));
    assert_eq!(result["stdout"], "600 5\n644 7\nhello");
    assert_eq!(
        result["volumes"]["/b"],
        json!({"type": "file", "content": "Y2hhbmdlZAo="})
    );
    assert!(result["volumes"].get("/a").is_none(), "not asked back");
    server.stop();
}

#[test]
fn users_other_than_root_can_read_every_input_and_write_every_writable_mount() {
    let server = Server::start();
    let script = "cat /f /d/sub/a; echo x > /f; echo x > /d/new; echo x > /d/sub/a; echo x >> /out/deep/result; id -u";
    for (image, user) in [
        ("oneoff-test:nonroot", None),
        ("oneoff-test:named-user", None),
        (IMAGE, Some("app")),
        (IMAGE, Some("1000:1000")),
        (IMAGE, Some("4321")),
    ] {
        let mut request = json!({
            "image": image, "pull_policy": "never", "network": "none", "command": ["sh", "-e", "-c", script],
            "volumes": {
                "/f": {"type": "file", "text": "1", "response": true},
                "/d": {"type": "directory", "files": {"sub/a": "2"}, "response": true},
                "/out/deep/result": {"type": "file", "response": true},
            },
        });
        if let Some(user) = user {
            request["user"] = json!(user);
        }
        let result = server.run(request);
        assert_eq!(result["exit_code"], 0, "{image} {user:?}: {result}");
        assert_eq!(result["volumes"]["/f"]["content"], "eAo=", "{result}");
        assert_eq!(
            result["volumes"]["/out/deep/result"]["content"], "eAo=",
            "{result}"
        );
        assert_eq!(
            files_of(&result["volumes"]["/d"]["content"]),
            [file("new", "x\n"), file("sub/a", "x\n")]
        );
    }
    server.stop();
}

#[test]
fn from_api_1_45_on_no_path_of_the_engines_host_is_mounted() {
    let server = Server::start();
    let pending = server.begin_run(&shell(
        "sleep 60",
        json!({"volumes": {
            "/f:ro": {"type": "file", "text": "1"},
            "/d": {"type": "directory", "files": {"a": "2"}, "response": true},
        }}),
    ));
    let id = server.await_running();
    let inspected: Value = serde_json::from_str(&docker(&["inspect", &id])).unwrap();
    let version = docker(&["version", "--format", "{{.Server.APIVersion}}"]);
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    let kind = if minor >= 45 { "volume" } else { "bind" };
    let mounts = inspected[0]["Mounts"].as_array().unwrap();
    for path in ["/d", "/f"] {
        let mount = mounts.iter().find(|mount| mount["Destination"] == path);
        assert_eq!(mount.unwrap()["Type"], kind, "{path} {version} {mount:?}");
    }
    drop(pending);
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_output_that_does_not_exist_is_null() {
    let server = Server::start();
    let result = server.run(shell(
        "mkdir -p /made; ln -s /etc/passwd /link; mkdir /adir",
        json!({"volumes": {
            "/not/there": {"type": "file", "response": true},
            "/link": {"type": "file", "response": true},
            "/adir": {"type": "file", "response": true},
        }}),
    ));
    assert_eq!(
        result["volumes"],
        json!({"/not/there": null, "/link": null, "/adir": null})
    );
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("symbolic link") && warnings.contains("directory"),
        "{result}"
    );
    server.stop();
}

#[test]
fn an_output_over_the_limit_is_reported_and_never_truncated() {
    let server = Server::with(&[("RUNNER_MAX_COLLECT_BYTES", "1m")]);
    // A sparse file of one terabyte: it must not be read.
    let result = server.run(shell(
        "dd if=/dev/zero of=/d/big bs=1M seek=1048576 count=0; truncate -s 2M /f; echo ok > /small",
        json!({"volumes": {
            "/d": {"type": "directory", "response": true},
            "/f": {"type": "file", "response": true},
            "/small": {"type": "file", "response": true},
        }}),
    ));
    for key in ["/d", "/f"] {
        assert_eq!(result["volumes"][key]["content"], json!(null), "{result}");
        assert!(
            result["volumes"][key]["detail"]
                .as_str()
                .unwrap()
                .contains("1048576"),
            "{result}"
        );
    }
    assert_eq!(result["volumes"]["/small"]["content"], "b2sK");
    server.stop();
}

#[test]
fn unusual_names_and_links_in_an_archive_are_kept_in_both_directions() {
    let server = Server::start();
    let long = "n".repeat(200);
    let script = format!(
        "cd /d && ln -s ../../../outside up && ln -s /etc/passwd abs && ln a hard && printf x > '{long}' && printf x > 'new\nline' && mkfifo pipe"
    );
    let first = server.run(shell(
        &script,
        json!({"volumes": {"/d": {"type": "directory", "files": {"a": "A"}, "response": true}}}),
    ));
    assert!(
        first["warnings"].to_string().contains("pipe"),
        "what cannot travel is told: {first}"
    );
    let second = server.run(shell(
        "cd /d && readlink up && readlink abs && cat hard && ls | wc -l",
        json!({"volumes": {"/d": {"type": "directory", "content": first["volumes"]["/d"]["content"]}}}),
    ));
    assert_eq!(
        second["stdout"], "../../../outside\n/etc/passwd\nA6\n",
        "{second}"
    );
    server.stop();
}

#[test]
fn host_paths_are_refused_unless_the_server_allows_them() {
    let dir = std::env::temp_dir().join(format!("oneoff-host-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("inside")).unwrap();
    std::fs::write(dir.join("inside/file"), "from the host").unwrap();
    let path = dir.join("inside").display().to_string();
    let request = |host_path: &str| {
        shell(
            "cat /mnt/file",
            json!({"volumes": {"/mnt:ro": {"type": "host", "host_path": host_path}}}),
        )
    };
    let closed = Server::start();
    for host_path in [path.as_str(), "/", "/var/run/docker.sock"] {
        let answer = closed.post("/run", &request(host_path));
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &json!("host_path_not_allowed"))
        );
    }
    closed.stop();
    let open = Server::with(&[("RUNNER_ALLOWED_HOST_PATHS", &dir.display().to_string())]);
    assert_eq!(open.run(request(&path))["stdout"], "from the host");
    for host_path in ["/", "/etc", &format!("{}-beside", dir.display())] {
        assert_eq!(
            open.post("/run", &request(host_path)).status,
            403,
            "{host_path}"
        );
    }
    assert_eq!(
        open.post("/run", &request(&format!("{path}/../../../etc")))
            .status,
        422
    );
    open.stop();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn named_volumes_are_mounted_and_read_back_and_never_created_by_a_run() {
    let server = Server::with(&[("RUNNER_ALLOWED_VOLUMES", "mounts-*")]);
    let name = format!("mounts-named-{}", std::process::id());
    let request = |read_only: &str| {
        shell(
            "cat /v/kept 2>/dev/null; echo more >> /v/kept",
            json!({"volumes": {format!("/v{read_only}"): {"type": "volume", "name": name, "response": true}}}),
        )
    };
    let answer = server.post("/run", &request(""));
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (404, &json!("volume_not_found"))
    );
    assert_eq!(
        docker(&["volume", "ls", "-q", "--filter", &format!("name={name}")]),
        "",
        "nothing is left behind"
    );
    docker(&["volume", "create", &name]);
    server.run(request(""));
    let result = server.run(request(""));
    assert_eq!(result["stdout"], "more\n");
    assert_eq!(
        files_of(&result["volumes"]["/v"]["content"]),
        [file("kept", "more\nmore\n")]
    );
    let result = server.run(request(":ro"));
    assert_eq!(result["exit_code"], 1);
    server.await_nothing_left();
    docker(&["volume", "rm", &name]);
    server.stop();
}
