//! Requests that reach for the engine's host: mounts, volumes, namespaces, devices, runtimes.

use super::table::{Row, Stand, Table, name, outcome, row, run};
use crate::run::shell;
use crate::support::Directory;
use serde_json::{Value, json};

const SECTION: &str = "host reach";
const HOST: &str = "403 host_path_not_allowed";

pub fn tables() -> Vec<Table> {
    let closed = [binds(), volumes(), targets(), privileges()];
    let closed = closed.into_iter().flatten().collect();
    let allowed = Directory::new("attacked");
    let below = within_an_allowed_directory(allowed.path());
    let open = move || {
        let prefix = (
            "RUNNER_ALLOWED_HOST_PATHS",
            allowed.path().to_str().unwrap(),
        );
        let mut stand = Stand::with(&[prefix]);
        stand.beside = Box::new(allowed);
        stand
    };
    vec![
        Table::new(SECTION, || Stand::with(&[]), closed),
        Table::new(SECTION, open, below),
    ]
}

fn binds() -> Vec<Row> {
    let paths = [
        ("bind of /", "/"),
        ("bind of /proc", "/proc"),
        ("bind of /proc", "/proc/1/root"),
        ("bind of the engine's socket", "/var/run/docker.sock"),
        ("bind of the engine's socket", "/run/docker.sock"),
        ("bind of the socket's parent", "/var/run"),
        ("bind of the socket's parent", "/run/"),
    ];
    let binds = paths
        .into_iter()
        .map(|(case, path)| bind(case, HOST, "/m:ro", path));
    let mut rows: Vec<Row> = binds.collect();
    let dots = "422 invalid_request volumes /m host_path";
    rows.push(bind("`..` inside a host path", dots, "/m", "/tmp/../etc"));
    // The original service took a name with a slash for a host path.
    let name_of = |case, name: &str| {
        let volume = json!({"/m": {"type": "volume", "name": name}});
        let request = shell("true", json!({"volumes": volume}));
        row(case, "422 invalid_request volumes /m name", run(request))
    };
    rows.extend([
        name_of("bind of /", "/"),
        name_of("volume name with /", "/etc"),
        name_of("volume name with /", "a/b"),
        name_of("volume name with /", "../etc"),
        name_of("volume name with :", "a:rw"),
        name_of("volume name with :", "/etc:/m:rw"),
    ]);
    rows
}

fn volumes() -> Vec<Row> {
    let case = "driver_opts bind";
    let refused = [
        json!({"type": "none", "o": "bind", "device": "/"}),
        json!({"o": "rbind", "device": "/etc"}),
        json!({"type": "tmpfs", "o": "bind", "device": "/etc"}),
        json!({"type": "overlay", "device": "overlay", "o": "lowerdir=/etc"}),
        json!({"type": "none", "o": "size=1,bind", "device": "/tmp/../etc"}),
        json!({"type": "ext4", "device": "/dev/sda1"}),
    ];
    let mut rows: Vec<Row> = refused
        .into_iter()
        .map(|options| made(case, HOST, options))
        .collect();
    let network = json!({"type": "nfs", "device": ":/", "o": "addr=127.0.0.1"});
    rows.push(made(case, "403 volume_type_not_allowed", network));
    for bad in ["/etc", "a:b", "..", ""] {
        rows.push(row(
            "volume name with /",
            "422 invalid_request name",
            move |server| outcome(&server.post("/volume", &json!({"name": bad}))),
        ));
    }
    rows
}

/// `POST /volume` with these options.
fn made(case: &'static str, expected: &'static str, options: Value) -> Row {
    row(case, expected, move |server| {
        let name = name(server, "made");
        outcome(&server.post("/volume", &json!({"name": name, "driver_opts": options})))
    })
}

fn targets() -> Vec<Row> {
    let key = |case, key: &str| {
        let expected: &'static str = format!("422 invalid_request volumes {key}").leak();
        let request = shell("true", json!({"volumes": {key: {"type": "directory"}}}));
        row(case, expected, run(request))
    };
    let smuggled = "mount option smuggled in a mount key";
    let both = |a: &str, b: &str| {
        let directory = json!({"type": "directory"});
        shell("true", json!({"volumes": {a: directory, b: directory}}))
    };
    let working_dir = |dir: &str| {
        let request = shell("pwd", json!({"working_dir": dir}));
        row(
            "working_dir in /proc/self/fd",
            "422 invalid_request working_dir",
            run(request),
        )
    };
    let twice = "duplicate mount targets";
    vec![
        key(smuggled, "/m:ro,rshared"),
        key(smuggled, "/m:rw:rshared"),
        key(smuggled, "/m:z"),
        key(smuggled, "/etc:/m"),
        key("mount over /", "/"),
        key("mount over /", "/."),
        key("mount over /", "//"),
        key("mount over /proc", "/proc"),
        key("mount over /proc", "/proc/sys"),
        key("mount over /proc", "/a/../proc"),
        key("mount over /dev", "/dev"),
        row(
            twice,
            "422 invalid_request volumes /m:ro",
            run(both("/m", "/m:ro")),
        ),
        row(
            twice,
            "422 invalid_request volumes /m/",
            run(both("/m", "/m/")),
        ),
        row(
            twice,
            "422 invalid_request tmpfs /m",
            run(shell(
                "true",
                json!({"tmpfs": ["/m"], "volumes": {"/m": {"type": "directory"}}}),
            )),
        ),
        working_dir("/proc/self/fd/8"),
        working_dir("//proc/self/fd/8"),
        working_dir("/x/../proc/self/fd/8"),
    ]
}

fn privileges() -> Vec<Row> {
    let field = |case, field: &'static str, value: Value| {
        let expected: &'static str = format!("422 invalid_request {field}").leak();
        row(case, expected, run(shell("true", json!({field: value}))))
    };
    let network = |case, network: &str| {
        row(
            case,
            "403 network_not_allowed",
            run(shell("true", json!({"network": network}))),
        )
    };
    let devices = json!([{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]);
    let runtime = |name: &str| {
        let request = shell("true", json!({"runtime": name}));
        row("arbitrary runtime", "403 runtime_not_allowed", run(request))
    };
    vec![
        field("privileged", "privileged", json!(true)),
        field("privileged", "cap_add", json!(["ALL"])),
        field("privileged", "security_opt", json!(["seccomp=unconfined"])),
        field("host pid namespace", "pid_mode", json!("host")),
        field("host ipc namespace", "ipc_mode", json!("host")),
        field("devices", "devices", devices),
        network("host network", "host"),
        network("another container's network", "container:x"),
        runtime("runc"),
        runtime("/bin/sh"),
        // What every run gets although nobody asked.
        row(
            "privileged",
            "200 success | NoNewPrivs:\t1",
            run(shell("grep NoNewPrivs /proc/self/status", json!({}))),
        ),
        row(
            "host pid namespace",
            "200 success | 1\n",
            run(shell("echo $$", json!({"init": false}))),
        ),
        row(
            "host pid namespace",
            "200 success | /.oneoff/init",
            run(shell("cat /proc/1/cmdline", json!({}))),
        ),
    ]
}

/// Below a directory that the server allows.
fn within_an_allowed_directory(allowed: &std::path::Path) -> Vec<Row> {
    let path = |below: &str| format!("{}{below}", allowed.display());
    std::os::unix::fs::symlink("/", allowed.join("link")).unwrap();
    let dots = "422 invalid_request volumes /m host_path";
    vec![
        bind("bind of /", HOST, "/m", &path("/link")),
        bind("bind of /proc", HOST, "/m", &path("/link/proc")),
        bind(
            "bind of the engine's socket",
            HOST,
            "/m",
            &path("/link/var/run/docker.sock"),
        ),
        bind("`..` inside a host path", dots, "/m", &path("/../")),
        bind("bind of /", HOST, "/m", &(path("") + "x")),
        mounted(path("/link")),
    ]
}

fn bind(case: &'static str, expected: &'static str, key: &str, path: &str) -> Row {
    let volumes = json!({key: {"type": "host", "host_path": path}});
    row(
        case,
        expected,
        run(shell("ls /m", json!({"volumes": volumes}))),
    )
}

/// A volume that binds a path of the host is looked at whenever it is mounted or read.
fn mounted(device: String) -> Row {
    row("driver_opts bind", HOST, move |server| {
        let name = name(server, "bound");
        let options = json!({"type": "none", "o": "bind", "device": device});
        let made = json!({"name": name, "driver_opts": options});
        assert_eq!(server.post("/volume", &made).status, 200);
        let path = format!("/volume/{name}");
        assert!(outcome(&server.get(&path)).starts_with(HOST));
        let volumes = json!({"/m": {"type": "volume", "name": name}});
        let mounted = outcome(&server.post("/run", &shell("ls /m", json!({"volumes": volumes}))));
        assert_eq!(server.request("DELETE", &path, "").status, 204);
        mounted
    })
}
