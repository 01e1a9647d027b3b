//! The release binary as a process of its own, and the little HTTP that it takes to ask it.

use super::engine::{self, unique};
use super::{Outcome, engine::nothing_left};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The binary to measure: the one that `make build` made.
pub(crate) fn binary() -> Outcome<PathBuf> {
    let Some(path) = std::env::var_os("ONEOFF_BINARY").map(PathBuf::from) else {
        return Err("ONEOFF_BINARY is not set: run this by `make bench`".into());
    };
    Ok(path.canonicalize()?)
}

/// A running server. Dropping it kills it; [`Server::stop`] is the orderly way.
pub(crate) struct Server {
    child: Mutex<Child>,
    pid: Pid,
    // Its end of the pipe stays open as long as the server lives.
    _banner: BufReader<ChildStdout>,
    address: SocketAddr,
    instance: String,
    /// When it was started.
    pub(crate) spawned: Instant,
}

/// An answer, and how long it took to the last byte.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) took: Duration,
}

impl Server {
    /// Starts a server on a free port, with its defaults; it listens when this returns.
    pub(crate) fn start(binary: &Path) -> Outcome<Self> {
        Self::start_with(binary, &[])
    }

    /// As [`Server::start`], with these variables beside.
    pub(crate) fn start_with(binary: &Path, variables: &[(&str, &str)]) -> Outcome<Self> {
        let instance = format!("bench-{}", unique());
        let mut command = command(binary);
        command
            .env("RUNNER_INSTANCE", &instance)
            .envs(variables.iter().copied());
        let spawned = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("no pipe from the server")?;
        let mut banner = BufReader::new(stdout);
        let mut line = String::new();
        banner.read_line(&mut line)?;
        let address = line
            .trim_end()
            .rsplit_once("http://")
            .and_then(|(_, address)| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("the server did not say where it listens: {line:?}").into());
        };
        Ok(Self {
            pid: Pid::from_child(&child),
            child: Mutex::new(child),
            _banner: banner,
            address,
            instance,
            spawned,
        })
    }

    /// The label of all that it makes in the engine.
    pub(crate) fn filter(&self) -> String {
        format!("oneoff.instance={}", self.instance)
    }

    /// `GET path`
    pub(crate) fn get(&self, path: &str) -> Outcome<Answer> {
        self.bare("GET", path)
    }

    /// `DELETE path`
    pub(crate) fn delete(&self, path: &str) -> Outcome<Answer> {
        self.bare("DELETE", path)
    }

    fn bare(&self, method: &str, path: &str) -> Outcome<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.exchange(&head, b"")
    }

    /// `POST /run`; the answer is that of a run that succeeded.
    pub(crate) fn run(&self, request: &[u8]) -> Outcome<(Value, Duration)> {
        let answer = self.exchange(&self.run_head("", request), request)?;
        if answer.status != 200 {
            let words = String::from_utf8_lossy(&answer.body);
            return Err(format!("POST /run answered {}: {words}", answer.status).into());
        }
        let result: Value = serde_json::from_slice(&answer.body)?;
        succeeded(&result)?;
        Ok((result, answer.took))
    }

    /// `POST /run` for a caller who does not wait; gives the run's id.
    pub(crate) fn submit(&self, request: &[u8]) -> Outcome<String> {
        let head = self.run_head("Prefer: respond-async\r\n", request);
        let answer = self.exchange(&head, request)?;
        let run: Value = serde_json::from_slice(&answer.body)?;
        match (answer.status, run["id"].as_str()) {
            (202, Some(id)) => Ok(id.to_owned()),
            (status, _) => Err(format!("an asynchronous run was answered {status}: {run}").into()),
        }
    }

    /// `POST /run` for a caller who watches; gives the socket from which the answer is to be read, head and all.
    pub(crate) fn watch(&self, request: &[u8]) -> Outcome<TcpStream> {
        let head = self.run_head("Accept: text/event-stream\r\n", request);
        Ok(self.send(&head, request)?)
    }

    fn run_head(&self, fields: &str, request: &[u8]) -> String {
        format!(
            "POST /run HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n",
            self.address,
            request.len()
        )
    }

    fn exchange(&self, head: &str, body: &[u8]) -> Outcome<Answer> {
        self.ask(head, body).map_err(|error| {
            let fate = match self.ended() {
                Ok(None) => "the server, which goes on".to_owned(),
                Ok(Some(status)) => format!("the server, which ended ({status})"),
                Err(error) => format!("the server, whose fate is unknown ({error})"),
            };
            format!("no answer from {fate}: {error}").into()
        })
    }

    fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()
    }

    fn send(&self, head: &str, body: &[u8]) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.write_all(head.as_bytes())?;
        socket.write_all(body)?;
        Ok(socket)
    }

    fn ask(&self, head: &str, body: &[u8]) -> Outcome<Answer> {
        let begun = Instant::now();
        let mut socket = self.send(head, body)?;
        // One request per connection: the server closes it.
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        let took = begun.elapsed();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or("an answer without an end of its head")?;
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or("an answer without a status")?;
        let body = answer.split_off(end + 4);
        let length = format!("content-length: {}", body.len());
        if !head.split("\r\n").any(|field| field == length) {
            return Err("an answer that is not as long as it says".into());
        }
        Ok(Answer { status, body, took })
    }

    /// Memory of the server in bytes: `VmRSS` (now) or `VmHWM` (its peak).
    pub(crate) fn memory(&self, field: &str) -> Outcome<f64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()))?;
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes =
            value.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kilobytes.ok_or_else(|| format!("no {field} in the server's status"))? * 1024.0)
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail when it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGTERM, an end within the grace period, and nothing left in the engine.
    pub(crate) fn stop(self) -> Outcome<()> {
        kill_process(self.pid, Signal::TERM)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            if begun.elapsed() > STOP_PATIENCE {
                return Err("the server does not stop".into());
            }
            sleep(Duration::from_millis(5));
        };
        if !status.success() {
            return Err(format!("the server ended with {status}").into());
        }
        nothing_left(&engine::client()?, &self.filter())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server, with nothing of our environment but what leads it to the engine.
fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear();
    for name in [
        "PATH",
        "DOCKER_HOST",
        "DOCKER_TLS_VERIFY",
        "DOCKER_CERT_PATH",
        "DOCKER_API_VERSION",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("PORT", "0")
        // Requests are no news here, nor is the inner server's end.
        .env("RUST_LOG", "warn,tiny_http=off")
        // Somebody's `.env` is none of ours.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// An error that says how a run came out instead.
pub(crate) fn succeeded(result: &Value) -> Outcome<()> {
    if result["status"] == "success" && result["warnings"].is_null() {
        return Ok(());
    }
    let told = ["status", "reason", "warnings", "timings"].map(|key| result[key].to_string());
    Err(format!("the run did not succeed: {}", told.join(", ")).into())
}
