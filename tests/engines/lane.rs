//! Runs the tests on an engine in namespaces of its own, entered by `tests/support/engines/enter.sh`. The tests run in the
//! engine's network namespace, so that a registry on a loopback port is one for the engine too.

use crate::binary;
use crate::engine::{Engine, Kind, Suite};
use crate::outcome::Outcome;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(60);
const PATIENCE_SECS: &str = "400";
/// Up to this number, tests are run one after the other.
const FEW: usize = 5;
/// Ports of a lane's registries. Podman takes a list of those that it may talk to without TLS, port by port.
const PORTS: std::ops::Range<u16> = 40_000..42_000;

/// What all lanes use.
pub struct Setup {
    /// Below `target/`, kept for the next time.
    pub cache: PathBuf,
    /// Removed at the end.
    pub directory: PathBuf,
    pub binary: PathBuf,
    /// The test images, as `docker save` writes them.
    pub images: PathBuf,
}

impl Setup {
    /// Unpacks the suites, builds the tests, and saves the images of the machine's engine.
    pub fn new(engines: &[&Engine]) -> Self {
        let is_root = fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0);
        assert!(
            is_root,
            "engines get namespaces of their own: run this as root, on Debian"
        );
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = std::env::temp_dir().join(format!("oneoff-engines-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let setup = Self {
            cache: manifest.join("target/engines"),
            images: directory.join("images.tar"),
            binary: binary::path(),
            directory,
        };
        let mut suites: Vec<&Suite> = Vec::new();
        for engine in engines {
            if !suites.iter().any(|suite| suite.name == engine.suite.name) {
                suites.push(engine.suite);
            }
        }
        let unpacking: Vec<Child> = suites.iter().map(|suite| setup.unpack(suite)).collect();
        let mut save = Command::new("docker");
        save.args(["save", "--output"]).arg(&setup.images);
        save.args(["alpine:latest", "busybox:latest"]);
        save.args(
            ["latest", "nonroot", "named-user", "entrypoint", "content"]
                .map(|tag| format!("oneoff-test:{tag}")),
        );
        assert!(save.status().unwrap().success(), "docker save");
        for mut child in unpacking {
            assert!(child.wait().unwrap().success(), "a suite is not unpacked");
        }
        setup
    }

    fn unpack(&self, suite: &Suite) -> Child {
        Command::new(script("root.sh"))
            .arg(suite.name)
            .arg(self.root(suite))
            .args(suite.packages)
            .spawn()
            .unwrap()
    }

    pub fn root(&self, suite: &Suite) -> PathBuf {
        self.cache.join(suite.name)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn script(name: &str) -> PathBuf {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/engines");
    Path::new(scripts).join(name)
}

/// A running engine. Dropping it ends it and all that it started.
struct Lane {
    directory: PathBuf,
    control_group: String,
    log: PathBuf,
    process: Child,
}

/// Starts the engine and runs these tests on it.
pub fn run(engine: &Engine, setup: &Setup, tests: &[&str]) -> Outcome {
    let lane = Lane::start(engine, setup);
    match lane.await_version().and_then(|version| {
        lane.load(&setup.images)?;
        Ok(version)
    }) {
        Ok(version) => {
            let printed = lane.test(&setup.binary, tests);
            Outcome::parse(version, &printed)
        }
        Err(why) => Outcome::failed(format!("{why}; the end of its log:\n{}", lane.log_end())),
    }
}

impl Lane {
    fn start(engine: &Engine, setup: &Setup) -> Self {
        let directory = setup.directory.join(engine.name);
        fs::create_dir_all(directory.join("tmp")).unwrap();
        // Of an earlier attempt.
        let _ = fs::remove_file(directory.join("engine.sock"));
        let control_group = format!("oneoff-engines-{}-{}", std::process::id(), engine.name);
        let socket = format!("unix://{}", directory.join("engine.sock").display());
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(script("enter.sh"))
            .arg(setup.root(engine.suite))
            .arg(&directory);
        match engine.kind {
            Kind::Docker(configuration) => {
                let file = directory.join("daemon.json");
                fs::write(&file, configuration).unwrap();
                command.args(["dockerd", "--host", &socket, "--data-root", "/data"]);
                command.args(["--cgroup-parent", &control_group]);
                command.arg("--config-file").arg(file);
            }
            Kind::Rootless => {
                command.args(["dockerd-rootless.sh", "--host", &socket]);
                command.args(["--data-root", "/data"]);
            }
            Kind::Podman | Kind::Machine => {
                let file = directory.join("registries.conf");
                fs::write(&file, without_tls()).unwrap();
                command.env("CONTAINERS_REGISTRIES_CONF", file);
                command.args(["podman", "--root", "/data", "--runroot", "/run/podman"]);
                command.args(["--cgroup-manager", "cgroupfs"]);
                command.args(["system", "service", "--time=0", &socket]);
            }
        }
        let path = setup.cache.join(format!("{}.log", engine.name));
        let log = fs::File::create(&path).unwrap();
        command
            .env("ONEOFF_PORTS", format!("{} {}", PORTS.start, PORTS.end - 1))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Self {
            process: command.spawn().unwrap(),
            directory,
            control_group,
            log: path,
        }
    }

    /// The output of a `docker` command, or what it said when it failed.
    fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("docker")
            .env("DOCKER_HOST", self.docker_host())
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    fn docker_host(&self) -> String {
        format!("unix://{}", self.directory.join("engine.sock").display())
    }

    fn await_version(&self) -> Result<String, String> {
        let deadline = Instant::now() + START;
        loop {
            match self.docker(&["version", "--format", "{{.Server.Version}}"]) {
                Ok(version) => return Ok(version),
                Err(said) if Instant::now() > deadline => {
                    return Err(format!("the engine does not answer ({said})"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn load(&self, images: &Path) -> Result<(), String> {
        let images = images.to_str().unwrap();
        let loaded = self.docker(&["load", "--quiet", "--input", images]);
        loaded
            .map(drop)
            .map_err(|said| format!("docker load: {said}"))
    }

    fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The id of a process in the engine's network namespace. A rootless engine has one of its own within the lane's.
    fn networked(&self) -> u32 {
        let socket = self.docker_host();
        let is_engine = |id: &u32| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.next() == Some(b"dockerd") && words.any(|word| word == socket.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.into_iter().find(is_engine).unwrap_or(self.process.id())
    }

    /// Runs these tests on the engine and returns what they print.
    fn test(&self, binary: &Path, tests: &[&str]) -> String {
        let threads = if tests.len() > FEW { "4" } else { "1" };
        let output = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.networked()))
            .args(["timeout", "--kill-after=5", PATIENCE_SECS])
            .arg(binary)
            .args(["--exact", "--test-threads", threads])
            .args(tests)
            .env("DOCKER_HOST", self.docker_host())
            .env("TMPDIR", self.directory.join("tmp"))
            .env("RUST_BACKTRACE", "0")
            .stderr(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Of containers that were killed with the engine; of Podman's the name is its own.
        for parent in [self.control_group.as_str(), "libpod_parent"] {
            let _ = Command::new("find")
                .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path"])
                .arg(format!("*/{parent}*"))
                .args(["-exec", "rmdir", "{}", ";"])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Podman's configuration of registries.
fn without_tls() -> String {
    let entry = |port| format!("[[registry]]\nlocation = \"127.0.0.1:{port}\"\ninsecure = true\n");
    PORTS.map(entry).collect()
}
