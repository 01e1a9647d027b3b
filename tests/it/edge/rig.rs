//! A server in this process whose handler does what the path says.

use super::client::{PATIENCE, ask};
use crate::support::Answer;
use crossbeam_channel::{Receiver, Sender, unbounded};
use oneoff_docker_runner::http::{BodyError, Reply, Request, RouteTable, Server, ServerConfig};
use oneoff_docker_runner::memory::MemoryBudget;
use oneoff_docker_runner::problem::Problem;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the handler reports to the test.
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
        memory: MemoryBudget::new(1 << 30),
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
            drop(server);
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
                "content_length": request.content_length,
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

/// Opens every descriptor that is left and holds them for half a second.
fn burn() -> Reply {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    // The test needs this time without descriptors.
    std::thread::sleep(Duration::from_millis(500));
    Reply::json(200, &held.len())
}
