//! Archives into containers and out of them.

use super::{Bench, engine, status_of, zeros};
use oneoff_docker_runner::docker::Error;
use std::io::Read;

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
    // A reader that is dropped early closes its connection and has no other effect.
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
fn a_failing_source_of_an_upload_is_reported_as_such() {
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
fn archive_stat_distinguishes_directories_links_and_absent_paths() {
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
