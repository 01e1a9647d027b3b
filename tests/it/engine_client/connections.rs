//! Ways to reach an engine: TLS, plain TCP, and every mistake in between.

use super::{Bench, busybox_image, status_of, whole_life_of_a_container, zeros};
use crate::support::{Authority, SecondEngine};
use oneoff_docker_runner::docker::{Client, Error, Host};
use std::net::TcpListener;

#[test]
fn an_unreachable_engine_is_reported_with_advice() {
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
    assert!(error.contains("nothing listens"), "{error}");
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
fn everything_works_over_tls_and_each_mistake_with_tls_is_named() {
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
fn everything_works_over_plain_tcp_and_tls_to_that_port_is_named_as_the_mistake() {
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
