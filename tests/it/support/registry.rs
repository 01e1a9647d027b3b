//! A real `docker-registry` on a loopback port, with a password file.

use super::{Directory, IMAGE, docker, require_engine};
use base64::Engine;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const USER: &str = "alice";
pub const PASSWORD: &str = "correct horse/battery+staple";

const START: Duration = Duration::from_secs(30);

/// A running registry. Dropping it stops it and removes its directory and, from the engine, all of its images.
pub struct Registry {
    directory: Directory,
    port: u16,
    process: Option<Child>,
    access: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    pub fn start() -> Self {
        require_engine();
        let directory = Directory::new("registry");
        std::fs::write(directory.path().join("htpasswd"), password_file()).unwrap();
        let mut registry = Self {
            directory,
            port: 0,
            process: None,
            access: Arc::default(),
        };
        registry.resume();
        // As `docker login` leaves it. Podman checks a login over TLS, which this registry does not speak.
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let login = json!({"auths": {registry.address(): {"auth": login}}});
        let file = registry.directory.path().join("login");
        std::fs::create_dir(&file).unwrap();
        std::fs::write(file.join("config.json"), login.to_string()).unwrap();
        registry
    }

    /// Starts it on the port that it had before, if it had one.
    pub fn resume(&mut self) {
        let configuration = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": self.directory.file("storage")}},
            "http": {"addr": self.address()},
            "auth": {"htpasswd": {"realm": "test", "path": self.directory.file("htpasswd")}},
        });
        // JSON is also YAML.
        let file = self.directory.file("config.yml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut process = Command::new("docker-registry")
            .args(["serve", &file])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need docker-registry; `make test` installs it");
        let log = lines(process.stderr.take().unwrap());
        keep_lines(process.stdout.take().unwrap(), self.access.clone());
        self.process = Some(process);
        self.port = await_listening(&log);
    }

    /// Stops it; its port refuses connections until [`Registry::resume`].
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Answers no request until [`Registry::unfreeze`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn unfreeze(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the registry runs");
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The `auth_config` of its only user.
    pub fn credentials(&self) -> Value {
        json!({"username": USER, "password": PASSWORD, "serveraddress": self.address()})
    }

    /// Pushes an image whose file `/version` contains `version`. The engine's images stay unchanged. Returns the digest.
    pub fn push(&self, name: &str, version: &str) -> String {
        let image = format!("{}/{name}", self.address());
        let before = docker(&["images", "--quiet", "--no-trunc", &image]);
        let container = docker(&["create", IMAGE]);
        let file = self.directory.file("version");
        std::fs::write(&file, format!("{version}\n")).unwrap();
        docker(&["cp", &file, &format!("{container}:/version")]);
        let label = format!("LABEL {}", self.label());
        docker(&["commit", "--change", &label, &container, &image]);
        docker(&["rm", &container]);
        let pushed = self.docker(&["push", &image]);
        docker(&["rmi", &image]);
        if !before.is_empty() {
            docker(&["tag", &before, &image]);
        }
        let digest = pushed
            .split_once("digest: ")
            .expect("docker push says it")
            .1;
        digest.split(' ').next().unwrap().to_owned()
    }

    /// Whether the engine has an image under this name.
    pub fn engine_has(&self, name: &str) -> bool {
        let image = format!("{}/{name}", self.address());
        !docker(&["images", "--quiet", &image]).is_empty()
    }

    /// The paths fetched so far from a repository, `manifests/…` and `blobs/…`, repetitions included.
    pub fn fetched(&self, repository: &str) -> Vec<String> {
        let asked = format!("\"GET /v2/{repository}/");
        let access = self.access.lock().unwrap();
        let paths = access.iter().filter_map(|line| {
            let (path, rest) = line.split_once(&asked)?.1.split_once(' ')?;
            rest.contains("\" 200 ").then(|| path.to_owned())
        });
        paths.collect()
    }

    /// Runs the docker command with this registry's login, kept in its own directory.
    fn docker(&self, arguments: &[&str]) -> String {
        let login = self.directory.file("login");
        docker(&[&["--config", &login], arguments].concat())
    }

    /// A label on every image made here, so that untagged ones are found as well.
    fn label(&self) -> String {
        format!("oneoff.test.registry={}", self.directory.path().display())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        let filter = format!("label={}", self.label());
        let images = docker(&[
            "images",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &filter,
        ]);
        let mut images: Vec<&str> = images.lines().collect();
        images.sort_unstable();
        images.dedup();
        if !images.is_empty() {
            docker(&[&["rmi", "--force"], &images[..]].concat());
        }
    }
}

fn password_file() -> Vec<u8> {
    let output = Command::new("htpasswd")
        .args(["-Bbn", USER, PASSWORD])
        .output()
        .expect("these tests need htpasswd of apache2-utils; `make test` installs it");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Waits for the log line that says that it listens. Returns the port.
fn await_listening(log: &Receiver<String>) -> u16 {
    let mut seen = Vec::new();
    loop {
        let line = log.recv_timeout(START).unwrap_or_else(|error| {
            panic!("the registry did not start ({error}):\n{}", seen.join("\n"))
        });
        if let Some((_, port)) = line.split_once("listening on 127.0.0.1:") {
            let digits = port.split('"').next().unwrap();
            return digits.parse().unwrap();
        }
        seen.push(line);
    }
}

/// Sends lines as they are read. The thread reads to the end of the source even if the receiver is gone.
fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

fn keep_lines(source: impl Read + Send + 'static, kept: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line);
        }
    });
}
