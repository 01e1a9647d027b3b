//! Archives in requests are unpacked only while the request holds a slot, within limits of the whole request, and no longer
//! than its caller stays.

use super::run::shell;
use super::support::{Request, Server};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Base64 of a tar.gz with one file of zeros, in which every MiB takes about a kilobyte.
fn zeros(mib: u64) -> String {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(mib << 20);
    header.set_mode(0o644);
    let content = std::io::repeat(0).take(mib << 20);
    archive.append_data(&mut header, "f", content).unwrap();
    BASE64_STANDARD.encode(archive.into_inner().unwrap().finish().unwrap())
}

fn with_archives(contents: &[&str]) -> Value {
    let volume = |content| json!({"type": "directory", "content": content});
    let volumes: serde_json::Map<String, Value> = contents
        .iter()
        .enumerate()
        .map(|(n, content)| (format!("/m{n}:ro"), volume(content)))
        .collect();
    shell("true", json!({"volumes": volumes}))
}

/// User and system time of the server's process, to a hundredth of a second.
fn cpu_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// The locations of all faults.
fn places(problem: &Value) -> Vec<String> {
    let faults = problem["errors"].as_array().unwrap();
    let place = |fault: &Value| {
        let parts = fault["loc"].as_array().unwrap().iter();
        parts
            .map(|part| part.as_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    faults.iter().map(place).collect()
}

#[test]
fn all_archives_of_a_request_share_one_limit() {
    let server = Server::with(&[("RUNNER_MAX_UNPACKED_BYTES", "50m")]);
    let (archive, rest) = (zeros(20), zeros(10));
    for path in ["/run", "/run?dry_run=1"] {
        let answer = server.post(path, &with_archives(&[&archive, &archive]));
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        let answer = server.post(
            path,
            &with_archives(&[&archive, &archive, &archive, &archive]),
        );
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{path}: {problem}");
        assert_eq!(places(&problem), ["body volumes /m2:ro content"]);
        assert!(problem["detail"].to_string().contains("together"));
    }
    let too_large = server.post(
        "/volume",
        &json!({"name": "never-made", "content": zeros(60)}),
    );
    assert_eq!(
        (too_large.status, places(&too_large.json())),
        (422, vec!["body content".to_owned()])
    );
    // What is read and not unpacked counts too: here, zeros after the end of the archives.
    let mut padded = Vec::new();
    let mut encoder = GzEncoder::new(&mut padded, Compression::fast());
    encoder.write_all(&vec![0; 15 << 20]).unwrap();
    encoder.finish().unwrap();
    let padded = BASE64_STANDARD.encode(padded);
    let answer = server.post("/run?dry_run=1", &with_archives(&[padded.as_str(); 8]));
    assert_eq!(answer.status, 422);
    assert_eq!(
        server
            .post("/run", &with_archives(&[rest.as_str(); 4]))
            .status,
        200,
        "a request does not pay for earlier ones"
    );
    server.await_nothing_left();
    server.stop();
}

#[test]
fn every_faulty_archive_of_a_request_is_named_whether_it_runs_at_once_later_or_never() {
    let server = Server::start();
    let sound = zeros(1);
    let cut = &sound[..sound.len() / 2 / 4 * 4];
    let request = with_archives(&[cut, &sound, cut]);
    let faults = ["body volumes /m0:ro content", "body volumes /m2:ro content"];
    let later = Request::new("POST", "/run").fields(&[("Prefer", "respond-async")]);
    for answer in [
        server.post("/run", &request),
        server.post("/run?dry_run=1", &request),
        server.ask(&later.body(&request.to_string())),
    ] {
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{problem}");
        assert_eq!(places(&problem), faults);
    }
    let runs = server.get("/runs").json();
    assert_eq!(runs["runs"], json!([]), "nothing was accepted");
    server.await_nothing_left();
    server.stop();
}

#[test]
fn no_archive_is_unpacked_without_a_slot_or_after_its_caller_has_left() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "1"),
        ("RUNNER_QUEUE_LENGTH", "0"),
    ]);
    let huge = zeros(2000);
    let request = with_archives(&[&huge]);
    let running = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
    server.await_running();
    let before = cpu_time(&server);
    assert_eq!(server.post("/run", &request).status, 429);
    let refused = cpu_time(&server) - before;
    assert!(refused < Duration::from_millis(200), "{refused:?}");
    drop(running);
    server.await_nothing_left();
    // The engine gets none of it: the caller leaves while the archive is checked.
    let leaving = server.begin_run(&request);
    let begun = Instant::now();
    while cpu_time(&server) - before < refused + Duration::from_millis(150) {
        assert!(begun.elapsed() < Duration::from_secs(30), "no check begins");
        std::thread::yield_now();
    }
    leaving.shutdown(Shutdown::Both).unwrap();
    let left = cpu_time(&server);
    while server.post("/run", &shell("true", json!({}))).status == 429 {
        std::thread::yield_now();
    }
    let after = cpu_time(&server) - left;
    assert!(after < Duration::from_millis(250), "{after:?}");
    server.await_nothing_left();
    assert_eq!(server.leftovers(), Vec::<String>::new());
    server.stop();
}
