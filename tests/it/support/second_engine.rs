//! A second engine for tests that stop, kill or freeze it: its images, servers that use it, and what they leave in it.

mod process;

pub use process::SecondEngine;

use super::engine::{leftovers_at, require_engine, without_init};
use super::{IMAGE, Server};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

impl SecondEngine {
    /// Runs the docker command on this engine.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let connection = self.connection();
        let connection: Vec<&str> = connection.iter().map(String::as_str).collect();
        super::docker(&[&connection[..], arguments].concat())
    }

    fn connection(&self) -> Vec<String> {
        let mut options = vec!["--host".to_owned(), self.docker_host()];
        if self.certificates().exists() {
            options.push("--tlsverify".into());
            for (option, file) in [
                ("--tlscacert", "ca.pem"),
                ("--tlscert", "cert.pem"),
                ("--tlskey", "key.pem"),
            ] {
                let file = self.certificates().join(file);
                options.extend([option.to_owned(), file.to_str().unwrap().to_owned()]);
            }
        }
        options
    }

    /// Copies the test images from the machine's engine.
    pub fn load_images(&self) {
        require_engine();
        let mut saved = Command::new("docker")
            .args(["save", IMAGE, "alpine:latest"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let loaded = Command::new("docker")
            .args(self.connection())
            .args(["load", "--quiet"])
            .stdin(saved.stdout.take().unwrap())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(loaded.success(), "docker load: {loaded}");
        assert!(saved.wait().unwrap().success(), "docker save");
    }

    /// Starts a server that uses this engine, with further settings.
    pub fn server(&self, settings: &[(&str, &str)]) -> Server {
        let (host, certificates) = (self.docker_host(), self.certificates());
        let mut all = vec![("DOCKER_HOST", host.as_str())];
        if certificates.exists() {
            all.push(("DOCKER_TLS_VERIFY", "1"));
            all.push(("DOCKER_CERT_PATH", certificates.to_str().unwrap()));
        }
        all.extend(settings);
        Server::with(&all)
    }

    /// The containers and volumes of a server in this engine.
    pub fn leftovers(&self, instance: &str) -> Vec<String> {
        let label = format!("oneoff.instance={instance}");
        leftovers_at(&|arguments| self.docker(arguments), &label)
    }

    pub fn await_nothing_left(&self, instance: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = without_init(self.leftovers(instance));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
        }
    }

    /// Waits until a container of this server runs.
    pub fn await_running(&self, instance: &str) {
        let filter = format!("label=oneoff.instance={instance}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self
            .docker(&["ps", "--quiet", "--filter", &filter])
            .is_empty()
        {
            assert!(Instant::now() < deadline, "no container runs");
        }
    }
}
