//! The client against real engines: the machine's own, and one of its own behind TLS.

mod busybox_image;

use crate::support::{Authority, SecondEngine};
use oneoff_docker_runner::docker::{
    Client, ContainerCreate, Error, Host, HostConfig, Labels, LogConfig, PullProgress,
    VolumeCreate,
    stdcopy::{self, Stream},
};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

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

/// Everything that one test makes carries its label, and is gone when the test ends, whatever its outcome.
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

/// Output and exit code of a created container.
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
    assert!(exit.error.is_none());
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

#[test]
fn a_container_lives_its_whole_life_over_the_unix_socket() {
    whole_life_of_a_container(&Bench::new(engine(), "life"));
}

#[test]
fn output_is_complete_and_its_streams_are_kept_apart() {
    let bench = Bench::new(engine(), "output");
    let script = "yes out | head -c 2000000; yes err | head -c 2000000 >&2";
    let id = bench.create(&bench.config(script));
    let (stdout, stderr, code) = run(&bench.client, &id, b"");
    assert_eq!(
        (stdout.len(), stderr.len(), code),
        (2_000_000, 2_000_000, 0)
    );
    assert!(stdout.starts_with("out\n") && stderr.starts_with("err\n"));
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn wait_returns_before_the_exit_and_finishes_with_it() {
    let bench = Bench::new(engine(), "wait");
    let id = bench.create(&bench.config("sleep 100"));
    let wait = bench.client.container_wait_next_exit(&id).unwrap();
    bench.client.container_start(&id).unwrap();
    assert!(bench.client.container_inspect(&id).unwrap().state.running);
    bench
        .client
        .container_start(&id)
        .expect("a container that runs already is started");
    bench.client.container_kill(&id, "KILL").unwrap();
    assert_eq!(wait.finish().unwrap().status_code, 137);
    assert_eq!(status_of(bench.client.container_kill(&id, "KILL")).0, 409);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn how_a_container_ends_is_told_whatever_ends_it() {
    let bench = Bench::new(engine(), "end");
    let client = &bench.client;
    let end = |script: &str, during: &dyn Fn(&str)| {
        let id = bench.create(&bench.config(script));
        let mut attached = client.container_attach(&id).unwrap();
        let end = client.container_end(&id).unwrap();
        client.container_start(&id).unwrap();
        during(&id);
        std::io::copy(&mut attached.stream, &mut std::io::sink()).unwrap();
        let end = end.finish().unwrap();
        assert_eq!(client.container_ended(&id).unwrap(), end, "{script}");
        client.container_remove(&id).unwrap();
        end.exit_code
    };
    assert_eq!(end("exit 0", &|_| {}), 0);
    assert_eq!(end("exit 7", &|_| {}), 7);
    let kill = |id: &str| client.container_kill(id, "KILL").unwrap();
    assert_eq!(end("sleep 100", &kill), 137);
    // Longer than an event may be late.
    assert_eq!(end("exec >&- 2>&-; sleep 3; exit 9", &|_| {}), 9);
    assert_eq!(status_of(client.container_ended("nope")).0, 404);
    bench.assert_nothing_is_left_behind();
}

#[test]
fn logs_are_the_output_again() {
    let bench = Bench::new(engine(), "logs");
    let mut config = bench.config("echo hello");
    config.host_config.log_config.kind = "json-file".into();
    let id = bench.create(&config);
    run(&bench.client, &id, b"");
    let mut logs = bench.client.container_logs(&id, false).unwrap();
    let mut seen = Vec::new();
    stdcopy::demultiplex(&mut logs.stream, &mut |_, piece| {
        seen.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, b"hello\n");
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

/// A tar of one file of zeros, made while it is read.
fn zeros(path: &str, size: u64) -> impl Read + Send + use<> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let trailer = 1024 + (512 - size % 512) % 512;
    std::io::Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(0).take(size + trailer))
}

#[test]
fn large_archives_stream_both_ways() {
    let bench = Bench::new(engine(), "large");
    let id = bench.create(&bench.config("true"));
    let size = 96 << 20;
    bench
        .client
        .archive_put(&id, "/data", &mut zeros("big", size))
        .unwrap();
    let stat = bench
        .client
        .archive_stat(&id, "/data/big")
        .unwrap()
        .unwrap();
    assert_eq!(stat.size, size as i64);
    let mut back = bench.client.archive_get(&id, "/data/big").unwrap();
    let received = std::io::copy(&mut back, &mut std::io::sink()).unwrap();
    assert!(received > size, "{received}");
    // A reader that is dropped early only costs its connection.
    let mut back = bench.client.archive_get(&id, "/data/big").unwrap();
    back.read_exact(&mut [0; 1000]).unwrap();
    drop(back);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn an_upload_that_the_engine_refuses_is_answered_with_its_reason() {
    let bench = Bench::new(engine(), "refused");
    let mut config = bench.config("true");
    config.host_config.readonly_rootfs = true;
    let id = bench.create(&config);
    let size = 64 << 20;
    let (status, message) = status_of(bench.client.archive_put(
        &id,
        "/data",
        &mut zeros("big", size),
    ));
    assert!(
        status >= 400 && message.contains("read-only"),
        "{status} {message}"
    );
    let (status, _) = status_of(
        bench
            .client
            .archive_put(&id, "/absent", &mut zeros("big", size)),
    );
    assert_eq!(status, 404);
    let (status, _) = status_of(bench.client.archive_put(
        "no-such-container",
        "/",
        &mut zeros("big", size),
    ));
    assert_eq!(status, 404);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn a_source_that_fails_is_not_the_engines_fault() {
    struct Broken(u32);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(std::io::ErrorKind::Interrupted.into()),
                2 => zeros("x", 1 << 20).read(buffer),
                _ => Err(std::io::Error::other("the disk is on fire")),
            }
        }
    }
    let bench = Bench::new(engine(), "source");
    let id = bench.create(&bench.config("true"));
    let error = bench
        .client
        .archive_put(&id, "/data", &mut Broken(0))
        .unwrap_err();
    assert!(
        matches!(&error, Error::Source { call: "archive_put", detail } if detail.contains("on fire")),
        "{error}"
    );
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn paths_are_told_apart_without_reading_them() {
    let bench = Bench::new(engine(), "stat");
    let id = bench.create(&bench.config("true"));
    let client = &bench.client;
    let directory = client.archive_stat(&id, "/data").unwrap().unwrap();
    assert_eq!((directory.name.as_str(), directory.mode >> 31), ("data", 1));
    let link = client.archive_stat(&id, "/bin/sh").unwrap().unwrap();
    assert_eq!(
        (link.mode >> 27 & 1, link.link_target.as_str()),
        (1, "/bin/busybox")
    );
    assert_eq!(client.archive_stat(&id, "/data/näh & co").unwrap(), None);
    assert_eq!(
        status_of(client.archive_stat("no-such-container", "/")).0,
        404
    );
    assert_eq!(status_of(client.archive_get(&id, "/absent")).0, 404);
    client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn megabytes_of_stdin_arrive_and_end() {
    let bench = Bench::new(engine(), "stdin");
    let fed = vec![b'x'; 8 << 20];
    let id = bench.create(&bench.with_stdin("wc -c"));
    let (stdout, _, _) = run(&bench.client, &id, &fed);
    assert_eq!(stdout.trim(), fed.len().to_string());
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn dropping_stdin_ends_it_too() {
    let bench = Bench::new(engine(), "stdin-drop");
    let id = bench.create(&bench.with_stdin("cat"));
    let mut attached = bench.client.container_attach(&id).unwrap();
    let mut feed = bench.client.container_attach_stdin(&id).unwrap();
    let wait = bench.client.container_wait_next_exit(&id).unwrap();
    bench.client.container_start(&id).unwrap();
    feed.write_all(b"last words").unwrap();
    drop(feed);
    let mut stdout = Vec::new();
    stdcopy::demultiplex(&mut attached.stream, &mut |_, piece| {
        stdout.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    assert_eq!(stdout, b"last words");
    assert_eq!(wait.finish().unwrap().status_code, 0);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn writing_to_a_process_that_does_not_read_can_be_interrupted() {
    let bench = Bench::new(engine(), "stdin-unread");
    let id = bench.create(&bench.with_stdin("sleep 100"));
    let mut feed = bench.client.container_attach_stdin(&id).unwrap();
    let interrupt = feed.interrupt_handle();
    let wait = bench.client.container_wait_next_exit(&id).unwrap();
    bench.client.container_start(&id).unwrap();
    let (blocked, is_blocked) = channel();
    let writer = std::thread::spawn(move || {
        let mut written = 0;
        loop {
            match feed.write(&[b'x'; 65536]) {
                Ok(count) => written += count,
                Err(_) => return written,
            }
            let _ = blocked.send(written);
        }
    });
    // It is blocked once nothing has been written for a while.
    while is_blocked.recv_timeout(Duration::from_secs(1)).is_ok() {}
    bench.client.container_kill(&id, "KILL").unwrap();
    assert_eq!(wait.finish().unwrap().status_code, 137);
    interrupt.interrupt();
    assert!(writer.join().unwrap() > 0);
    bench.client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn volumes_come_and_go() {
    let bench = Bench::new(engine(), "volumes");
    let name = format!("oneoff-test-{}", std::process::id());
    let config = VolumeCreate {
        name: name.clone(),
        driver: "local".into(),
        labels: bench.labels(),
        ..VolumeCreate::default()
    };
    let made = bench.client.volume_create(&config).unwrap();
    assert!(made.name == name && made.mountpoint.starts_with('/'));
    assert_eq!(
        bench.client.volume_inspect(&name).unwrap().labels,
        bench.labels()
    );
    assert_eq!(
        bench
            .client
            .volume_list(std::slice::from_ref(&bench.label))
            .unwrap()
            .len(),
        1
    );
    bench.client.volume_remove(&name).unwrap();
    bench
        .client
        .volume_remove(&name)
        .expect("what is not there needs no removing");
    assert_eq!(status_of(bench.client.volume_inspect(&name)).0, 404);
    bench.assert_nothing_is_left_behind();
}

#[test]
fn refusals_carry_the_engines_words() {
    let bench = Bench::new(engine(), "refusals");
    let client = &bench.client;
    assert!(
        status_of(client.container_inspect("nope"))
            .1
            .contains("nope")
    );
    assert_eq!(status_of(client.container_attach("nope")).0, 404);
    let (status, message) = status_of(client.container_attach_stdin("nope"));
    assert!(status == 404 && message.contains("nope"), "{message}");
    assert_eq!(status_of(client.container_wait_next_exit("nope")).0, 404);
    assert_eq!(status_of(client.container_logs("nope", true)).0, 404);
    assert_eq!(status_of(client.image_inspect("oneoff-test:absent")).0, 404);
    assert_eq!(status_of(client.image_inspect("../containers/json")).0, 400);
    client.container_remove("nope").unwrap();
    client.image_remove("oneoff-test:absent").unwrap();
    let mut config = bench.config("true");
    config.image = "oneoff-test:absent".into();
    assert_eq!(
        status_of(client.container_create(None, None, &config)).0,
        404
    );
    let mut config = bench.config("true");
    config.cmd = Some(vec!["/no/such/program".into()]);
    let id = bench.create(&config);
    let (status, message) = status_of(client.container_start(&id));
    assert!(
        status == 400 && message.contains("/no/such/program"),
        "{status} {message}"
    );
    client.container_remove(&id).unwrap();
    bench.assert_nothing_is_left_behind();
}

#[test]
fn the_engine_says_what_it_is() {
    let client = engine();
    let version = client.version(Duration::from_secs(2)).unwrap();
    assert!(!version.version.is_empty() && version.os == "linux");
    let ours = |image: &str| {
        client
            .image_list()
            .unwrap()
            .iter()
            .any(|listed| listed.repo_tags.iter().any(|tag| tag == image))
    };
    assert!(ours(busybox_image::IMAGE));
}

#[test]
fn the_api_version_can_be_pinned() {
    let host = || {
        Host::parse(
            &std::env::var("DOCKER_HOST").unwrap_or_default(),
            None,
            None,
        )
        .unwrap()
    };
    let pinned = Client::new(host(), Some("1.30".into())).unwrap();
    pinned.image_list().unwrap();
    let too_new = Client::new(host(), Some("9.99".into())).unwrap();
    let (status, message) = status_of(too_new.image_list());
    assert!(status == 400 && message.contains("too new"), "{message}");
    assert!(Client::new(host(), Some("../1.41".into())).is_err());
}

#[test]
fn a_pull_without_a_registry_fails_with_the_engines_words() {
    let client = engine();
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let reference = format!("127.0.0.1:{port}/absent:1");
    let (status, message) = status_of(client.image_pull(&reference, None, None, &mut |_| true));
    assert!(
        status >= 400 && message.contains("refused"),
        "{status} {message}"
    );
}

#[test]
fn a_silent_pull_keeps_asking_and_can_be_ended() {
    let client = engine();
    // The kernel accepts, nobody answers.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("{}/silent:1", registry.local_addr().unwrap());
    let started = Instant::now();
    let mut asked = 0;
    let outcome = client.image_pull(&reference, None, None, &mut |message| {
        assert_eq!(message, PullProgress::default());
        asked += 1;
        asked < 3
    });
    assert!(matches!(outcome, Err(Error::Source { .. })), "{outcome:?}");
    assert!(asked == 3 && started.elapsed() < SOON);
}

#[test]
fn an_engine_that_is_not_there_comes_with_advice() {
    let absent = Client::new(Host::Unix("/nowhere/docker.sock".into()), None).unwrap();
    let error = absent.image_list().unwrap_err().to_string();
    assert!(
        error.contains("is the engine running") && error.contains("/nowhere/docker.sock"),
        "{error}"
    );
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let refused = Host::parse(&format!("tcp://127.0.0.1:{port}"), None, None).unwrap();
    let error = Client::new(refused, None)
        .unwrap()
        .image_list()
        .unwrap_err()
        .to_string();
    assert!(error.contains("nobody listens"), "{error}");
    let nameless = Host::parse("tcp://engine.invalid", None, None).unwrap();
    let error = Client::new(nameless, None)
        .unwrap()
        .container_attach_stdin("x")
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("cannot be resolved"), "{error}");
}

#[test]
fn the_same_life_over_tls_and_every_way_to_get_tls_wrong() {
    let engine = SecondEngine::start_tls("tls");
    let verified = Client::new(engine.tls_host(&engine.certificates()), None).unwrap();
    busybox_image::ensure(&verified);
    let bench = Bench::new(verified, "tls");
    whole_life_of_a_container(&bench);
    uploads_stream_and_refusals_arrive(&bench);
    by_name_and_without_verification(&engine);
    wrong_certificates_are_named(&engine);
    let plain = Client::new(engine.plain_host(), None).unwrap();
    let error = plain.image_list().unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { .. }) && error.to_string().contains("speaks TLS"),
        "{error}"
    );
    bench.assert_nothing_is_left_behind();
}

fn uploads_stream_and_refusals_arrive(bench: &Bench) {
    let mut config = bench.config("true");
    let id = bench.create(&config);
    bench
        .client
        .archive_put(&id, "/data", &mut zeros("big", 64 << 20))
        .unwrap();
    config.host_config.readonly_rootfs = true;
    let read_only = bench.create(&config);
    let outcome = bench
        .client
        .archive_put(&read_only, "/data", &mut zeros("big", 64 << 20));
    assert!(status_of(outcome).1.contains("read-only"));
    bench.client.container_remove(&id).unwrap();
    bench.client.container_remove(&read_only).unwrap();
}

fn by_name_and_without_verification(engine: &SecondEngine) {
    let port = engine.authority().rsplit_once(':').unwrap().1.to_owned();
    let certificates = engine.certificates();
    let by_name = Host::parse(
        &format!("tcp://localhost:{port}"),
        Some("1"),
        certificates.to_str(),
    );
    Client::new(by_name.unwrap(), None)
        .unwrap()
        .image_list()
        .unwrap();
    let stranger = engine.directory().join("stranger");
    Authority::new("stranger").write_client(&stranger, &Authority::new("another"));
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(certificates.join(file), stranger.join(file)).unwrap();
    }
    let unverified = Host::parse(
        &format!("https://127.0.0.1:{port}"),
        None,
        stranger.to_str(),
    );
    Client::new(unverified.unwrap(), None)
        .unwrap()
        .image_list()
        .unwrap();
}

fn wrong_certificates_are_named(engine: &SecondEngine) {
    let directory = |name: &str| engine.directory().join(name);
    let ours = engine.certificates();
    let stranger = Authority::new("stranger");
    stranger.write_client(&directory("wrong-ca"), &stranger);
    std::fs::create_dir(directory("no-client")).unwrap();
    std::fs::copy(ours.join("ca.pem"), directory("no-client/ca.pem")).unwrap();
    stranger.write_client(&directory("foreign-client"), &stranger);
    std::fs::copy(ours.join("ca.pem"), directory("foreign-client/ca.pem")).unwrap();
    let cases = [
        ("wrong-ca", "not signed by the ca.pem"),
        ("no-client", "refuses our client certificate"),
        ("foreign-client", "refuses our client certificate"),
    ];
    for (name, words) in cases {
        let client = Client::new(engine.tls_host(&directory(name)), None).unwrap();
        let http = client.image_list().unwrap_err();
        let raw = client.container_attach_stdin("x").err().unwrap();
        for error in [http, raw] {
            assert!(
                matches!(&error, Error::Unreachable { .. }),
                "{name}: {error:?}"
            );
            assert!(error.to_string().contains(words), "{name}: {error}");
        }
    }
    std::fs::write(directory("wrong-ca/key.pem"), "not a key").unwrap();
    let error = Client::new(engine.tls_host(&directory("wrong-ca")), None)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("key.pem cannot be read"),
        "{error}"
    );
    let error = Client::new(engine.tls_host(&directory("absent")), None)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("ca.pem cannot be read"),
        "{error}"
    );
}

#[test]
fn the_same_life_over_plain_tcp_and_tls_against_it() {
    let engine = SecondEngine::start_plain("plain");
    let client = Client::new(engine.plain_host(), None).unwrap();
    busybox_image::ensure(&client);
    let bench = Bench::new(client, "plain");
    whole_life_of_a_container(&bench);
    let authority = Authority::new("nobody");
    let certificates = engine.directory().join("client");
    authority.write_client(&certificates, &authority);
    let tls = Client::new(engine.tls_host(&certificates), None).unwrap();
    let error = tls.image_list().unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    bench.assert_nothing_is_left_behind();
}
