//! The client of the Engine API against real engines: the machine's own, and second ones on TCP and TLS.

mod archives;
mod busybox_image;
mod calls;
mod connections;
mod containers;
mod stdin;

use oneoff_docker_runner::docker::{
    Client, ContainerCreate, Error, Host, HostConfig, Labels, LogConfig,
    stdcopy::{self, Stream},
};
use std::io::{Read, Write};

fn engine() -> Client {
    let value = |name| std::env::var(name).ok();
    let host = Host::parse(
        &value("DOCKER_HOST").unwrap_or_default(),
        value("DOCKER_TLS_VERIFY").as_deref(),
        value("DOCKER_CERT_PATH").as_deref(),
    );
    let client = Client::new(host.expect("DOCKER_HOST"), None).expect("client");
    busybox_image::ensure(&client);
    client
}

/// The objects of one test carry its label and are removed when the test ends, also when it fails.
struct Bench {
    client: Client,
    label: String,
}

impl Bench {
    fn new(client: Client, test: &str) -> Self {
        let label = format!("oneoff-test.engine-client={test}-{}", std::process::id());
        Self { client, label }
    }

    fn labels(&self) -> Labels {
        let (key, value) = self.label.split_once('=').unwrap();
        Labels::from([(key.into(), value.into())])
    }

    fn config(&self, script: &str) -> ContainerCreate {
        ContainerCreate {
            image: busybox_image::IMAGE.into(),
            cmd: Some(["/bin/sh", "-c", script].map(String::from).into()),
            env: vec!["PATH=/bin".into()],
            labels: self.labels(),
            attach_stdout: true,
            attach_stderr: true,
            network_disabled: true,
            host_config: HostConfig {
                network_mode: Some("none".into()),
                log_config: LogConfig {
                    kind: "none".into(),
                    ..LogConfig::default()
                },
                ..HostConfig::default()
            },
            ..ContainerCreate::default()
        }
    }

    fn with_stdin(&self, script: &str) -> ContainerCreate {
        ContainerCreate {
            attach_stdin: true,
            open_stdin: true,
            stdin_once: true,
            ..self.config(script)
        }
    }

    fn create(&self, config: &ContainerCreate) -> String {
        self.client.container_create(None, None, config).unwrap().id
    }

    fn containers(&self) -> usize {
        self.client
            .container_list(std::slice::from_ref(&self.label))
            .unwrap()
            .len()
    }

    fn assert_nothing_is_left_behind(&self) {
        assert_eq!(self.containers(), 0);
        assert!(
            self.client
                .volume_list(std::slice::from_ref(&self.label))
                .unwrap()
                .is_empty()
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let label = std::slice::from_ref(&self.label);
        for container in self.client.container_list(label).unwrap_or_default() {
            let _ = self.client.container_remove(&container.id);
        }
        for volume in self.client.volume_list(label).unwrap_or_default() {
            let _ = self.client.volume_remove(&volume.name);
        }
    }
}

/// Runs a created container. Returns its standard output, standard error and exit code.
fn run(client: &Client, id: &str, stdin: &[u8]) -> (String, String, i64) {
    let mut attached = client.container_attach(id).unwrap();
    let feed = (!stdin.is_empty()).then(|| client.container_attach_stdin(id).unwrap());
    let wait = client.container_wait_next_exit(id).unwrap();
    client.container_start(id).unwrap();
    if let Some(mut feed) = feed {
        feed.write_all(stdin).unwrap();
        feed.close().unwrap();
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    stdcopy::demultiplex(&mut attached.stream, &mut |stream, piece| {
        match stream {
            Stream::Stdout => stdout.extend_from_slice(piece),
            Stream::Stderr => stderr.extend_from_slice(piece),
        }
        Ok(())
    })
    .unwrap();
    let exit = wait.finish().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), exit.status_code)
}

fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, content).unwrap();
    tar.into_inner().unwrap()
}

fn status_of<T>(outcome: Result<T, Error>) -> (u16, String) {
    match outcome.map(|_| ()).unwrap_err() {
        Error::Status {
            status, message, ..
        } => (status, message),
        other => panic!("not an answer of the engine: {other}"),
    }
}

fn whole_life_of_a_container(bench: &Bench) {
    let client = &bench.client;
    let id = bench
        .create(&bench.with_stdin("cat /data/in; cat; echo bad >&2; echo out > /data/out; exit 7"));
    client
        .archive_put(&id, "/data", &mut &tar_of("in", b"staged\n")[..])
        .unwrap();
    let outcome = run(client, &id, b"fed\n");
    assert_eq!(outcome, ("staged\nfed\n".into(), "bad\n".into(), 7));
    let inspected = client.container_inspect(&id).unwrap();
    assert_eq!(
        (inspected.state.status.as_str(), inspected.state.exit_code),
        ("exited", 7)
    );
    let mut collected = tar::Archive::new(client.archive_get(&id, "/data/out").unwrap());
    let mut entry = collected.entries().unwrap().next().unwrap().unwrap();
    let mut content = String::new();
    entry.read_to_string(&mut content).unwrap();
    assert_eq!(
        (entry.path().unwrap().to_str(), content.as_str()),
        (Some("out"), "out\n")
    );
    client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

/// A tar of one file of zeros, generated while it is read.
fn zeros(path: &str, size: u64) -> impl Read + Send + use<> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let trailer = 1024 + (512 - size % 512) % 512;
    std::io::Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(0).take(size + trailer))
}
