//! Users that a run names: which uid and gid its content gets, and that a failed lookup never makes it root's.

use super::support::{Directory, Fate, FaultProxy, IMAGE, Server, docker};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235::/:/bin/sh\n";

/// An image whose `/etc` has been changed. Dropping it removes the image.
pub struct Image(pub String);

impl Image {
    /// `change` gets a directory whose content is copied to the image's root.
    pub fn new(name: &str, change: impl Fn(&Path)) -> Self {
        let added = Directory::new("rootfs");
        std::fs::create_dir(added.path().join("etc")).unwrap();
        change(added.path());
        let tag = format!("oneoff-users-{}:{name}", std::process::id());
        let container = docker(&["create", IMAGE, "x"]);
        let source = format!("{}/.", added.path().display());
        docker(&["cp", &source, &format!("{container}:/")]);
        docker(&["commit", "-c", "USER app", &container, &tag]);
        docker(&["rm", &container]);
        Self(tag)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["rmi", "-f", &self.0]);
    }
}

/// Reads a file that only its owner may read.
fn read_secret(image: &Image) -> Value {
    json!({
        "image": image.0, "pull_policy": "never", "network": "none",
        "command": ["sh", "-c", "cat /in/secret; stat -c %u:%g /in/secret"],
        "volumes": {"/in/secret": {"type": "file", "text": "secret\n", "mode": "0600"}},
    })
}

#[test]
fn a_failed_lookup_of_a_user_fails_the_run_and_is_not_remembered() {
    let image = Image::new("plain", |root| {
        std::fs::write(root.join("etc/passwd"), ACCOUNTS).unwrap();
    });
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let proxy = FaultProxy::judging(move |head| {
        match head.contains("passwd") && failing.load(Ordering::SeqCst) {
            true => Fate::NeverAnswered,
            false => Fate::Pass,
        }
    });
    let server = Server::with(&[("DOCKER_HOST", &proxy.docker_host())]);
    let answer = server.post("/run", &read_secret(&image));
    assert!(
        [502, 503].contains(&answer.status),
        "{} {}",
        answer.status,
        answer.json()
    );
    fails.store(false, Ordering::SeqCst);
    let result = server.run(read_secret(&image));
    assert_eq!(result["stdout"], "secret\n1234:1235\n", "{result}");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn accounts_behind_symbolic_links_are_found_within_the_image() {
    let data = |root: &Path| {
        std::fs::create_dir_all(root.join("data/etc")).unwrap();
        for file in ["users", "etc/passwd"] {
            std::fs::write(root.join("data").join(file), ACCOUNTS).unwrap();
        }
    };
    let server = Server::start();
    // Kept until the runs are gone: Podman does not remove the image of a container that is being removed.
    let mut images = Vec::new();
    // The target of `/etc/passwd`, and links beside it.
    for (name, target, links) in [
        ("relative", "../data/users", vec![]),
        ("absolute", "/data/users", vec![]),
        ("beyond-the-root", "../../../../data/users", vec![]),
        ("twice", "/etc/again", vec![("again", "/data/users")]),
        (
            "behind-a-directory",
            "static/passwd",
            vec![("static", "../data/etc")],
        ),
        (
            "as-nixos-has-it",
            "/etc/static/passwd",
            vec![("static", "/data/etc")],
        ),
        (
            "chained",
            "/etc/static/passwd",
            vec![
                ("static", "one"),
                ("one", "../etc/two"),
                ("two", "/etc/three"),
                ("three", "../../data/etc"),
            ],
        ),
    ] {
        let image = Image::new(name, |root| {
            data(root);
            symlink(target, root.join("etc/passwd")).unwrap();
            for (link, target) in &links {
                symlink(target, root.join("etc").join(link)).unwrap();
            }
        });
        let result = server.run(read_secret(&image));
        assert_eq!(result["stdout"], "secret\n1234:1235\n", "{name}: {result}");
        images.push(image);
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn groups_behind_symbolic_links_are_found_within_the_image() {
    let image = Image::new("group", |root| {
        std::fs::write(root.join("etc/passwd"), ACCOUNTS).unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        std::fs::write(root.join("data/group"), "root:x:0:\nstaff:x:77:\n").unwrap();
        symlink("/data", root.join("etc/static")).unwrap();
        symlink("/etc/static/group", root.join("etc/group")).unwrap();
    });
    let server = Server::start();
    let mut request = read_secret(&image);
    request["user"] = json!("app:staff");
    let result = server.run(request);
    assert_eq!(result["stdout"], "secret\n1234:77\n", "{result}");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn accounts_that_cannot_be_read_are_the_images_fault() {
    let server = Server::start();
    for (name, target) in [
        ("circle", "passwd-too"),
        ("itself", "passwd"),
        ("directory", "/data"),
    ] {
        let image = Image::new(name, |root| {
            std::fs::create_dir(root.join("data")).unwrap();
            symlink(target, root.join("etc/passwd")).unwrap();
            symlink("passwd", root.join("etc/passwd-too")).unwrap();
        });
        let answer = server.post("/run", &read_secret(&image));
        let (status, code, detail) = answer.problem();
        assert_eq!(
            (status, code.as_str()),
            (422, "start_failed"),
            "{name}: {detail}"
        );
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn a_user_that_the_image_does_not_have_is_refused_in_the_engines_words() {
    let server = Server::start();
    let dangling = Image::new("dangling", |root| {
        symlink("/nowhere", root.join("etc/passwd")).unwrap();
    });
    let mut of_another_group = read_secret(&dangling);
    of_another_group["image"] = json!(IMAGE);
    of_another_group["user"] = json!("app:ghosts");
    for request in [read_secret(&dangling), of_another_group] {
        let answer = server.post("/run", &request);
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (422, &json!("start_failed")),
            "{problem}"
        );
        assert!(
            problem["detail"].to_string().contains("unable to find"),
            "{problem}"
        );
    }
    server.await_nothing_left();
    server.stop();
}
