//! Widely used clients, pinned, against the live server: each negotiates, lists, calls, gets errors, makes a
//! call longer than its own idle timeout, and cancels. See `tests/mcp/client.py` and `tests/mcp/client.mjs`.

use crate::support::{self, Server, docker};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Blocks while three clients run, however many cores there are: their timeouts test the server, not a loaded machine.
fn turn() -> MutexGuard<'static, ()> {
    static PLACES: [Mutex<()>; 3] = [const { Mutex::new(()) }; 3];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let place = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES.len();
    PLACES[place].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a client to its end; it must exit with 0 and print `ok`.
fn succeed(mut client: Command, instance: &str) {
    let scratch = Scratch::new(instance);
    let output = client
        .env("RUNNER_INSTANCE", instance)
        .env(
            "MCP_SDK_DIR",
            super::installed::installed().join("typescript"),
        )
        .env("MCP_REMOTE_CONFIG_DIR", &scratch.0)
        .current_dir(&scratch.0)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.trim_end().ends_with("ok"),
        "{stdout}\n{stderr}"
    );
    assert_eq!(nothing_of(instance), Vec::<String>::new());
}

/// A directory for the files that a client writes; removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcp-client-{name}"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The containers of this instance and of its stdio servers that are left after at most ten seconds.
fn nothing_of(instance: &str) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let format = "{{.Label \"oneoff.instance\"}} {{.Names}}";
        let all = docker(&["ps", "-a", "--format", format]);
        let ours = all.lines().filter(|line| {
            line.starts_with(&format!("{instance} ")) || line.starts_with(&format!("{instance}:"))
        });
        let left: Vec<String> = ours.map(str::to_owned).collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
    }
}

fn python(sdk: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(super::installed::installed().join(sdk).join("bin/python"));
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/client.py"))
        .args(arguments);
    command
}

fn node() -> PathBuf {
    super::installed::installed().join("typescript/node_modules/.bin/node")
}

fn typescript(arguments: &[&str]) -> Command {
    let mut command = Command::new(node());
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/client.mjs"))
        .args(arguments);
    command
}

fn bridge(name: &str) -> String {
    let path = super::installed::installed()
        .join("bridges/node_modules/.bin")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// Runs a client that connects to `path` of a server.
fn over_http(path: &str, client: impl FnOnce(&str) -> Command) {
    let _turn = turn();
    let server = Server::start();
    succeed(
        client(&format!("http://{}{path}", server.address)),
        &server.instance,
    );
    server.stop();
}

/// Runs a client that starts the server itself, over stdio.
fn over_stdio(name: &str, client: Command) {
    let _turn = turn();
    support::require_engine();
    succeed(client, &format!("stdio-{name}-{}", std::process::id()));
}

#[test]
fn python_2_over_sse() {
    over_http("/sse", |url| python("python-new", &["sse", url, "auto"]));
}

#[test]
fn python_2_over_sse_with_a_handshake() {
    over_http("/sse", |url| python("python-new", &["sse", url, "legacy"]));
}

#[test]
fn python_2_over_streamable_http() {
    over_http("/mcp", |url| python("python-new", &["http", url, "auto"]));
}

#[test]
fn python_2_over_streamable_http_with_a_handshake() {
    over_http("/mcp", |url| python("python-new", &["http", url, "legacy"]));
}

#[test]
fn python_2_over_streamable_http_stateless() {
    over_http("/mcp", |url| {
        python("python-new", &["http", url, "2026-07-28"])
    });
}

#[test]
fn python_2_over_stdio() {
    over_stdio(
        "python-2",
        python("python-new", &["stdio", crate::support::program(), "auto"]),
    );
}

#[test]
fn python_1_30_over_sse() {
    over_http("/sse", |url| python("python-old", &["sse", url]));
}

#[test]
fn python_1_30_over_streamable_http() {
    over_http("/mcp", |url| python("python-old", &["http", url]));
}

#[test]
fn python_1_30_over_stdio() {
    over_stdio(
        "python-1",
        python("python-old", &["stdio", crate::support::program()]),
    );
}

#[test]
fn typescript_over_sse() {
    over_http("/sse", |url| typescript(&["sse", url]));
}

#[test]
fn typescript_over_streamable_http() {
    over_http("/mcp", |url| typescript(&["http", url]));
}

#[test]
fn typescript_over_stdio() {
    over_stdio(
        "typescript",
        typescript(&["stdio", crate::support::program(), "stdio"]),
    );
}

#[test]
fn mcp_remote_in_front_of_streamable_http() {
    over_http("/mcp", |url| through_mcp_remote(url, "http-only"));
}

#[test]
fn mcp_remote_in_front_of_sse() {
    over_http("/sse", |url| through_mcp_remote(url, "sse-only"));
}

/// `mcp-remote` with its defaults: it posts to `/sse` first and falls back on the 405.
#[test]
fn mcp_remote_falls_back_from_streamable_http_to_sse() {
    over_http("/sse", |url| through_mcp_remote(url, "http-first"));
}

fn through_mcp_remote(url: &str, transport: &str) -> Command {
    let node = node();
    typescript(&[
        "stdio",
        node.to_str().unwrap(),
        &bridge("mcp-remote"),
        url,
        "--transport",
        transport,
        "--allow-http",
    ])
}

/// A process that is ended on drop.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        // TERM, so that it ends its own child.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn behind_supergateway(output: &[&str], path: &str, client: &str) {
    let _turn = turn();
    support::require_engine();
    let instance = format!("gateway-{client}-{}", std::process::id());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let process = Command::new(node())
        .arg(bridge("supergateway"))
        .args([
            "--stdio",
            &format!("{} stdio", crate::support::program()),
            "--port",
            &port.to_string(),
        ])
        .args(output)
        .env("RUNNER_INSTANCE", &instance)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let gateway = Gateway(process);
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "supergateway does not listen");
    }
    let url = format!("http://127.0.0.1:{port}{path}");
    succeed(typescript(&[client, &url]), &instance);
    drop(gateway);
    assert_eq!(nothing_of(&instance), Vec::<String>::new());
}

#[test]
fn supergateway_makes_sse_of_stdio() {
    behind_supergateway(&[], "/sse", "sse");
}

#[test]
fn supergateway_makes_streamable_http_of_stdio() {
    behind_supergateway(
        &["--outputTransport", "streamableHttp", "--stateful"],
        "/mcp",
        "http",
    );
}

/// In this direction supergateway relays neither progress nor cancellation, so the client does not test them.
fn supergateway_to_stdio(path: &str, option: &str) {
    over_http(path, |url| {
        let node = node();
        let mut client = typescript(&[
            "stdio",
            node.to_str().unwrap(),
            &bridge("supergateway"),
            option,
            url,
        ]);
        client.env("WITHOUT_PROGRESS", "1");
        client
    });
}

#[test]
fn supergateway_makes_stdio_of_sse() {
    supergateway_to_stdio("/sse", "--sse");
}

#[test]
fn supergateway_makes_stdio_of_streamable_http() {
    supergateway_to_stdio("/mcp", "--streamableHttp");
}
