//! A fake engine on a Unix socket, for faults that a real one cannot be made to show: broken answers, cut streams,
//! silence.
use oneoff_docker_runner::docker::{Client, Host};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request that was received.
pub struct Request {
    /// `GET /v1.41/images/json`
    pub line: String,
    pub head: String,
    pub body: Vec<u8>,
    /// Its number on its connection, from 1 on.
    pub nth: usize,
}

/// What the fake engine does with a request.
pub enum Reply {
    /// A JSON answer with `Content-Length`; the connection stays open.
    Json(u16, &'static str),
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes over and over, one every 20 ms, until the client closes the connection.
    Drip(&'static [u8]),
    /// Nothing until the client closes the connection; then a message to the sender.
    Silence(Sender<()>),
    /// These bytes, then as `Silence`.
    Held(&'static [u8], Sender<()>),
}

pub struct FakeEngine {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

impl FakeEngine {
    /// Answers `/_ping` as an engine of API 1.41 would, and the rest by `script`.
    pub fn new(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_ping("1.41", script)
    }

    pub fn with_ping(
        version: &str,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let pong = format!(
            "HTTP/1.1 200 OK\r\nApi-Version: {version}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
        );
        Self::raw(move |request| match request.line.ends_with(" /_ping") {
            true => Reply::Bytes(pong.clone().into_bytes()),
            false => script(request),
        })
    }

    pub fn raw(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oneoff-fake-{}-{number}.sock", std::process::id());
        Self::at(std::env::temp_dir().join(name), script)
    }

    /// At a given path, such as that of an earlier fake engine.
    pub fn at(path: PathBuf, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let fake = Self {
            path,
            stop: Arc::default(),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (stop, seen, connections) = (
            fake.stop.clone(),
            fake.seen.clone(),
            fake.connections.clone(),
        );
        let script: Arc<Script> = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (script.clone(), seen.clone());
                // The thread ends when the client closes the connection.
                std::thread::spawn(move || serve(stream, &*script, &seen));
            }
        });
        fake
    }

    pub fn client(&self) -> Client {
        Client::new(Host::Unix(self.path.clone()), None).unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The request lines so far, without pings.
    pub fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|line| !line.ends_with("/_ping"))
            .cloned()
            .collect()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The time between two bytes of a [`Reply::Drip`].
const DRIP: Duration = Duration::from_millis(20);

fn serve(stream: UnixStream, script: &Script, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut nth = 0;
    while let Some(mut request) = read_request(&mut reader) {
        nth += 1;
        request.nth = nth;
        seen.lock().unwrap().push(request.line.clone());
        match script(&request) {
            Reply::Json(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}",
                    body.len()
                );
                let _ = write!(writer, "{head}\r\n\r\n{body}");
            }
            Reply::Bytes(bytes) => {
                let _ = writer.write_all(&bytes);
                return;
            }
            Reply::Drip(bytes) => {
                for byte in bytes.iter().cycle() {
                    if writer.write_all(&[*byte]).is_err() {
                        return;
                    }
                    // Waits for this long, or until the client closes the connection.
                    let mut broken = [PollFd::new(&writer, PollFlags::RDHUP)];
                    let _ = poll(&mut broken, Some(&DRIP.try_into().unwrap()));
                    if !broken[0].revents().is_empty() {
                        return;
                    }
                }
            }
            Reply::Held(bytes, hung_up) => {
                let _ = writer.write_all(bytes);
                let _ = reader.read(&mut [0]);
                let _ = hung_up.send(());
                return;
            }
            Reply::Silence(hung_up) => {
                let _ = reader.read(&mut [0]);
                let _ = hung_up.send(());
                return;
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let value = |name: &str| {
        let mut lines = lower.lines();
        lines.find_map(|line| line.strip_prefix(name))
    };
    let mut body = Vec::new();
    if let Some(length) = value("content-length:") {
        body = vec![0; length.trim().parse().ok()?];
        reader.read_exact(&mut body).ok()?;
    }
    let line = head
        .lines()
        .next()?
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    Some(Request {
        line,
        head,
        body,
        nth: 0,
    })
}
