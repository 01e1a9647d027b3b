//! Host paths below a directory that runs may write to: no symbolic link that a run makes leads a mount out of it.

use super::run::shell;
use super::support::{Directory, Server, read_answer, untar};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;

/// A directory that the server allows, and a secret outside it.
struct Host {
    allowed: Directory,
    secret: Directory,
    server: Server,
}

impl Host {
    fn start() -> Self {
        let (allowed, secret) = (Directory::new("allowed"), Directory::new("secret"));
        for directory in [allowed.path(), secret.path()] {
            std::fs::create_dir(directory.join("sub")).unwrap();
            std::fs::write(directory.join("sub/file"), "outside").unwrap();
            std::fs::write(directory.join("file"), "outside").unwrap();
        }
        std::fs::write(allowed.path().join("sub/file"), "inside").unwrap();
        std::fs::write(allowed.path().join("file"), "inside").unwrap();
        let prefix = allowed.path().display().to_string();
        let server = Server::with(&[("RUNNER_ALLOWED_HOST_PATHS", &prefix)]);
        Self {
            allowed,
            secret,
            server,
        }
    }

    fn path(&self, below: &str) -> String {
        format!("{}{below}", self.allowed.path().display())
    }

    /// A run with the path at this key.
    fn request(&self, script: &str, key: &str, below: &str) -> Value {
        shell(
            script,
            json!({"volumes": {key: {"type": "host", "host_path": self.path(below)}}, "timeout_secs": 1000}),
        )
    }

    fn stop(self) {
        self.server.await_nothing_left();
        self.server.stop();
    }
}

fn replace_by_link(path: &Path, target: &Path) {
    std::fs::rename(path, path.with_extension("away")).unwrap();
    symlink(target, path).unwrap();
}

#[test]
fn a_host_path_inside_a_read_only_directory_of_the_request_has_its_place_made() {
    let host = Host::start();
    let (file, sub) = (host.path("/file"), host.path("/sub"));
    let mount = |path: &str| json!({"type": "host", "host_path": path});
    let whole = json!({
        "/d:ro": {"type": "directory", "files": {"a": "A", "x/b": "B"}, "response": true},
        "/d/x/new/file:ro": mount(&file),
        "/d/sub": mount(&sub),
        "/e:ro": {"type": "directory"},
        "/e/s:ro": {"type": "directory", "files": {"c": "C"}},
        "/e/s/sub:ro": mount(&sub),
    });
    let script =
        "cat /d/a /d/x/b /d/x/new/file /d/sub/file /e/s/c /e/s/sub/file; touch /d/n || echo sealed";
    let result = host.server.run(shell(script, json!({"volumes": whole})));
    assert_eq!(
        result["stdout"], "ABinsideinsideCinsidesealed\n",
        "{result}"
    );
    let entries = untar(result["volumes"]["/d"]["content"].as_str().unwrap());
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a", "x", "x/b"], "the places are not returned");
    // Something of another type is there already, or nothing is on the host.
    let target = host.secret.path().join("sub");
    symlink(target, host.allowed.path().join("link")).unwrap();
    let directory = |place: &str, path: &str| json!({"/d:ro": {"type": "directory", "files": {"a/b": "B"}}, place: mount(path)});
    for (expected, volumes, words) in [
        (422, directory("/d/a", &file), "`a` is a directory"),
        (422, directory("/d/a/b", &sub), "`a/b` is a file"),
        (422, directory("/d/n", &host.path("/none")), "/none"),
        (
            403,
            directory("/d/n", &host.path("/link")),
            "/link is a symbolic link",
        ),
        (
            403,
            directory("/d/a", &host.path("/link/file")),
            "/link is a symbolic link",
        ),
    ] {
        let answer = host
            .server
            .post("/run", &shell("true", json!({"volumes": volumes})));
        let (status, _, detail) = answer.problem();
        assert_eq!(status, expected, "{detail}");
        assert!(detail.contains(words), "{words}: {detail}");
    }
    host.stop();
}

#[test]
fn a_link_that_a_run_makes_is_not_followed_by_the_next_mount() {
    let host = Host::start();
    let secret = host.secret.path().display().to_string();
    let script = format!("ln -s {secret} /h/x; ln -s {secret}/file /h/y; ln -s sub /h/inner");
    let made = host.server.run(host.request(&script, "/h", ""));
    assert_eq!(made["exit_code"], 0, "{made}");
    for below in ["/x", "/x/sub", "/y", "/inner", "/inner/file"] {
        for key in ["/m", "/m:ro"] {
            let request = host.request("cat /m /m/file", key, below);
            let answer = host.server.post("/run", &request);
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["code"]),
                (403, &json!("host_path_not_allowed")),
                "{key} {below}: {problem}"
            );
            assert!(problem["detail"].to_string().contains("symbolic link"));
        }
    }
    // The engine resolves mounts again to collect files, which would be read through a link that the run made.
    let mut both = host.request("true", "/h", "");
    both["volumes"]["/s:ro"] = json!({"type": "host", "host_path": host.path("/sub")});
    both["volumes"]["/s/file"] = json!({"type": "file", "response": true});
    let answer = host.server.post("/run", &both);
    assert_eq!(answer.status, 403, "{}", answer.json());
    for (key, below, script) in [
        ("/m:ro", "/sub", "cat /m/file"),
        ("/m", "/sub", "cat /m/file; echo >/m/new"),
        ("/m:ro", "/sub/file", "cat /m"),
        ("/m", "/file", "cat /m"),
    ] {
        let result = host.server.run(host.request(script, key, below));
        assert_eq!(result["stdout"], "inside", "{key} {below}: {result}");
    }
    host.stop();
}

#[test]
fn nothing_is_mounted_below_a_directory_while_a_run_may_write_to_it() {
    let host = Host::start();
    let writer = host.server.begin_run(&host.request("sleep 600", "/h", ""));
    host.server.await_running();
    let below = host.request("cat /m/file", "/m:ro", "/sub");
    let refused = host.server.post("/run", &below);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("host_path_busy")),
        "{}",
        refused.json()
    );
    // The directory itself is where it was: nobody can replace it.
    let same = host.server.run(host.request("cat /m/file", "/m:ro", ""));
    assert_eq!(same["stdout"], "inside");
    drop(writer);
    host.server.await_nothing_left();
    assert_eq!(host.server.run(below)["stdout"], "inside");
    host.stop();
}

#[test]
fn a_run_that_may_write_above_waits_for_the_mounts_below() {
    let host = Host::start();
    let request = host.request("cat /m/file; sleep 2; touch /m/done", "/m", "/sub");
    let mut below = host.server.begin_run(&request);
    host.server.await_running();
    let link = format!(
        "ls /h/sub/done && rm -r /h/sub && ln -s {} /h/sub",
        host.secret.path().display()
    );
    let above = host.server.run(host.request(&link, "/h", ""));
    assert_eq!(above["exit_code"], 0, "{above}");
    let below = read_answer(&mut below).expect("it has ended by now");
    assert_eq!(below.json()["stdout"], "inside");
    host.stop();
}

#[test]
fn volumes_that_bind_host_paths_obey_the_same_rule() {
    let host = Host::start();
    let name = format!("bound-{}", std::process::id());
    let options = json!({"type": "none", "o": "bind", "device": host.path("/sub")});
    let create = json!({"name": name, "driver_opts": options, "files": {"made": "by us"}});
    assert_eq!(host.server.post("/volume", &create).status, 200);
    assert!(host.allowed.path().join("sub/made").exists());
    let read = shell(
        "cat /v/file",
        json!({"volumes": {"/v": {"type": "volume", "name": name}}}),
    );
    assert_eq!(host.server.run(read.clone())["stdout"], "inside");
    let volume = format!("/volume/{name}");
    replace_by_link(&host.allowed.path().join("sub"), host.secret.path());
    for answer in [
        host.server.post("/run", &read),
        host.server.get(&volume),
        host.server
            .post("/volume", &json!({"name": name, "files": {"again": ""}})),
    ] {
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (403, &json!("host_path_not_allowed")),
            "{problem}"
        );
    }
    assert!(!host.secret.path().join("again").exists());
    host.server.await_nothing_left();
    assert_eq!(host.server.request("DELETE", &volume, "").status, 204);
    let answer = host.server.post("/volume", &create);
    assert_eq!(answer.status, 403, "{}", answer.json());
    assert!(!host.secret.path().join("made").exists());
    host.stop();
}
