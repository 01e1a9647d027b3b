//! A real server with a handler that does as the path says, and raw clients to attack it with.

#![allow(dead_code, unreachable_pub)]

use crossbeam_channel::{Receiver, Sender, unbounded};
use oneoff_docker_runner::http::{BodyError, Reply, Request, RouteTable, Server, ServerConfig};
use oneoff_docker_runner::problem::Problem;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far beyond anything that should happen: hitting it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the handler tells the test.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Entered,
    Cancelled,
    Draining,
    WriteFailed,
}

pub struct Rig {
    pub server: Option<Server>,
    pub addr: SocketAddr,
    pub events: Receiver<Event>,
}

pub fn config() -> ServerConfig {
    ServerConfig {
        host: "127.0.0.1".into(),
        port: 0,
        auth_token: None,
        allowed_hosts: vec![],
        allowed_origins: vec!["https://app.example.com".into()],
        body_limit_bytes: 512 * 1024 * 1024,
        body_memory_bytes: 1024 * 1024 * 1024,
        head_timeout: Duration::from_secs(10),
        body_stall_timeout: Duration::from_secs(10),
        write_stall_timeout: Duration::from_secs(10),
        routes: RouteTable {
            health_path: "/health",
            open_paths: &["/health"],
            single_fields: &[],
            template_of: |_| "other",
        },
        cors: oneoff_docker_runner::app::CORS,
    }
}

impl Rig {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = config();
        adjust(&mut config);
        let (events, received) = unbounded();
        let server =
            Server::start(config, Arc::new(move |request| handle(request, &events))).unwrap();
        Self {
            addr: server.local_addr(),
            server: Some(server),
            events: received,
        }
    }

    pub fn expect(&self, event: Event) {
        assert_eq!(self.events.recv_timeout(PATIENCE), Ok(event));
    }

    pub fn ask(&self, request: &str) -> Answer {
        ask(self.addr, request.as_bytes())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Whether a well-behaved client is still served.
    pub fn is_well(&self) -> bool {
        self.get("/health").status == 200
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown(Duration::ZERO);
        }
    }
}

fn handle(mut request: Request, events: &Sender<Event>) -> Reply {
    let events = events.clone();
    match request.path.as_str() {
        "/health" => Reply::json(200, &serde_json::json!({"status": "ok"})),
        "/echo" => match request.read_body() {
            Ok(body) => Reply::bytes(200, "application/octet-stream", body),
            Err(error) => error.into(),
        },
        "/count" => match count(&mut request) {
            Ok(bytes) => Reply::json(200, &bytes),
            Err(error) => Reply::problem(&BodyError::from(error).to_problem()),
        },
        "/seen" => Reply::json(
            200,
            &serde_json::json!({
                "id": request.id, "method": request.method, "path": request.path,
                "query": request.query, "headers": request.headers,
                "content_length": request.content_length, "authenticated": request.authenticated,
            }),
        ),
        "/big" => Reply::bytes(200, "text/plain", vec![b'x'; size(&request)]),
        "/wait" => {
            let _ = request.read_body();
            events.send(Event::Entered).unwrap();
            let _ = request.cancel.done().recv_timeout(PATIENCE);
            if request.cancel.is_fired() {
                events.send(Event::Cancelled).unwrap();
            }
            Reply::empty(204)
        }
        "/ignore" => {
            events.send(Event::Entered).unwrap();
            let _ = request.draining.done().recv_timeout(PATIENCE);
            Reply::bytes(200, "text/plain", b"finished".to_vec())
        }
        "/panic" => panic!("a handler's fault"),
        "/panic-midway" => Reply::stream("text/plain", |out| {
            out.send(b"half")?;
            panic!("a stream's fault")
        }),
        "/crlf" => Reply::empty(200).with_header("X-Evil", "a\r\nSet-Cookie: stolen=1"),
        "/teapot" => Reply::empty(204),
        "/problem" => Reply::problem(&Problem::new(404, "not_found", "no such thing")),
        "/idle-stream" => idle_stream(request, events),
        "/flood" => Reply::stream("text/plain", move |out| {
            events.send(Event::Entered).unwrap();
            let piece = vec![b'x'; 64 * 1024];
            while out.send(&piece).is_ok() {}
            events.send(Event::WriteFailed).unwrap();
            Ok(())
        }),
        "/pieces" => Reply::stream("text/event-stream", |out| {
            for piece in ["one", "", "two", "three"] {
                out.send(piece.as_bytes())?;
            }
            Ok(())
        }),
        "/duplex" => Reply::stream("text/plain", move |out| {
            let mut piece = [0u8; 64];
            loop {
                match request.body.read(&mut piece)? {
                    0 => return Ok(()),
                    count => out.send(&piece[..count])?,
                }
            }
        }),
        "/burn" => burn(),
        _ => Reply::problem(&Problem::new(404, "not_found", "no such path")),
    }
}

fn size(request: &Request) -> usize {
    request.query("size").unwrap().parse().unwrap()
}

fn count(request: &mut Request) -> std::io::Result<u64> {
    let mut buffer = vec![0u8; 256 * 1024];
    let mut total = 0;
    loop {
        match request.body.read(&mut buffer)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

fn idle_stream(request: Request, events: Sender<Event>) -> Reply {
    let (cancel, draining) = (request.cancel.clone(), request.draining.clone());
    Reply::stream("text/event-stream", move |out| {
        out.send(b": hello\n\n")?;
        events.send(Event::Entered).unwrap();
        let event = crossbeam_channel::select! {
            recv(cancel.done()) -> _ => Event::Cancelled,
            recv(draining.done()) -> _ => Event::Draining,
        };
        events.send(event).unwrap();
        out.send(b": bye\n\n")
    })
}

/// Holds every descriptor that is left for a while.
fn burn() -> Reply {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    // No event: so long a want of descriptors is what the test is about.
    std::thread::sleep(Duration::from_millis(500));
    Reply::json(200, &held.len())
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub raw: Vec<u8>,
}

impl Answer {
    /// Reads until the server closes; `None` when it closed without a word.
    pub fn read(socket: &mut TcpStream) -> Option<Self> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Vec::new();
        let read = socket.read_to_end(&mut raw);
        if raw.is_empty() {
            return None;
        }
        read.expect("the answer ends with a close");
        Some(Self::parse(raw))
    }

    pub fn parse(raw: Vec<u8>) -> Self {
        let end = raw
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a whole head");
        let head = std::str::from_utf8(&raw[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            status,
            headers,
            body: raw[end + 4..].to_vec(),
            raw,
        }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `code` of a problem answer.
    pub fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn send(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = connect(addr);
    socket.write_all(bytes).unwrap();
    socket
}

pub fn ask(addr: SocketAddr, bytes: &[u8]) -> Answer {
    Answer::read(&mut send(addr, bytes)).expect("an answer")
}

/// Closes with a RST instead of a FIN.
pub fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Waits for the other side to break the connection off, but no longer than this.
pub fn hung_up_within(socket: &TcpStream, patience: Duration) {
    let mut broken = [PollFd::new(socket, PollFlags::empty())];
    let _ = poll(&mut broken, Some(&patience.try_into().unwrap()));
}

/// Reads until `wanted` has been seen, without waiting for the end.
pub fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut seen = String::new();
    let mut piece = [0u8; 1024];
    while !seen.contains(wanted) {
        let count = socket.read(&mut piece).unwrap();
        assert_ne!(count, 0, "the connection closed after {seen:?}");
        seen.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    seen
}

/// Polls a condition that no event announces, such as the end of a thread.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server in a process of its own, for what concerns a whole process: descriptors, memory, threads.
pub struct ServerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Kept open: the test harness of the other process writes to it at its end.
    _stdout: BufReader<ChildStdout>,
    pub addr: SocketAddr,
}

impl ServerProcess {
    /// Starts this test binary again as a server that may open so many descriptors.
    pub fn start(descriptors: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_server_process_serves", "--nocapture"])
            .env("EDGE_TEST_DESCRIPTORS", descriptors.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = output
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .find_map(|line| line.split_once("LISTENING ").map(|(_, a)| a.to_owned()))
            .unwrap();
        Self {
            child,
            stdin,
            _stdout: output,
            addr: address.parse().unwrap(),
        }
    }

    /// Resident memory now, and its peak.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stdin.take();
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the server process ended with {status}");
        }
    }
}

/// The other side of [`ServerProcess`]: serves until its standard input closes.
pub fn be_a_server_process() -> bool {
    let Ok(descriptors) = std::env::var("EDGE_TEST_DESCRIPTORS") else {
        return false;
    };
    let limit = Some(descriptors.parse().unwrap());
    let limits = rustix::process::Rlimit {
        current: limit,
        maximum: limit,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
    let rig = Rig::start();
    println!("LISTENING {}", rig.addr);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    true
}

pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
