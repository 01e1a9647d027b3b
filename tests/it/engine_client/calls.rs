//! Volumes, images, versions, and how refusals are reported.

use super::{Bench, busybox_image, engine, status_of};
use oneoff_docker_runner::docker::{Client, Error, Host, PullProgress, VolumeCreate};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn volumes_are_created_inspected_listed_and_removed() {
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
fn refusals_carry_the_engines_message() {
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
    assert_eq!(status_of(client.container_log_messages("nope")).0, 404);
    assert_eq!(status_of(client.image_inspect("oneoff-test:absent")).0, 404);
    assert_eq!(status_of(client.image_inspect("../containers/json")).0, 400);
    client.container_remove("nope").unwrap();
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
fn version_and_images_are_reported() {
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
    let pinned = Client::new(host(), Some("1.40".into())).unwrap();
    pinned.image_list().unwrap();
    let too_new = Client::new(host(), Some("9.99".into())).unwrap();
    let refused = too_new.image_list().unwrap_err();
    assert!(
        matches!(refused, Error::Misconfigured { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("too new"), "{refused}");
    for unusable in ["1.30", "../1.41", "new"] {
        assert!(
            Client::new(host(), Some(unusable.into())).is_err(),
            "{unusable}"
        );
    }
}

#[test]
fn a_pull_without_a_registry_fails_with_the_engines_message() {
    let client = engine();
    // Nothing listens on this port any more.
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
fn a_silent_pull_calls_back_repeatedly_and_can_be_ended() {
    let client = engine();
    // The kernel accepts connections, and nothing answers.
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
