//! The release binary as a process of its own, and requests to it.

use super::engine::{self, unique};
use super::http::{Answer, Request};
use super::{Outcome, engine::nothing_left};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// The path of the binary to measure, built by `make build`.
pub(crate) fn binary() -> Outcome<PathBuf> {
    let Some(path) = std::env::var_os("ONEOFF_BINARY").map(PathBuf::from) else {
        return Err("ONEOFF_BINARY is not set: run this by `make bench`".into());
    };
    Ok(path.canonicalize()?)
}

/// A running server. Dropping it kills it; [`Server::stop`] stops it and checks that nothing is left.
pub(crate) struct Server {
    child: Mutex<Child>,
    pid: Pid,
    // Keeps the pipe open while the server runs.
    _banner: BufReader<ChildStdout>,
    address: String,
    instance: String,
    /// When it was started.
    pub(crate) spawned: Instant,
}

/// An answer, and the time from the request to the last byte.
pub(crate) struct Timed {
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

impl Server {
    /// Starts a server on a free port, with its defaults; it listens when this returns.
    pub(crate) fn start(binary: &Path) -> Outcome<Self> {
        Self::start_with(binary, &[])
    }

    /// As [`Server::start`], with these environment variables.
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
            .map(|(_, address)| address.to_owned());
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

    /// The label of everything that it creates in the engine.
    pub(crate) fn filter(&self) -> String {
        format!("oneoff.instance={}", self.instance)
    }

    /// `GET path`
    pub(crate) fn get(&self, path: &str) -> Outcome<Answer> {
        Ok(self.exchange(&Request::new("GET", path))?.answer)
    }

    /// `DELETE path`
    pub(crate) fn delete(&self, path: &str) -> Outcome<Answer> {
        Ok(self.exchange(&Request::new("DELETE", path))?.answer)
    }

    /// `POST /run`, which must be answered with a run that succeeded.
    pub(crate) fn run(&self, request: &[u8]) -> Outcome<(Value, Duration)> {
        let timed = self.exchange(&Request::new("POST", "/run").body(request))?;
        let answer = timed.answer;
        if answer.status != 200 {
            let words = String::from_utf8_lossy(&answer.body);
            return Err(format!("POST /run answered {}: {words}", answer.status).into());
        }
        let result: Value = serde_json::from_slice(&answer.body)?;
        succeeded(&result)?;
        Ok((result, timed.took))
    }

    /// `POST /run` as an asynchronous run. Returns its id.
    pub(crate) fn submit(&self, request: &[u8]) -> Outcome<String> {
        let prefer = [("Prefer", "respond-async")];
        let request = Request::new("POST", "/run").fields(&prefer).body(request);
        let answer = self.exchange(&request)?.answer;
        let run: Value = serde_json::from_slice(&answer.body)?;
        match (answer.status, run["id"].as_str()) {
            (202, Some(id)) => Ok(id.to_owned()),
            (status, _) => Err(format!("an asynchronous run was answered {status}: {run}").into()),
        }
    }

    /// `POST /run` as an event stream. Returns the socket; the answer is unread, its head included.
    pub(crate) fn watch(&self, request: &[u8]) -> Outcome<TcpStream> {
        let accept = [("Accept", "text/event-stream")];
        let request = Request::new("POST", "/run").fields(&accept).body(request);
        Ok(request.send(&self.address)?)
    }

    /// `GET path`, as an event stream. Returns the socket; the answer is unread, its head included.
    pub(crate) fn listen(&self, path: &str) -> Outcome<TcpStream> {
        Ok(Request::new("GET", path).send(&self.address)?)
    }

    fn exchange(&self, request: &Request<'_>) -> Outcome<Timed> {
        self.ask(request).map_err(|error| {
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

    fn ask(&self, request: &Request<'_>) -> Outcome<Timed> {
        let begun = Instant::now();
        let mut socket = request.send(&self.address)?;
        // One request per connection: the server closes it.
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes)?;
        let took = begun.elapsed();
        let answer = Answer::parse(bytes).ok_or("an answer without an end of its head")?;
        if answer.header("Content-Length") != Some(answer.body.len().to_string()) {
            return Err(format!("not as long as it says: {}", answer.head).into());
        }
        Ok(Timed { answer, took })
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

    /// Sends SIGTERM. Fails unless the server ends in time, with exit code 0, and leaves nothing in the engine.
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

/// The command of the server. Of our environment it gets only what names the engine.
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
        // No log lines for requests, nor for the end of the inner server.
        .env("RUST_LOG", "warn,tiny_http=off")
        // No `.env` of the working directory is read.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Fails, with the outcome, unless a run succeeded without warnings.
pub(crate) fn succeeded(result: &Value) -> Outcome<()> {
    if result["status"] == "success" && result["warnings"].is_null() {
        return Ok(());
    }
    let told = ["status", "reason", "warnings", "timings"].map(|key| result[key].to_string());
    Err(format!("the run did not succeed: {}", told.join(", ")).into())
}
