//! A proxy between a server and the real engine. At one chosen call it kills the calling process.

use super::{Directory, docker, engine_socket};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, kill_process};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Builder;
use std::time::Duration;

/// At which moment of a call the caller is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillAt {
    /// The head of the request was sent, its body was not.
    Request,
    /// The engine has done what was asked, and its answer is not delivered.
    Answer,
}

/// Chooses a call by its number, from 1 on, and by its method and path.
type Choice = dyn Fn(usize, &str) -> bool + Send + Sync;

/// An engine socket that kills the caller of one call.
pub struct KillProxy {
    directory: Directory,
    state: Arc<State>,
}

struct State {
    dies: KillAt,
    is_the_one: Box<Choice>,
    watch: Mutex<Watch>,
    changed: Condvar,
}

#[derive(Default)]
struct Watch {
    is_armed: bool,
    is_closed: bool,
    has_swept: bool,
    calls: Vec<String>,
    /// Names of the containers whose creation was requested.
    names: Vec<String>,
    victim: Option<String>,
    /// The victim is dead, and the engine has finished its last call.
    is_over: bool,
}

impl KillProxy {
    /// Kills at the first call after [`KillProxy::arm`] for which `is_the_one` is true.
    pub fn new(
        dies: KillAt,
        is_the_one: impl Fn(usize, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let directory = Directory::new("killing");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let state = Arc::new(State {
            dies,
            is_the_one: Box::new(is_the_one),
            watch: Mutex::default(),
            changed: Condvar::new(),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.lock().is_closed {
                    return;
                }
                // A temporary lack of threads or descriptors must not end the loop.
                if let Err(error) = relay(client, &shared) {
                    eprintln!("a connection to the engine is not passed on: {error}");
                }
            }
        });
        Self { directory, state }
    }

    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Counts calls from now on.
    pub fn arm(&self) {
        self.state.lock().is_armed = true;
    }

    /// Counts calls from the end of the server's first sweep on, in which it may remove what other tests' servers left.
    pub fn arm_after_the_first_sweep(&self) {
        let watch = self.state.lock();
        let waited = self
            .state
            .changed
            .wait_timeout_while(watch, Duration::from_secs(30), |watch| !watch.has_swept)
            .unwrap();
        let mut watch = waited.0;
        assert!(watch.has_swept, "the server never swept");
        watch.is_armed = true;
    }

    /// Kills nothing from now on. Returns the call at which a process was killed, after the engine has finished that call.
    pub fn disarm(&self) -> Option<String> {
        let mut watch = self.state.lock();
        watch.is_armed = false;
        while watch.victim.is_some() && !watch.is_over {
            let waited = self
                .state
                .changed
                .wait_timeout(watch, Duration::from_secs(30))
                .unwrap();
            assert!(!waited.1.timed_out(), "the engine never had done with it");
            watch = waited.0;
        }
        watch.victim.clone()
    }

    /// Whether a process was killed.
    pub fn has_struck(&self) -> bool {
        self.state.lock().victim.is_some()
    }

    /// The names of the requested containers that exist, found by name and not by label.
    pub fn containers_left(&self) -> String {
        let names = self.state.lock().names.clone();
        let filters = names.iter().map(|name| format!("--filter=name=^/{name}$"));
        let filters: Vec<String> = filters.collect();
        if filters.is_empty() {
            return String::new();
        }
        let mut list = vec!["ps", "--all", "--format={{.Names}}"];
        list.extend(filters.iter().map(String::as_str));
        docker(&list)
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("engine.sock")
    }
}

impl Drop for KillProxy {
    fn drop(&mut self) {
        self.state.lock().is_closed = true;
        let _ = UnixStream::connect(self.socket());
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap()
    }

    /// Counts a call, given as method and target. Returns whether it is the chosen one.
    fn strikes_at(&self, (method, target): (&str, &str)) -> bool {
        let mut watch = self.lock();
        if let Some((_, name)) = target.split_once("/containers/create?name=") {
            let name = name.split('&').next().unwrap_or_default();
            watch.names.push(name.to_owned());
        }
        // A sweep looks for forgotten questions last.
        if target.contains("%22oneoff.asks%22") {
            watch.has_swept = true;
            self.changed.notify_all();
        }
        let call = &format!("{method} {}", path_of(target));
        if !watch.is_armed || watch.victim.is_some() || is_background(call) {
            return false;
        }
        watch.calls.push(call.to_owned());
        let strikes = (self.is_the_one)(watch.calls.len(), call);
        if strikes {
            watch.victim = Some(call.to_owned());
        }
        strikes
    }

    fn is_over(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

/// Calls that a server makes at any time, independent of requests: version, health, leftovers.
fn is_background(call: &str) -> bool {
    [
        "/_ping",
        "/version",
        "/info",
        "/containers/json",
        "/volumes",
    ]
    .iter()
    .any(|path| call.ends_with(path))
}

/// Method and target, if these bytes are the start of a request.
fn request_of(piece: &[u8]) -> Option<(&str, &str)> {
    let line = piece.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_suffix(" HTTP/1.1")?.split_once(' ')
}

/// The path without API version and query.
fn path_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    match path.strip_prefix("/v1.").and_then(|rest| rest.find('/')) {
        Some(slash) => &path["/v1.".len() + slash..],
        None => path,
    }
}

fn kill(client: &UnixStream) {
    let caller = socket_peercred(client).unwrap().pid;
    kill_process(caller, Signal::KILL).unwrap();
}

fn relay(client: UnixStream, state: &Arc<State>) -> std::io::Result<()> {
    let engine = UnixStream::connect(engine_socket())?;
    let is_the_one = Arc::new(Mutex::new(false));
    let requests = (client.try_clone()?, engine.try_clone()?);
    let (shared, one) = (state.clone(), is_the_one.clone());
    Builder::new().spawn(move || pass_requests(requests, &shared, &one))?;
    let shared = state.clone();
    Builder::new().spawn(move || pass_answers((engine, client), &shared, &is_the_one))?;
    Ok(())
}

/// Relies on the client's way of writing: the head of a request in one piece, its body after it.
fn pass_requests((mut from, mut to): (UnixStream, UnixStream), state: &State, one: &Mutex<bool>) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = &buffer[..count];
        let strikes = request_of(piece).is_some_and(|request| state.strikes_at(request));
        if strikes {
            *one.lock().unwrap() = true;
        }
        if to.write_all(piece).is_err() {
            break;
        }
        if strikes && state.dies == KillAt::Request {
            kill(&from);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn pass_answers((mut from, mut to): (UnixStream, UnixStream), state: &State, one: &Mutex<bool>) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if *one.lock().unwrap() {
            break;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    if *one.lock().unwrap() {
        if state.dies == KillAt::Answer {
            kill(&to);
        }
        state.is_over();
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
