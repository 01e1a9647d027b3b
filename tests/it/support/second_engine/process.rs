//! A real `dockerd` beside the machine's own, on a loopback port with or without TLS, or on a Unix socket. It can be
//! killed, frozen and started again, and is removed with everything of its own on drop.
use crate::support::Authority;
use oneoff_docker_runner::docker::Host;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// An engine that belongs to one test.
pub struct SecondEngine {
    directory: PathBuf,
    address: Address,
    options: Vec<String>,
    process: Option<Process>,
}

enum Address {
    Tcp(u16),
    /// The file `socket` in its directory.
    Unix,
}

struct Process {
    child: Child,
    // Lines of its log; the channel disconnects when the process ends.
    log: Receiver<String>,
}

impl SecondEngine {
    /// Starts one on TCP with `--tlsverify`; [`SecondEngine::certificates`] is a fitting `DOCKER_CERT_PATH`.
    pub fn start_tls(name: &str) -> Self {
        let directory = fresh_directory(name);
        let authority = Authority::new("oneoff test engine CA");
        authority.write_client(&directory.join("client"), &authority);
        let (cert, key) = authority.server(&["localhost", "127.0.0.1"]);
        for (file, content) in [
            ("ca.pem", authority.pem()),
            ("cert.pem", cert),
            ("key.pem", key),
        ] {
            fs::write(directory.join(file), content).unwrap();
        }
        let file = |name: &str| directory.join(name).display().to_string();
        let options = vec![
            "--tlsverify".into(),
            format!("--tlscacert={}", file("ca.pem")),
            format!("--tlscert={}", file("cert.pem")),
            format!("--tlskey={}", file("key.pem")),
        ];
        Self::start_tcp(directory, options)
    }

    /// Starts one on TCP without TLS.
    pub fn start_plain(name: &str) -> Self {
        Self::start_tcp(fresh_directory(name), vec!["--tls=false".into()])
    }

    fn start_tcp(directory: PathBuf, options: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let bridge = ["link", "add", &bridge_name(port), "type", "bridge"];
        let added = Command::new("ip").args(bridge).status();
        assert!(added.expect("ip is installed").success());
        let mut engine = Self {
            directory,
            address: Address::Tcp(port),
            options,
            process: None,
        };
        engine.start();
        engine
    }

    /// One on a Unix socket; it is not started.
    pub fn unix(name: &str) -> Self {
        Self {
            directory: fresh_directory(name),
            address: Address::Unix,
            options: Vec::new(),
            process: None,
        }
    }

    /// One on a Unix socket whose data is on a disk of its own, of this many megabytes; it is not started.
    pub fn on_a_small_disk(name: &str, megabytes: u64) -> Self {
        let engine = Self::unix(name);
        let (disk, data) = (engine.directory.join("disk"), engine.data_root());
        fs::create_dir(&data).unwrap();
        let file = fs::File::create(&disk).unwrap();
        file.set_len(megabytes << 20).unwrap();
        run(
            "mke2fs",
            &["-q", "-F", "-t", "ext4", disk.to_str().unwrap()],
        );
        let (disk, data) = (disk.to_str().unwrap(), data.to_str().unwrap());
        run("mount", &["-o", "loop", disk, data]);
        engine
    }

    /// With these further options of `dockerd`.
    pub fn options(mut self, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned());
        self.options.extend(options);
        self
    }

    /// Where it keeps its images, containers and volumes.
    pub fn data_root(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts it, with the data of its earlier life, if any, and waits until it listens.
    pub fn start(&mut self) {
        let file = |name: &str| self.directory.join(name).display().to_string();
        fs::write(self.directory.join("daemon.json"), "{}").unwrap();
        let mut command = match self.address {
            // Not `--bridge=none`, which would delete the bridge of the machine's engine.
            Address::Tcp(port) => {
                let mut command = Command::new("dockerd");
                command.arg(format!("--bridge={}", bridge_name(port)));
                command
            }
            // In another network namespace `--bridge=none` does no harm.
            Address::Unix => {
                let mut command = Command::new("unshare");
                command.args(["--net", "dockerd", "--bridge=none"]);
                command
            }
        };
        let mut child = command
            .arg(format!("--host={}", self.docker_host()))
            .arg(format!("--config-file={}", file("daemon.json")))
            .arg(format!("--data-root={}", file("data")))
            .arg(format!("--exec-root={}", file("exec")))
            .arg(format!("--pidfile={}", file("pid")))
            .args(["--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need dockerd");
        let log = lines(child.stderr.take().unwrap());
        let process = self.process.insert(Process { child, log });
        process.await_listening();
    }

    /// SIGKILL; its containers continue to run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.child.kill().unwrap();
            process.child.wait().unwrap();
        }
        self.await_the_end_of_containerd();
    }

    /// The kernel ends containerd with its parent. Its pid file is removed here: where orphans are not reaped, the next
    /// engine would take the zombie for a running containerd.
    fn await_the_end_of_containerd(&self) {
        let file = self.directory.join("exec/containerd/containerd.pid");
        let Ok(pid) = fs::read_to_string(&file) else {
            return;
        };
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        assert!(ends_within(pid, STOP), "containerd goes on");
        fs::remove_file(&file).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end();
        }
    }

    /// Stops the process: the kernel still accepts connections, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn unfreeze(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the engine runs");
        kill_process(Pid::from_child(&process.child), signal).unwrap();
    }

    /// `DOCKER_HOST`.
    pub fn docker_host(&self) -> String {
        match self.address {
            Address::Tcp(port) => format!("tcp://127.0.0.1:{port}"),
            Address::Unix => format!("unix://{}", self.directory.join("socket").display()),
        }
    }

    /// `DOCKER_CERT_PATH` with a client certificate that the engine accepts.
    pub fn certificates(&self) -> PathBuf {
        self.directory.join("client")
    }

    /// A directory for the test's files, removed with the engine.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `127.0.0.1:port`
    pub fn authority(&self) -> String {
        let host = self.docker_host();
        host.trim_start_matches("tcp://").to_owned()
    }

    pub fn plain_host(&self) -> Host {
        Host::parse(&self.docker_host(), None, None).unwrap()
    }

    /// With verification, and the given `DOCKER_CERT_PATH`.
    pub fn tls_host(&self, certificates: &Path) -> Host {
        Host::parse(&self.docker_host(), Some("1"), certificates.to_str()).unwrap()
    }
}

/// Waits for the end of a process, `patience` at most. A zombie counts as ended. Returns whether it ended.
fn ends_within(pid: Pid, patience: Duration) -> bool {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(error) => return error == Errno::SRCH,
    };
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut ended, Some(&patience.try_into().unwrap())).unwrap() > 0
}

fn run(program: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .status();
    assert!(status.expect(program).success(), "{program} {arguments:?}");
}

/// The name of this engine's bridge.
fn bridge_name(port: u16) -> String {
    format!("oneoff{port}")
}

impl Process {
    fn await_listening(&self) {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(START) {
                Ok(line) if line.contains("API listen on") => return,
                Ok(line) => seen.push(line),
                Err(error) => panic!(
                    "the second engine did not start ({error}):\n{}",
                    seen.join("\n")
                ),
            }
        }
    }

    /// Sends SIGTERM, then SIGKILL if it does not end in time. (Its log may stay open longer: a shim can hold it.)
    fn end(mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        ends_within(Pid::from_child(&self.child), STOP);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        self.stop();
        kill_what_remains(&self.directory);
        unmount_below(&self.directory);
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{} is left behind: {error}", self.directory.display());
        }
        if let Address::Tcp(port) = self.address {
            let bridge = bridge_name(port);
            let _ = Command::new("ip")
                .args(["link", "delete", &bridge])
                .status();
        }
    }
}

/// Kills the containerd, shims and containers that a killed engine left running. Containers are found as children of
/// shims, everything else by the directory in its command line.
fn kill_what_remains(directory: &Path) {
    let directory = directory.to_string_lossy();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.path();
        let command = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !command.contains("containerd") || !command.contains(&*directory) {
            continue;
        }
        let children = fs::read_to_string(process.join("task").join(&pid).join("children"));
        for pid in children
            .unwrap_or_default()
            .split(' ')
            .chain([pid.as_str()])
        {
            let pid = Pid::from_raw(pid.parse().unwrap_or_default());
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

fn fresh_directory(name: &str) -> PathBuf {
    let directory =
        std::env::temp_dir().join(format!("oneoff-engine-{name}-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    directory
}

fn lines(source: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Unmounts the overlays and namespaces that a killed engine left mounted.
fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut below: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(directory))
        .collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in below {
        let _ = Command::new("umount").args(["--lazy", point]).status();
    }
}
