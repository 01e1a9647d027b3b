//! The container image, started with the README's command: it gets the engine's socket and nothing else.

use super::support::quickstart::{expect_files, expect_hello, files, hello};
use super::support::{Answer, Directory, Request, ask, await_nothing_left, docker, require_engine};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An image with the binary under test and the libraries that it is linked to. The released binary is static:
/// `make build` checks that.
struct Image(String);

/// The script builds in one directory, and the builder takes layers of images that another test may be removing.
static BUILDING: Mutex<()> = Mutex::new(());

impl Image {
    fn build(name: &str) -> Self {
        require_engine();
        let image = Self(format!("oneoff-image-test:{name}-{}", std::process::id()));
        let binary = crate::support::program();
        let context = Directory::new("image");
        let building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        run(script("image.sh").args([binary, &image.0]));
        let libraries = context.file("libraries.tar");
        let pack = format!("ldd {binary} | grep -o '/[^ ]*' | tar -chPf {libraries} -T -");
        run(Command::new("sh").args(["-c", &pack]));
        let recipe = format!("FROM {}\nADD libraries.tar /\n", image.0);
        std::fs::write(context.path().join("Dockerfile"), recipe).unwrap();
        docker(&["build", "--tag", &image.0, context.path().to_str().unwrap()]);
        drop(building);
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        // This also removes the image below it, without libraries.
        let removed = Command::new("docker").args(["rmi", &self.0]).output();
        assert!(std::thread::panicking() || removed.unwrap().status.success());
    }
}

fn script(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/support")
            .join(name),
    )
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
    words.into_owned()
}

/// `docker run --rm` in the foreground, as in the README.
struct Container {
    name: String,
    address: String,
    command: Child,
}

impl Container {
    fn start(image: &Image) -> Self {
        let port = free_port();
        let name = format!("oneoff-image-test-{}", std::process::id());
        let command = Command::new("docker")
            .args(["run", "--rm", "--name", &name, "--health-interval=1s"])
            .args(["-p", &format!("127.0.0.1:{port}:8000")])
            .args(["-v", "/var/run/docker.sock:/var/run/docker.sock"])
            .arg(&image.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let mut container = Self {
            name,
            address,
            command,
        };
        container.await_answers();
        container
    }

    fn await_answers(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let answers = |answer: Answer| answer.status == 200;
        while !ask(&self.address, &Request::new("GET", "/health")).is_some_and(answers) {
            let ended = self.command.try_wait().unwrap();
            assert_eq!(ended, None, "the container ended before it answered");
            assert!(Instant::now() < deadline, "the container does not answer");
            // Polled: there is no event for another process that starts to listen.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&self, request: &Value) -> Value {
        let answer: Answer = ask(
            &self.address,
            &Request::new("POST", "/run").body(&request.to_string()),
        )
        .unwrap_or_else(|| panic!("no answer; {}", bridge()));
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    /// Waits until HEALTHCHECK reports the container as healthy.
    fn await_healthy(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let format = [
            "inspect",
            "--format",
            "{{.State.Health.Status}}",
            &self.name,
        ];
        loop {
            match docker(&format).as_str() {
                "healthy" => return,
                "starting" if Instant::now() < deadline => {}
                status => panic!("the container is {status}"),
            }
        }
    }

    /// Stops it with `docker stop`. Returns its exit code.
    fn stop(mut self) -> Option<i32> {
        docker(&["stop", &self.name]);
        self.command.wait().unwrap().code()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", &self.name])
            .output();
        let _ = self.command.wait();
    }
}

/// The state of Docker's bridge, for the failure message: a broken bridge loses answers that were sent.
fn bridge() -> String {
    let kind = std::fs::read_to_string("/sys/class/net/docker0/addr_assign_type");
    format!(
        "docker0's addr_assign_type is {kind:?}: with any but 3 its address changes with the containers on it, which \
         cuts connections (ip link set docker0 address ... sets one)"
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn the_readmes_docker_run_serves_both_quick_starts_is_healthy_and_stops_cleanly() {
    let image = Image::build("readme");
    let container = Container::start(&image);
    let hostname = docker(&[
        "inspect",
        "--format",
        "{{.Config.Hostname}}",
        &container.name,
    ]);
    expect_hello(&container.run(&hello()));
    expect_files(&container.run(&files()));
    container.await_healthy();
    assert_eq!(container.stop(), Some(0));
    await_nothing_left(&format!("{hostname}:8000"));
}

#[test]
fn the_image_also_works_detached_with_named_volumes_and_without_root() {
    let image = Image::build("check");
    let port = free_port().to_string();
    let checked = run(script("image_check.sh")
        .arg(&image.0)
        .env("ONEOFF_CHECK_PORT", &port));
    for proof in [
        "as root: a volume filled",
        "as root: healthcheck",
        "as 65532: stopped, nothing left",
    ] {
        assert!(checked.contains(&format!("ok  {proof}")), "{checked}");
    }
}
