//! Descriptors, connections, threads and memory: what happens when they run out, and that none is lost.

use super::client::{ask, connect, eventually, read, read_until, send};
use super::process::{ServerProcess, be_a_server_process, descriptors, threads};
use super::rig::Rig;
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn every_connection_of_a_burst_of_1000_is_answered() {
    let rig = Rig::start();
    let mut sockets: Vec<_> = (0..1000).map(|_| connect(rig.addr)).collect();
    for socket in &mut sockets {
        socket
            .write_all(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
    }
    let answered = sockets
        .iter_mut()
        .filter_map(read)
        .filter(|answer| answer.status == 200)
        .count();
    assert_eq!(answered, 1000);
}

/// Also the entry point of the second process: see [`ServerProcess::start`].
#[test]
fn a_server_process_serves() {
    if !be_a_server_process() {
        let server = ServerProcess::start(64);
        let answer = ask(server.addr, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn health_is_answered_while_all_other_connections_are_taken() {
    // A limit of 64 descriptors allows 16 connections.
    let server = ServerProcess::start(64);
    let mut guests: Vec<_> = (0..16)
        .map(|_| {
            let mut guest = send(server.addr, b"GET /idle-stream HTTP/1.1\r\nHost: h\r\n\r\n");
            read_until(&mut guest, "hello");
            guest
        })
        .collect();
    let health = || ask(server.addr, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(health().status, 200);
    let refused = ask(server.addr, b"GET /seen HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "too_many_connections")
    );
    assert_eq!(refused.header("retry-after").unwrap(), "1");
    guests.clear();
    eventually("a free seat", || {
        ask(server.addr, b"GET /seen HTTP/1.1\r\nHost: h\r\n\r\n").status == 200
    });
    assert_eq!(health().status, 200);
}

#[test]
fn connections_beyond_the_reserve_are_refused_with_an_answer() {
    let server = ServerProcess::start(64);
    let mut sockets: Vec<_> = (0..60).map(|_| connect(server.addr)).collect();
    let turned_away = sockets
        .iter_mut()
        .skip(24)
        .filter_map(read)
        .filter(|answer| answer.code() == "too_many_connections")
        .count();
    assert_eq!(turned_away, 36);
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let server = ServerProcess::start(96);
    for _ in 0..2 {
        let mut burning = send(server.addr, b"GET /burn HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut others: Vec<_> = (0..20)
            .map(|_| {
                // Spreads the requests over the time in which the other process holds all descriptors.
                std::thread::sleep(Duration::from_millis(5));
                send(server.addr, b"GET /seen HTTP/1.1\r\nHost: h\r\n\r\n")
            })
            .collect();
        for other in &mut others {
            let status = read(other).unwrap().status;
            assert!(matches!(status, 200 | 503), "{status}");
        }
        assert_eq!(read(&mut burning).unwrap().status, 200);
        eventually("recovery", || {
            ask(server.addr, b"GET /seen HTTP/1.1\r\nHost: h\r\n\r\n").status == 200
        });
    }
}

#[test]
fn five_hundred_idle_streams_are_cheap() {
    let server = ServerProcess::start(4096);
    let (before, _) = server.memory_kib();
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = send(server.addr, b"GET /idle-stream HTTP/1.1\r\nHost: h\r\n\r\n");
            read_until(&mut stream, "hello");
            stream
        })
        .collect();
    let (after, _) = server.memory_kib();
    println!("500 idle streams: {before} KiB before, {after} KiB with them");
    // Stack frames are larger in a debug build.
    let limit = if cfg!(debug_assertions) { 40 } else { 25 };
    assert!(after < limit * 1024, "{after} KiB");
    drop(streams);
}

/// Runs itself in a second process, in which no other test has threads or descriptors.
#[test]
fn threads_and_descriptors_are_released() {
    if std::env::var_os("EDGE_TEST_LEAVER").is_some() {
        return come_and_leave();
    }
    let scratch = std::env::temp_dir().join(format!("edge-test-{}", std::process::id()));
    std::fs::create_dir(&scratch).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "edge::resources::threads_and_descriptors_are_released",
        ])
        .env("EDGE_TEST_LEAVER", "1")
        .env("TMPDIR", &scratch)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::remove_dir(&scratch).expect("an empty directory");
}

fn come_and_leave() {
    let (threads_before, descriptors_before) = (threads(), descriptors());
    let mut rig = Rig::start();
    assert!(rig.is_well());
    let descriptors_idle = descriptors();
    // Two threads accept, four belong to the inner server.
    let threads_idle = threads_before + 6;
    let mut sockets: Vec<_> = (0..200)
        .map(|n| {
            let path = ["/health", "/idle-stream", "/panic", "/big?size=1000000"][n % 4];
            send(
                rig.addr,
                format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
            )
        })
        .collect();
    sockets
        .iter_mut()
        .for_each(|s| assert_ne!(s.read(&mut [0; 64]).unwrap(), 0));
    sockets.clear();
    eventually("threads of requests to end", || threads() <= threads_idle);
    eventually("descriptors of requests to be closed", || {
        descriptors() <= descriptors_idle
    });
    drop(rig.server.take());
    drop(rig);
    // The inner server's idle threads end after five seconds.
    eventually("all threads to end", || threads() == threads_before);
    eventually("all descriptors to be closed", || {
        descriptors() == descriptors_before
    });
}
