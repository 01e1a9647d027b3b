//! The built binary as a server process on a free port: start, requests, stop, and a check that nothing is left.

use super::engine::{engine_socket, leftovers, leftovers_beside_a_server, require_engine};
use super::program::program;
use super::{Answer, Request, read_answer};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running server. Dropping it kills it; end a test with [`Server::stop`].
pub struct Server {
    child: Child,
    /// The server's process, which may be a child of `child`.
    process: u32,
    pub address: String,
    pub instance: String,
    private_dir: std::path::PathBuf,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With these environment variables.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::named(&fresh_instance(), settings)
    }

    /// With its log in a file.
    pub fn with_log(settings: &[(&str, &str)], log: &std::path::Path) -> Self {
        Self::named_with_log(&fresh_instance(), settings, log)
    }

    /// Under this instance name, with its log in a file.
    pub fn named_with_log(
        instance: &str,
        settings: &[(&str, &str)],
        log: &std::path::Path,
    ) -> Self {
        let file = std::fs::File::create(log).unwrap();
        Self::launch(instance, settings, file.into())
    }

    /// Under this instance name.
    pub fn named(instance: &str, settings: &[(&str, &str)]) -> Self {
        Self::launch(instance, settings, Stdio::inherit())
    }

    /// Under this instance name, in a PID namespace of its own, as in a container of its own.
    pub fn in_its_own_namespace(instance: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("unshare");
        let arguments = ["--pid", "--fork", "--mount-proc", "--kill-child"];
        command.args(arguments).arg(program());
        Self::launch_with(command, (None, 0), instance, (settings, Stdio::inherit()))
    }

    /// As a user who runs nothing else, so that a limit on the user's threads affects this server alone.
    pub fn of_its_own_user() -> Self {
        Self::of_its_own_user_with(&[])
    }

    /// As [`Server::of_its_own_user`], with these environment variables.
    pub fn of_its_own_user_with(settings: &[(&str, &str)]) -> Self {
        Self::launch_as(own_user(), &fresh_instance(), settings, Stdio::inherit())
    }

    /// As [`Server::of_its_own_user`], under this instance name, with its log in a file.
    pub fn of_its_own_user_with_log(instance: &str, settings: &[(&str, &str)], log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        Self::launch_as(own_user(), instance, settings, file.into())
    }

    /// As [`Server::of_its_own_user`], with the engine at this Unix socket, and under this instance name.
    pub fn of_its_own_user_at(socket: &Path, instance: &str, settings: &[(&str, &str)]) -> Self {
        let group = std::fs::metadata(socket).unwrap().gid();
        let user = 2_000_000 + std::process::id();
        Self::launch_as((Some(user), group), instance, settings, Stdio::inherit())
    }

    fn launch(instance: &str, settings: &[(&str, &str)], log: Stdio) -> Self {
        Self::launch_as((None, 0), instance, settings, log)
    }

    fn launch_as(
        owner: (Option<u32>, u32),
        instance: &str,
        settings: &[(&str, &str)],
        log: Stdio,
    ) -> Self {
        Self::launch_with(Command::new(program()), owner, instance, (settings, log))
    }

    fn launch_with(
        mut command: Command,
        (user, group): (Option<u32>, u32),
        instance: &str,
        (settings, log): (&[(&str, &str)], Stdio),
    ) -> Self {
        if !settings.iter().any(|(name, _)| *name == "DOCKER_HOST") {
            require_engine();
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let private_dir = std::env::temp_dir().join(format!("{instance}-{number}-tmp"));
        std::fs::create_dir_all(&private_dir).unwrap();
        let is_wrapped = command.get_program() != program();
        command
            .env("PORT", "0")
            .env("RUNNER_INSTANCE", instance)
            .env("TMPDIR", &private_dir)
            .env("RUST_LOG", "warn,access=off")
            .envs(settings.iter().copied())
            .current_dir(&private_dir)
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(user) = user {
            chown(&private_dir, Some(user), Some(group)).unwrap();
            command.uid(user).gid(group);
        }
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        let address = first
            .trim()
            .rsplit_once("http://")
            .expect("the banner names the address")
            .1
            .to_owned();
        let process = match is_wrapped {
            true => only_child(child.id()),
            false => child.id(),
        };
        let server = Self {
            child,
            process,
            address,
            instance: instance.to_owned(),
            private_dir,
        };
        server.wait_until_ready();
        if !settings.iter().any(|(name, _)| *name == "DOCKER_HOST") {
            server.wait_until_adopting();
        }
        server
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while ask(&self.address, &Request::new("GET", "/nothing-here"))
            .is_none_or(|answer| answer.status == 503)
        {
            assert!(Instant::now() < deadline, "the server does not answer");
        }
    }

    /// Until the server has asked the engine what an earlier one left, it cannot say that a run does not exist.
    fn wait_until_adopting(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while ask(&self.address, &Request::new("GET", "/runs/none"))
            .is_none_or(|answer| answer.status == 503)
        {
            assert!(Instant::now() < deadline, "the engine does not answer");
        }
    }

    /// `POST /run`; the answer must be 200.
    pub fn run(&self, request: Value) -> Value {
        let answer = self.post("/run", &request);
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &body.to_string())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(&Request::new(method, path).body(body))
    }

    /// Sends a request and returns its whole answer.
    pub fn ask(&self, request: &Request<'_>) -> Answer {
        read_answer(&mut self.begin(request)).expect("the server answers")
    }

    /// Sends a request; its answer is unread.
    pub fn begin(&self, request: &Request<'_>) -> TcpStream {
        request
            .send(&self.address)
            .expect("the server accepts connections")
    }

    /// Sends `POST /run`; its answer is unread.
    pub fn begin_run(&self, request: &Value) -> TcpStream {
        self.begin(&Request::new("POST", "/run").body(&request.to_string()))
    }

    pub fn leftovers(&self) -> Vec<String> {
        leftovers_beside_a_server(&format!("oneoff.instance={}", self.instance))
    }

    /// Waits until a container of this server runs. Returns its id.
    pub fn await_running(&self) -> String {
        let filter = format!("label=oneoff.instance={}", self.instance);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let running = super::docker(&["ps", "-q", "--no-trunc", "--filter", &filter]);
            if let Some(id) = running.lines().next() {
                return id.to_owned();
            }
            assert!(Instant::now() < deadline, "no container runs");
        }
    }

    /// Waits until a container of this name runs, and nothing else of this server does.
    pub fn await_nothing_but(&self, name: &str) {
        let filter = format!("label=oneoff.instance={}", self.instance);
        let deadline = Instant::now() + Duration::from_secs(30);
        while super::docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"]) != name {
            assert!(Instant::now() < deadline, "{name} does not run alone");
        }
    }

    /// Waits until the engine holds nothing of this server, which continues to run.
    pub fn await_nothing_left(&self) {
        await_nothing_left(&self.instance);
    }

    /// Sends SIGTERM and waits for the end. The exit code must be 0 and nothing may be left: no
    /// container, no volume, no file.
    pub fn stop(self) {
        self.signal("TERM");
        self.stop_signalled();
    }

    /// As [`Server::stop`], beside another server of this name, whose objects are not looked at.
    pub fn stop_beside(mut self) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the server ended with {status}");
    }

    /// As [`Server::stop`], after the signal was sent.
    pub fn stop_signalled(self) {
        let instance = self.instance.clone();
        self.stop_signalled_without_engine();
        assert_eq!(
            leftovers(&format!("oneoff.instance={instance}")),
            Vec::<String>::new(),
            "nothing is left behind"
        );
    }

    /// As [`Server::stop_signalled`], for a server that had no engine.
    pub fn stop_signalled_without_engine(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the server ended with {status}");
        let files: Vec<_> = std::fs::read_dir(&self.private_dir).unwrap().collect();
        assert!(files.is_empty(), "no file is left behind: {files:?}");
    }

    /// Sends SIGTERM and waits for the end; runs stay in the engine for the next server. Returns the instance.
    pub fn leave(mut self) -> String {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the server ended with {status}");
        self.instance.clone()
    }

    /// Sends SIGKILL and waits for the end. Returns the instance.
    pub fn kill(mut self) -> String {
        self.signal("KILL");
        self.child.wait().unwrap();
        self.instance.clone()
    }

    pub fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args(["-s", name, &self.process.to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
    }

    /// The directory of its temporary files.
    pub fn private_dir(&self) -> &Path {
        &self.private_dir
    }

    pub fn pid(&self) -> u32 {
        self.process
    }

    /// Limits the threads of all processes of the server's user; `None` removes the limit.
    pub fn limit_threads_of_its_user(&self, threads: Option<u64>) {
        let process = std::fs::metadata(format!("/proc/{}", self.pid())).unwrap();
        let most = rustix::process::getrlimit(rustix::process::Resource::Nproc).maximum;
        let limit = threads.or(most);
        let limit = limit.map_or("unlimited".to_owned(), |threads| threads.to_string());
        // As that user: in some containers root may not change the limit.
        let limited = Command::new("prlimit")
            .args([format!("--pid={}", self.pid()), format!("--nproc={limit}:")])
            .uid(process.uid())
            .gid(process.gid())
            .status()
            .unwrap();
        assert!(limited.success());
    }

    /// Limits the descriptors of the server; `None` removes the limit.
    pub fn limit_descriptors(&self, descriptors: Option<usize>) {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
        let limit = descriptors.map_or(most, |most| most.to_string());
        let process = std::fs::metadata(format!("/proc/{}", self.pid())).unwrap();
        let limited = Command::new("prlimit")
            .args([
                format!("--pid={}", self.pid()),
                format!("--nofile={limit}:"),
            ])
            .uid(process.uid())
            .gid(process.gid())
            .status()
            .unwrap();
        assert!(limited.success());
    }

    /// How many descriptors the server has open.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.unwrap().count()
    }

    /// A number from `/proc/<pid>/status`, such as `VmHWM` (kB) or `Threads`.
    pub fn status_number(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(&format!("{field}:")))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A user who runs nothing else, and the group that may use the engine. Only root can start a process of another user.
fn own_user() -> (Option<u32>, u32) {
    let engine = std::fs::metadata(engine_socket()).unwrap();
    let user = std::fs::metadata("/proc/self").unwrap().uid();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = (user == 0).then(|| 100_000_000 + 64 * std::process::id() + number);
    (own, engine.gid())
}

fn only_child(parent: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    children.unwrap().trim().parse().unwrap()
}

pub fn fresh_instance() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}", std::process::id())
}

/// Waits until the engine holds nothing of an instance.
pub fn await_nothing_left(instance: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = leftovers_beside_a_server(&format!("oneoff.instance={instance}"));
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:?}");
    }
}

/// Sends a request to any server and reads the answer to its end; `None` if there is no server or no answer.
pub fn ask(address: &str, request: &Request<'_>) -> Option<Answer> {
    read_answer(&mut request.send(address).ok()?)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.private_dir);
    }
}
