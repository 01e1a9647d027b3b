//! A proxy between a server and the real engine that makes it look newer: it says that it speaks API 1.52, and refuses paths
//! below 1.44 with the words of Engine 29.

use super::{Directory, engine_socket};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const LEAST_MINOR: u32 = 44;
const REFUSAL: &str = "{\"message\":\"client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version\"}";

/// An engine socket for clients of today only.
pub struct VersionProxy {
    directory: Directory,
    shared: Arc<Shared>,
}

struct Shared {
    /// What the real engine speaks, such as `1.41`.
    version: String,
    stop: AtomicBool,
    /// Versions in the paths of requests.
    asked: Mutex<Vec<String>>,
}

impl VersionProxy {
    pub fn start() -> Self {
        let directory = Directory::new("newer");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let shared = Arc::new(Shared {
            version: super::docker(&["version", "--format", "{{.Server.APIVersion}}"]),
            stop: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                relay(client, &accepting);
            }
        });
        Self { directory, shared }
    }

    pub fn docker_host(&self) -> String {
        let path = self.directory.path().join("engine.sock");
        format!("unix://{}", path.display())
    }

    /// The versions that requests named so far, each once.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.shared.asked.lock().unwrap().clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

impl Drop for VersionProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.directory.path().join("engine.sock"));
    }
}

fn relay(client: UnixStream, shared: &Arc<Shared>) {
    let engine = UnixStream::connect(engine_socket()).unwrap();
    let (from, to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    let answers = client.try_clone().unwrap();
    let requests = shared.clone();
    // Relies on the client's way of writing: the head of a request in one piece.
    std::thread::spawn(move || {
        pass(from, to, |piece| {
            let Some(request) = requests.rewrite(&piece) else {
                let head = format!(
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    REFUSAL.len()
                );
                let _ = (&answers).write_all((head + REFUSAL).as_bytes());
                return None;
            };
            Some(request)
        });
    });
    let shared = shared.clone();
    std::thread::spawn(move || {
        let real = format!("Api-Version: {}\r\n", shared.version);
        pass(engine, client, |piece| {
            Some(replaced(&piece, real.as_bytes(), b"Api-Version: 1.52\r\n"))
        });
    });
}

impl Shared {
    /// A request as the real engine understands it; None if Engine 29 refuses it.
    fn rewrite(&self, piece: &[u8]) -> Option<Vec<u8>> {
        let line = piece
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let is_request = line.ends_with(" HTTP/1.1");
        let version = line
            .split_once(" /v1.")
            .and_then(|(_, rest)| rest.split('/').next());
        let Some(minor) = version.filter(|_| is_request) else {
            return Some(piece.to_vec());
        };
        self.asked.lock().unwrap().push(format!("1.{minor}"));
        if minor.parse::<u32>().unwrap() < LEAST_MINOR {
            return None;
        }
        let asked = format!(" /v1.{minor}/");
        let real = format!(" /v{}/", self.version);
        Some(replaced(piece, asked.as_bytes(), real.as_bytes()))
    }
}

/// With the first `old` replaced.
fn replaced(piece: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let place = piece.windows(old.len()).position(|window| window == old);
    place.map_or_else(
        || piece.to_vec(),
        |at| [&piece[..at], new, &piece[at + old.len()..]].concat(),
    )
}

/// Copies until one side closes, or `change` returns None.
fn pass(mut from: UnixStream, mut to: UnixStream, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(piece) = change(buffer[..count].to_vec()) else {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        };
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
