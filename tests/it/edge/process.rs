//! The server in a second process of this test binary, for tests about a whole process: its descriptors, its memory.

use super::rig::Rig;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A second process with a [`Rig`]. It ends when this value is dropped.
pub struct ServerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Kept open, because the test harness of the other process writes to it at its end.
    _stdout: BufReader<ChildStdout>,
    pub addr: SocketAddr,
}

impl ServerProcess {
    /// Starts this test binary again with a limit on open descriptors.
    pub fn start(descriptors: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "edge::resources::a_server_process_serves",
                "--nocapture",
            ])
            .env("EDGE_TEST_DESCRIPTORS", descriptors.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = output
            .by_ref()
            .lines()
            .map(Result::unwrap)
            .find_map(|line| line.split_once("LISTENING ").map(|(_, a)| a.to_owned()))
            .unwrap();
        Self {
            child,
            stdin,
            _stdout: output,
            addr: address.parse().unwrap(),
        }
    }

    /// Resident memory now and its peak, in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stdin.take();
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the server process ended with {status}");
        }
    }
}

/// In the second process: serves until standard input closes, and returns true. In the first: returns false at once.
pub fn be_a_server_process() -> bool {
    let Ok(descriptors) = std::env::var("EDGE_TEST_DESCRIPTORS") else {
        return false;
    };
    let limit = Some(descriptors.parse().unwrap());
    let limits = rustix::process::Rlimit {
        current: limit,
        maximum: limit,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
    let rig = Rig::start();
    println!("LISTENING {}", rig.addr);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    true
}

pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
