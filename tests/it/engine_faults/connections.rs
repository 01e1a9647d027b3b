//! Connections: kept, stale, refused, behind an expired certificate.

use super::{FakeEngine, Reply, answer, fake_engine, message};
use crate::support::Authority;
use oneoff_docker_runner::docker::{Client, ContainerCreate, Error, Host};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::TcpListener;
use std::sync::Arc;

#[test]
fn connections_are_reused_and_stale_ones_replaced() {
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
    // One for the ping, which was answered with `Connection: close`, and one for the rest.
    assert_eq!((kept.connections(), kept.seen().len()), (2, 5));
}

#[test]
fn requests_that_must_not_be_repeated_are_sent_once() {
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
fn an_engine_that_comes_back_with_another_version_is_reached_again() {
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
fn attaching_stdin_fails_unless_the_engine_upgrades_the_connection() {
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
