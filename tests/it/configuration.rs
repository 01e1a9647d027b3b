//! Configuration fails closed: a value that cannot be used stops the start, with the variable's name and the reason.

use super::support::{Directory, Request, ask};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

/// The server with these variables and this `.env`, and nothing else but a free port.
fn server(directory: &Directory, settings: &[(&str, &[u8])], file: Option<&str>) -> Command {
    if let Some(text) = file {
        std::fs::write(directory.path().join(".env"), text).unwrap();
    }
    let mut command = Command::new(crate::support::program());
    let temporary = directory.file("tmp");
    let _ = std::fs::create_dir(&temporary);
    command
        .env("PORT", "0")
        .env("RUST_LOG", "error")
        .env("TMPDIR", temporary)
        .env(
            "RUNNER_INSTANCE",
            format!("configuration-{}", std::process::id()),
        )
        .current_dir(directory.path());
    for (name, value) in settings {
        command.env(name, OsStr::from_bytes(value));
    }
    command
}

/// Starts it, which must fail. Returns what it says.
fn refusal(settings: &[(&str, &[u8])], file: Option<&str>) -> String {
    let directory = Directory::new("refused");
    let mut child = server(&directory, settings, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut banner = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut banner).unwrap();
    // If it has started in spite of its settings.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(banner, "", "it started with {settings:?} {file:?}");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that is killed at the end of a test, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_value_that_cannot_be_used_stops_the_start_and_is_not_repeated() {
    let cases: &[(&str, &[u8])] = &[
        ("AUTH_TOKEN", b"sec\xffret"),
        ("PORT", b"80\xff"),
        ("HOST", b"127.0.0.1\xff"),
        ("DOCKER_HOST", b"unix:///var/run/docker.sock\xff"),
        ("DOCKER_TLS_VERIFY", b"\xff"),
        ("RUST_LOG", b"info\xff"),
        ("RUNNER_INSTANCE", b"a\xff"),
        ("RUNNER_ALLOWED_IMAGES", b"alpine\xff"),
        ("RUNNER_MAX_MEMORY", b"1g\xff"),
        ("RUNNER_MAX_MEMORY", b"0"),
        ("RUNNER_DEFAULT_MEMORY", b"0"),
        ("RUNNER_MAX_PIDS_LIMIT", b"0"),
        ("RUNNER_DEFAULT_PIDS_LIMIT", b"0"),
        ("RUNNER_DEFAULT_PIDS_LIMIT", b"18446744073709551615"),
        ("AUTH_TOKEN", "sécret".as_bytes()),
        ("AUTH_TOKEN", b"sec\x07ret"),
        ("AUTH_TOKEN", b"sec\nret"),
        ("AUTH_TOKEN", b"  "),
        ("DOCKER_API_VERSION", b"1.12"),
        ("DOCKER_API_VERSION", b"9.99"),
        ("DOCKER_API_VERSION", b"newest"),
        ("RUNNER_ALLOWED_IMAGES", b"Alpine:*"),
        ("RUNNER_ALLOWED_VOLUME_TYPES", b"ext4"),
    ];
    for (name, value) in cases {
        let said = refusal(&[(name, value)], None);
        assert!(said.contains(name), "{name}: {said}");
        assert!(!said.contains("ret"), "{name}: {said}");
    }
}

#[test]
fn a_line_of_the_file_that_could_mean_something_else_stops_the_start() {
    for line in [
        "AUTH_TOKEN=#secret",
        "AUTH_TOKEN='secret",
        "AUTH_TOKEN=\"sec\\ret\"",
        "AUTH_TOKEN=sec ret",
        "AUTH_TOKEN=sec\nAUTH_TOKEN=ret",
    ] {
        let said = refusal(&[], Some(line));
        assert!(
            said.contains("AUTH_TOKEN") && said.contains(".env"),
            "{said}"
        );
        assert!(!said.contains("ret"), "{said}");
    }
    let said = refusal(&[], Some("what is this"));
    assert!(said.contains(".env: line 1"), "{said}");
}

#[test]
fn values_of_the_file_are_literal_and_an_empty_variable_does_not_hide_them() {
    for (line, token) in [
        ("AUTH_TOKEN=$ecret", "$ecret"),
        ("AUTH_TOKEN=pa$$w0rd", "pa$$w0rd"),
        ("AUTH_TOKEN=\"pa${NOPE}x\"", "pa${NOPE}x"),
        ("export AUTH_TOKEN='a b # c' # comment", "a b # c"),
    ] {
        let directory = Directory::new("literal");
        let mut started = server(&directory, &[("AUTH_TOKEN", b"")], Some(line));
        let mut child = Killed(started.stdout(Stdio::piped()).spawn().unwrap());
        let mut banner = String::new();
        let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
        stdout.read_line(&mut banner).unwrap();
        let address = banner.trim().rsplit_once("http://").unwrap().1;
        let status = |authorization: &str| {
            let fields = [("Authorization", authorization)];
            let request = Request::new("GET", "/nothing-here").fields(&fields);
            loop {
                match ask(address, &request).map(|answer| answer.status) {
                    Some(503) | None => {}
                    Some(status) => return status,
                }
            }
        };
        assert_eq!(status("Bearer "), 401, "{line}");
        assert_eq!(status(&format!("Bearer {token}")), 404, "{line}");
    }
}

#[test]
fn every_address_of_the_banner_can_be_opened_also_of_a_server_that_listens_on_all() {
    let directory = Directory::new("banner");
    let settings: [(&str, &[u8]); 2] = [("HOST", b"0.0.0.0"), ("AUTH_TOKEN", b"t")];
    let mut started = server(&directory, &settings, None);
    let mut child = Killed(started.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok).take(5) {
        assert!(line.contains("http://127.0.0.1:"), "{line}");
    }
}
