//! Runs that take what they can get, pulls that do not end, and many requests at once.

use super::table::{Outcome, Row, Stand, Table, out_of_scope, outcome, row, run};
use crate::run::shell;
use crate::support::{Server, read_answer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const SECTION: &str = "resources";

pub fn tables() -> Vec<Table> {
    let rows = [limits(), outputs(), ends(), pulls(), many()];
    let settings = [
        ("RUNNER_MAX_CONCURRENT_RUNS", "4"),
        ("RUNNER_QUEUE_LENGTH", "8"),
        ("RUNNER_PULL_TIMEOUT_SECS", "2"),
    ];
    let rows = rows.into_iter().flatten().collect();
    vec![Table::new(SECTION, move || Stand::with(&settings), rows)]
}

fn limits() -> Vec<Row> {
    let eat = "a=x; while :; do a=$a$a; done";
    let in_a_child = format!("(exec bash -c '{eat}'); echo survived");
    vec![
        row(
            "fork bomb",
            "200 error: timeout",
            run(shell(
                "b() { b | b & }; b; sleep 60",
                json!({"pids_limit": 64, "timeout_secs": 2}),
            )),
        ),
        row(
            "memory and swap",
            "200 error: out of memory",
            run(shell(eat, json!({"memory": "16m"}))),
        ),
        row(
            "OOM of a child while PID 1 survives",
            "200 exited true | survived",
            move |server| {
                let result = server.run(shell(&in_a_child, json!({"memory": "16m"})));
                let (reason, killed) = (result["reason"].as_str().unwrap(), &result["oom_killed"]);
                format!("200 {reason} {killed} | {}", result["stdout"])
            },
        ),
        row(
            "disk fill",
            "200 success | No space left",
            run(shell(
                "dd if=/dev/zero of=/t/x bs=1M count=9 2>&1; true",
                json!({"tmpfs": {"/t": "size=1m"}}),
            )),
        ),
        out_of_scope(
            "disk fill",
            "a container's own file system may fill the engine's disk unless its storage driver has quotas",
        ),
    ]
}

fn outputs() -> Vec<Row> {
    let small = json!({"timeout_secs": 2, "max_output_bytes": 1000});
    vec![
        row(
            "endless stdout",
            "200 error: timeout kept 1000",
            kept("yes", &small),
        ),
        row(
            "endless stderr",
            "200 error: timeout kept 1000",
            kept("yes >&2", &small),
        ),
        row(
            "a gigabyte without a newline",
            "200 success kept 1000",
            kept(
                "head -c 1073741824 /dev/zero",
                &json!({"max_output_bytes": 1000}),
            ),
        ),
        row(
            "slow drip",
            "200 error: timeout | xxx",
            run(shell(
                "while :; do printf x; sleep 0.3; done",
                json!({"timeout_secs": 2}),
            )),
        ),
    ]
}

/// A run with much output. The outcome says how many bytes of it were kept.
fn kept(script: &'static str, more: &Value) -> impl Fn(&Server) -> Outcome + Send + use<> {
    let request = shell(script, more.clone());
    move |server| {
        let result = server.run(request.clone());
        let length = |stream: &str| result[stream].as_str().unwrap().len();
        let omitted = |stream: &str| result[stream].as_u64().unwrap_or(0);
        let left_out = omitted("stdout_omitted_bytes") + omitted("stderr_omitted_bytes");
        assert!(left_out > 1_000_000, "{left_out}");
        let kept = length("stdout") + length("stderr");
        format!("200 {} kept {kept}", result["status"].as_str().unwrap())
    }
}

fn ends() -> Vec<Row> {
    vec![
        row(
            "stdout closed but alive",
            "200 success | ",
            run(shell("exec >&- 2>&-; sleep 1", json!({}))),
        ),
        row(
            "stdout closed but alive",
            "200 error: timeout | ",
            run(shell("exec >&- 2>&-; sleep 60", json!({"timeout_secs": 1}))),
        ),
        row(
            "SIGTERM ignored",
            "200 error: timeout | begun",
            run(shell(
                "trap '' TERM INT HUP; echo begun; while :; do sleep 1; done",
                json!({"timeout_secs": 1}),
            )),
        ),
        row(
            "daemonised children",
            "200 success | parent",
            run(shell(
                "setsid sh -c 'sleep 600' >/dev/null 2>&1 & echo parent",
                json!({}),
            )),
        ),
        row(
            "daemonised children",
            "200 success | parent",
            // It holds the run's stdout open.
            run(shell("setsid sleep 600 & echo parent", json!({}))),
        ),
    ]
}

fn pulls() -> Vec<Row> {
    vec![
        row("pull of a slow image", "504 pull_timeout", |server| {
            let registry = TcpListener::bind("127.0.0.1:0").unwrap();
            pull(server, &registry)
        }),
        row("pull of a huge image", "504 pull_timeout", |server| {
            let registry = TcpListener::bind("127.0.0.1:0").unwrap();
            let listener = registry.try_clone().unwrap();
            std::thread::spawn(move || serve_a_huge_image(&listener));
            pull(server, &registry)
        }),
        row(
            "pull of a missing image",
            "502 registry_unreachable",
            |server| {
                let request = json!({"image": "127.0.0.1:1/none:1", "network": "none"});
                outcome(&server.post("/run", &request))
            },
        ),
        row("pull of a missing image", "404 image_not_found", |server| {
            let request = json!({"image": "oneoff-test:none", "pull_policy": "never"});
            outcome(&server.post("/run", &request))
        }),
    ]
}

fn pull(server: &Server, registry: &TcpListener) -> Outcome {
    let image = format!("{}/x:1", registry.local_addr().unwrap());
    let began = Instant::now();
    let answer = outcome(&server.post("/run", &json!({"image": image, "network": "none"})));
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    answer
}

/// A registry with one image whose only layer has 1 TB and never ends.
fn serve_a_huge_image(listener: &TcpListener) {
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let layer = json!({"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "size": 1_u64 << 40, "digest": digest("a")});
    let config = json!({"mediaType": "application/vnd.docker.container.image.v1+json",
        "size": 2, "digest": digest("b")});
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let manifest = manifest.to_string();
    for stream in listener.incoming().map_while(Result::ok) {
        let manifest = manifest.clone();
        std::thread::spawn(move || {
            let mut stream = stream;
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let (length, kind) = match head.contains("/blobs/") {
                true => (1 << 40, "application/octet-stream"),
                false => (manifest.len(), kind),
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
            );
            let mut gone = stream.write_all(answer.as_bytes()).is_err();
            if !head.contains("/blobs/") {
                let _ = stream.write_all(manifest.as_bytes());
                return;
            }
            while !gone {
                gone = stream.write_all(&[0x1f; 4096]).is_err();
                // A megabyte in four minutes.
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }
}

fn many() -> Vec<Row> {
    vec![row(
        "1,000 requests at once",
        "200 and 429 for 1000",
        |server| {
            let mut streams = Vec::new();
            for n in 0..1000 {
                streams.push(server.begin_run(&shell(&format!("echo {n}"), json!({}))));
            }
            let (mut done, mut refused) = (0, 0);
            for (n, stream) in streams.iter_mut().enumerate() {
                let answer = read_answer(stream).expect("every request is answered");
                match outcome(&answer).as_str() {
                    outcome if outcome == format!("200 success | {n}\n") => done += 1,
                    outcome if outcome.starts_with("429 queue_full") => refused += 1,
                    outcome => panic!("{outcome}"),
                }
            }
            assert!(done >= 12, "{done}: as many as run and wait");
            format!("200 and 429 for {}", done + refused)
        },
    )]
}
