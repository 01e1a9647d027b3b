//! What the client makes of engines that misbehave, and of things that are no engine at all.

mod fake_engine;

use crate::support::{Authority, CapturedLog};
use fake_engine::{FakeEngine, Reply};
use oneoff_docker_runner::docker::{AuthConfig, Client, ContainerCreate, Error, Host, stdcopy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn answer(head: &str, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes())
}

fn message(error: &Error) -> &str {
    match error {
        Error::Status { message, .. } => message,
        Error::Unreachable { detail, .. }
        | Error::Malformed { detail, .. }
        | Error::Source { detail, .. } => detail,
        Error::TimedOut { .. } => "",
    }
}

/// Calls `image_list` on a fake that always answers so.
fn listed(head: &'static str, body: &'static str) -> Error {
    let engine = FakeEngine::new(move |_| answer(head, body));
    engine.client().image_list().unwrap_err()
}

#[test]
fn error_statuses_keep_the_engines_words_and_nothing_worse() {
    let error = listed(
        "500 X\r\nContent-Type: application/json",
        "{\"message\":\"disk\\r\\n\\u001b[31mfull\"}",
    );
    assert!(
        matches!(&error, Error::Status { status: 500, message, call: "image_list" } if message == "disk [31mfull"),
        "{error:?}"
    );
    let error = listed(
        "502 Bad Gateway\r\nContent-Type: text/html",
        "<html>\n<h1>nginx</h1> upstream \x1b]0;gone\x07",
    );
    assert!(
        matches!(&error, Error::Status { status: 502, .. }),
        "{error:?}"
    );
    assert!(
        message(&error).contains("proxy") && message(&error).contains("nginx"),
        "{error}"
    );
    assert!(!message(&error).contains(char::is_control));
    let error = listed(
        "301 Moved Permanently\r\nLocation: http://elsewhere/\r\nContent-Length: 0",
        "",
    );
    assert!(
        matches!(error, Error::Status { status: 301, .. }),
        "redirects are not followed: {error:?}"
    );
    let error = listed("503 X\r\nContent-Length: 100", "{\"mess");
    assert!(
        matches!(error, Error::Status { status: 503, .. }),
        "{error:?}"
    );
}

#[test]
fn a_flood_of_an_error_page_is_cut() {
    let flood = format!(
        "HTTP/1.1 500 X\r\nContent-Type: text/plain\r\n\r\n{}",
        "é".repeat(3_000_000)
    );
    let engine = FakeEngine::new(move |_| Reply::Bytes(flood.clone().into_bytes()));
    let error = engine.client().image_list().unwrap_err();
    assert!(matches!(&error, Error::Status { status: 500, .. }) && message(&error).len() < 10_000);
}

#[test]
fn answers_that_are_no_answers_are_malformed() {
    let cases = [
        (
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 6",
            "<html>",
            "text/html",
        ),
        ("200 OK\r\nContent-Length: 2", "{}", "JSON"),
        ("200 OK\r\nContent-Length: 99", "[", "cut"),
        ("200 OK\r\nTransfer-Encoding: chunked", "1\r\n[\r\n", "cut"),
        ("200 OK\r\nTransfer-Encoding: chunked", "zz\r\n[\r\n", "cut"),
    ];
    for (head, body, words) in cases {
        let error = listed(head, body);
        assert!(
            matches!(&error, Error::Malformed { .. }),
            "{head}: {error:?}"
        );
        assert!(message(&error).contains(words), "{head}: {error}");
    }
    let not_http =
        FakeEngine::raw(|_| Reply::Bytes(b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n".to_vec()));
    let error = not_http.client().image_list().unwrap_err();
    assert!(message(&error).contains("speak TLS"), "{error}");
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    let endless = FakeEngine::raw(move |_| Reply::Bytes(endless.clone().into_bytes()));
    let error = endless.client().image_list().unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[test]
fn silence_and_slowness_end_at_the_deadline() {
    let limit = Duration::from_millis(700);
    let slow: [fn() -> Reply; 3] = [
        || Reply::Silence(channel().0),
        || Reply::Drip(b"HTTP/1.1 200 OK\r\nX: 1\r\nY: "),
        || Reply::Drip(b"x"),
    ];
    for reply in slow {
        let engine = FakeEngine::raw(move |_| reply());
        let started = Instant::now();
        let error = engine.client().version(limit).unwrap_err();
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        // A drip may also stop being HTTP before it is too late.
        assert!(
            matches!(
                error,
                Error::TimedOut {
                    call: "version",
                    timeout_secs: 1
                } | Error::Malformed { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn an_engine_that_no_longer_accepts_cannot_hold_a_caller() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
    let path = std::env::temp_dir().join(format!("oneoff-full-{}.sock", std::process::id()));
    let address = SocketAddrUnix::new(&path).unwrap();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let first = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    connect(&first, &address).unwrap();
    let client = Client::new(Host::Unix(path.clone()), None).unwrap();
    let started = Instant::now();
    let error = client.version(Duration::from_millis(500)).unwrap_err();
    std::fs::remove_file(path).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(
        message(&error).contains("does not accept connections"),
        "{error:?}"
    );
}

#[test]
fn an_engine_too_old_or_not_an_engine_is_said_so() {
    let cases = [("1.24", "too old"), ("x", "not a version")];
    for (version, words) in cases {
        let engine = FakeEngine::with_ping(version, |_| Reply::Json(200, "[]"));
        let error = engine.client().image_list().unwrap_err();
        assert!(message(&error).contains(words), "{error}");
        assert!(engine.seen().is_empty());
    }
    let web_server = FakeEngine::raw(|_| Reply::Json(200, "[]"));
    let error = web_server.client().image_list().unwrap_err();
    assert!(
        message(&error).contains("is this a Docker engine"),
        "{error}"
    );
}

#[test]
fn a_newer_engine_is_spoken_to_in_our_newest_version() {
    let engine = FakeEngine::with_ping("1.99", |_| Reply::Json(200, "[]"));
    engine.client().image_list().unwrap();
    assert_eq!(engine.seen(), ["GET /v1.47/images/json"]);
}

#[test]
fn an_engine_that_was_replaced_by_an_older_one_is_asked_again() {
    let pings = AtomicUsize::new(0);
    let engine = FakeEngine::raw(move |request| {
        if request.line.ends_with("/_ping") {
            let version = if pings.fetch_add(1, Ordering::SeqCst) == 0 {
                "1.44"
            } else {
                "1.41"
            };
            return answer(
                &format!("200 OK\r\nApi-Version: {version}\r\nContent-Length: 2"),
                "OK",
            );
        }
        match request.line.contains("/v1.41/") {
            true => Reply::Json(200, "[]"),
            false => Reply::Json(
                400,
                "{\"message\":\"client version 1.44 is too new. Maximum supported API version is 1.41\"}",
            ),
        }
    });
    let client = engine.client();
    client.image_list().unwrap();
    client.image_list().unwrap();
    let v41 = "GET /v1.41/images/json".to_owned();
    assert_eq!(
        engine.seen(),
        ["GET /v1.44/images/json".into(), v41.clone(), v41]
    );
}

#[test]
fn connections_are_reused_and_stale_ones_never_show() {
    // The second request on a connection finds it closed, as after an engine's restart.
    let engine = FakeEngine::new(|request| match request.nth {
        1 => Reply::Json(200, "[]"),
        _ => Reply::Bytes(Vec::new()),
    });
    let client = engine.client();
    for _ in 0..5 {
        client.image_list().unwrap();
    }
    let kept = FakeEngine::new(|_| Reply::Json(200, "[]"));
    let client = kept.client();
    for _ in 0..5 {
        client.image_list().unwrap();
    }
    // One for the ping, which said "close", and one for the rest.
    assert_eq!((kept.connections(), kept.seen().len()), (2, 5));
}

#[test]
fn what_must_not_happen_twice_is_sent_once() {
    let engine = FakeEngine::new(|request| match request.line.starts_with("GET") {
        true => Reply::Json(200, "[]"),
        false => Reply::Bytes(Vec::new()),
    });
    let client = engine.client();
    client.image_list().unwrap();
    let create = client
        .container_create(None, None, &ContainerCreate::default())
        .unwrap_err();
    let start = client.container_start("x").unwrap_err();
    for error in [create, start] {
        assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
        assert!(
            message(&error).contains("closed the connection without an answer"),
            "{error}"
        );
    }
    let posts: Vec<String> = engine
        .seen()
        .into_iter()
        .filter(|line| line.starts_with("POST"))
        .collect();
    assert_eq!(
        posts,
        [
            "POST /v1.41/containers/create",
            "POST /v1.41/containers/x/start"
        ]
    );
}

#[test]
fn an_engine_that_comes_back_is_found_again_whatever_its_version() {
    let versioned = |version: &'static str| {
        move |request: &fake_engine::Request| match request.line.ends_with("/_ping") {
            true => answer(
                &format!("200 OK\r\nApi-Version: {version}\r\nContent-Length: 2"),
                "OK",
            ),
            false => answer("200 OK\r\nContent-Length: 2", "[]"),
        }
    };
    let before = FakeEngine::raw(versioned("1.44"));
    let client = before.client();
    client.image_list().unwrap();
    let path = before.path();
    drop(before);
    let error = client.image_list().unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
    let after = FakeEngine::at(path, versioned("1.41"));
    client.image_list().unwrap();
    assert_eq!(after.seen(), ["GET /v1.41/images/json"]);
}

#[test]
fn streams_that_break_are_errors_not_ends() {
    let engine = FakeEngine::new(|request| {
        let line = &request.line;
        let chunked = "200 OK\r\nTransfer-Encoding: chunked";
        let raw = "200 OK\r\nContent-Type: application/vnd.docker.raw-stream";
        match () {
            () if line.contains("/wait") => answer(chunked, "4\r\n{\"St\r\n"),
            () if line.contains("/archive") => answer(chunked, "5\r\nhello\r\n"),
            () if line.contains("/containers/cut/attach") => {
                answer(raw, "\x01\0\0\0\0\0\0\x09hell")
            }
            () => answer(raw, "this is not multiplexed"),
        }
    });
    let client = engine.client();
    let wait = client
        .container_wait_next_exit("x")
        .unwrap()
        .finish()
        .unwrap_err();
    assert!(matches!(wait, Error::Malformed { .. }), "{wait:?}");
    let mut archive = client.archive_get("x", "/").unwrap();
    let mut received = Vec::new();
    let error = archive.read_to_end(&mut received).unwrap_err();
    assert!(
        received == b"hello" && error.to_string().contains("was cut"),
        "{error}"
    );
    for (id, words) in [("cut", "cut within a frame"), ("odd", "not a frame")] {
        let mut attached = client.container_attach(id).unwrap();
        let error = stdcopy::demultiplex(&mut attached.stream, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn wait_is_pending_as_soon_as_the_head_has_arrived() {
    let engine = FakeEngine::new(|_| {
        // The head, and then nothing but white space, which JSON allows.
        Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n                                                                  ")
    });
    let started = Instant::now();
    drop(engine.client().container_wait_next_exit("x").unwrap());
    assert!(started.elapsed() < SOON);
}

#[test]
fn where_no_event_tells_of_the_end_wait_does() {
    let chunked = "200 OK\r\nTransfer-Encoding: chunked";
    let inspected = r#"{"Id":"x","State":{"Status":"exited","Running":false,"ExitCode":5,"OOMKilled":true},"Config":{}}"#;
    let (hung_up, was_hung_up) = channel();
    type Events = Box<dyn Fn() -> Reply + Send + Sync>;
    let events: [(&str, Events, bool); 5] = [
        (
            "forbidden",
            Box::new(|| Reply::Json(403, "{\"message\":\"not these\"}")),
            true,
        ),
        (
            "cut",
            Box::new(move || answer(chunked, "4\r\n{\"St\r\n")),
            false,
        ),
        (
            "ended",
            Box::new(move || answer(chunked, "0\r\n\r\n")),
            false,
        ),
        (
            "without a code",
            Box::new(move || {
                answer(
                    chunked,
                    &chunk("{\"Type\":\"container\",\"Action\":\"die\"}\n"),
                )
            }),
            false,
        ),
        (
            "silent",
            // The head, and never an event.
            Box::new(move || {
                Reply::Held(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                    hung_up.clone(),
                )
            }),
            false,
        ),
    ];
    for (name, event, is_before_start) in events {
        let engine = FakeEngine::new(move |request| match () {
            () if request.line.contains("/events") => event(),
            () if request.line.contains("/wait") => Reply::Json(200, "{\"StatusCode\":5}"),
            () => Reply::Json(200, inspected),
        });
        let end = engine
            .client()
            .container_end("x")
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!((end.exit_code, end.oom_killed), (5, true), "{name}");
        let condition = match is_before_start {
            true => "next-exit",
            false => "not-running",
        };
        let seen = engine.seen();
        let asked = format!("/wait?condition={condition}");
        assert!(
            seen.iter().any(|line| line.ends_with(&asked)),
            "{name}: {seen:?}"
        );
    }
    was_hung_up.recv_timeout(SOON).unwrap();
}

#[test]
fn an_engine_that_never_tells_of_an_end_is_not_listened_to_for_ever() {
    let (hung_up, _was_hung_up) = channel();
    let engine = FakeEngine::new(move |request| match () {
        () if request.line.contains("/events") => Reply::Held(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            hung_up.clone(),
        ),
        () if request.line.contains("/wait") => Reply::Json(200, "{\"StatusCode\":5}"),
        () => Reply::Json(
            200,
            "{\"Id\":\"x\",\"State\":{\"Running\":false},\"Config\":{}}",
        ),
    });
    let client = engine.client();
    for _ in 0..4 {
        let end = client.container_end("x").unwrap().finish().unwrap();
        assert_eq!(end.exit_code, 5);
    }
    let seen = engine.seen();
    let asked = |words: &str| seen.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (asked("/events"), asked("not-running"), asked("next-exit")),
        (2, 2, 2),
        "{seen:?}"
    );
}

#[test]
fn stdin_is_attached_only_to_an_engine_that_agrees() {
    let cases = [
        ("101 UPGRADED\r\nUpgrade: tcp", "", "101"),
        (
            "409 X\r\nContent-Length: 27",
            "{\"message\":\"it is paused\"}\r\n",
            "it is paused",
        ),
        (
            "500 X\r\nContent-Type: text/html\r\nContent-Length: 99",
            "<html>",
            "proxy",
        ),
    ];
    for (head, body, words) in cases {
        let engine = FakeEngine::new(move |_| answer(head, body));
        let error = engine.client().container_attach_stdin("x").err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
    let gone = FakeEngine::new(|_| Reply::Bytes(Vec::new()));
    let error = gone.client().container_attach_stdin("x").err().unwrap();
    assert!(message(&error).contains("closed the connection"), "{error}");
}

#[test]
fn a_pull_that_breaks_is_not_a_pull() {
    let pulling = "{\"status\":\"Pulling\",\"id\":\"x\"}\r\n";
    let full = "{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\r\n";
    let cases = [
        (chunk(pulling) + "0\r\n\r\n", None),
        (chunk(pulling), Some("cut")),
        (
            chunk(pulling) + &chunk("{\"sta") + "0\r\n\r\n",
            Some("within a message"),
        ),
        (
            chunk(pulling) + &chunk(full) + "0\r\n\r\n",
            Some("500: no space"),
        ),
    ];
    for (body, expected) in cases {
        let engine =
            FakeEngine::new(move |_| answer("200 OK\r\nTransfer-Encoding: chunked", &body));
        let mut seen = Vec::new();
        let outcome = engine.client().image_pull("x", None, None, &mut |message| {
            seen.push(message.status);
            true
        });
        assert_eq!(seen, ["Pulling"]);
        let words = outcome.err().map(|error| error.to_string());
        assert_eq!(words.is_some(), expected.is_some());
        assert!(
            words
                .unwrap_or_default()
                .contains(expected.unwrap_or_default())
        );
    }
}

#[test]
fn a_pull_that_the_caller_ends_hangs_up_at_once() {
    let (hung_up, was_hung_up) = channel();
    let engine = FakeEngine::new(move |_| Reply::Silence(hung_up.clone()));
    let outcome = engine.client().image_pull("x", None, None, &mut |_| false);
    assert!(matches!(outcome, Err(Error::Source { .. })), "{outcome:?}");
    was_hung_up.recv_timeout(SOON).unwrap();
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn secrets_reach_the_engine_and_nothing_else() {
    let captured = CapturedLog::start();
    let head = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&head);
    let engine = FakeEngine::new(move |request| {
        heard.lock().unwrap().push_str(&request.head);
        assert!(request.body.is_empty() || request.body.windows(6).any(|part| part == b"s3cret"));
        Reply::Json(500, "{\"message\":\"no\"}")
    });
    let auth = AuthConfig {
        username: "me".into(),
        password: "s3cret".into(),
        ..AuthConfig::default()
    };
    let encoded = oneoff_docker_runner::docker::registry_auth::header_value(&auth);
    let client = engine.client();
    let pull = client
        .image_pull("reg/x", None, Some(&auth), &mut |_| true)
        .unwrap_err();
    let config = ContainerCreate {
        env: vec!["TOKEN=s3cret".into()],
        ..ContainerCreate::default()
    };
    let create = client.container_create(None, None, &config).unwrap_err();
    assert!(head.lock().unwrap().contains(&encoded));
    let log = captured.lines().join("\n");
    assert!(log.contains("/images/create"), "{log}");
    for text in [log, format!("{pull:?} {pull} {create:?} {create} {auth:?}")] {
        assert!(
            !text.contains("s3cret") && !text.contains(&encoded),
            "{text}"
        );
    }
}

#[test]
fn an_expired_certificate_is_named() {
    let directory = std::env::temp_dir().join(format!("oneoff-expired-{}", std::process::id()));
    let authority = Authority::new("oneoff test CA");
    authority.write_client(&directory, &authority);
    let (cert, key) = authority.expired_server(&["127.0.0.1"]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        session.complete_io(&mut stream).unwrap_err();
    });
    let host = Host::parse(&address, Some("1"), directory.to_str()).unwrap();
    let client = Client::new(host, None).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    let error = client.image_list().unwrap_err();
    server.join().unwrap();
    assert!(message(&error).contains("expired"), "{error}");
}
