//! The memory budget (`RUNNER_MAX_BODY_MEMORY`): what slow readers, large answers and hostile JSON may take.

use super::run::shell;
use super::support::{Request, Server, docker, read_answer, tar_gz};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const MB: u64 = 1 << 20;

/// A client that has read the head of its answer and reads no further.
struct SlowReader {
    stream: TcpStream,
    head: String,
}

impl SlowReader {
    fn of(mut stream: TcpStream) -> Self {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        Self {
            stream,
            head: String::from_utf8(head).unwrap(),
        }
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }
}

/// All the answers' heads, of requests that are sent at once.
fn slow_readers(streams: Vec<TcpStream>) -> Vec<SlowReader> {
    streams.into_iter().map(SlowReader::of).collect()
}

fn count(readers: &[SlowReader], status: &str) -> usize {
    let matching = readers.iter().filter(|reader| reader.status() == status);
    matching.count()
}

/// Asserts that all but a few got 429 with the time to come back and the name of the setting.
fn assert_refused(readers: Vec<SlowReader>) {
    for mut refused in readers
        .into_iter()
        .filter(|reader| reader.status() != "200")
    {
        assert_eq!(refused.status(), "429", "{}", refused.head);
        let head = refused.head.to_ascii_lowercase();
        assert!(head.contains("\r\nretry-after: "), "{head}");
        let mut body = Vec::new();
        refused.stream.read_to_end(&mut body).unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "memory_full");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("RUNNER_MAX_BODY_MEMORY"), "{detail}");
    }
}

fn rss_bytes(server: &Server) -> u64 {
    server.status_number("VmRSS") << 10
}

/// A run that prints this many bytes.
fn printing(bytes: u64, kept: u64) -> Value {
    let script = format!("head -c {bytes} /dev/zero | tr '\\0' x");
    shell(&script, json!({"max_output_bytes": kept}))
}

#[test]
fn slow_readers_of_large_answers_take_no_more_than_the_budget_and_other_runs_get_429_meanwhile() {
    let server = Server::with(&[
        ("RUNNER_MAX_CONCURRENT_RUNS", "8"),
        ("RUNNER_MAX_BODY_MEMORY", "48m"),
    ]);
    let before = rss_bytes(&server);
    // Each may need 32 MiB, and keeps 12 MiB once it has ended.
    let streams = (0..8).map(|_| server.begin_run(&printing(12 * MB, 16 * MB)));
    let readers = slow_readers(streams.collect());
    let answered = count(&readers, "200");
    assert!((1..=3).contains(&answered), "{answered} of 8");
    let grown = rss_bytes(&server) - before;
    assert!(grown < 96 * MB, "{} MB", grown / MB);
    assert_eq!(server.get("/health").status, 200);
    assert_refused(readers);
    // The slow readers are gone: everything works again.
    assert_eq!(
        server.run(printing(12 * MB, 16 * MB))["stdout"]
            .as_str()
            .unwrap()
            .len() as u64,
        12 * MB
    );
    server.await_nothing_left();
    server.stop();
}

#[test]
fn contents_of_volumes_share_the_budget_and_a_run_keeps_its_answer_when_it_is_used_up() {
    let server = Server::with(&[("RUNNER_MAX_BODY_MEMORY", "30m")]);
    let volume = format!("memory-{}", std::process::id());
    let script = "head -c 6000000 /dev/urandom > /v/f";
    assert_eq!(
        server
            .post(
                "/volume",
                &json!({"name": volume, "content": tar_gz(&[("x", b"")], "x")})
            )
            .status,
        200
    );
    let mount =
        json!({"volumes": {"/v": {"type": "volume", "name": volume}}, "max_output_bytes": 1000});
    server.run(shell(script, mount));
    // 8 MB of base64 each.
    let path = format!("/volume/{volume}");
    let read = || server.begin(&Request::new("GET", &path));
    let mut readers = slow_readers((0..8).map(|_| read()).collect());
    let answered = count(&readers, "200");
    assert!((1..=3).contains(&answered), "{answered} of 8");
    readers.retain(|reader| reader.status() == "200");
    let refused = loop {
        // Until less than one more fits.
        let reader = SlowReader::of(read());
        match reader.status() {
            "200" => readers.push(reader),
            _ => break reader,
        }
    };
    assert_refused(vec![refused]);

    let back = json!({"/out": {"type": "directory", "response": true}, "/small": {"type": "file", "response": true}});
    let script = "echo done; head -c 12000000 /dev/urandom > /out/f; echo small > /small";
    let result = server.run(shell(
        script,
        json!({"volumes": back, "max_output_bytes": 1000}),
    ));
    assert_eq!(
        (&result["status"], &result["stdout"]),
        (&json!("success"), &json!("done\n"))
    );
    let kept = &result["volumes"]["/out"];
    assert_eq!(kept["content"], Value::Null);
    let detail = kept["detail"].as_str().unwrap();
    assert!(detail.contains("RUNNER_MAX_BODY_MEMORY"), "{detail}");
    assert_eq!(result["volumes"]["/small"]["content"], "c21hbGwK");

    drop(readers);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.get(&path).status != 200 {
        assert!(
            std::time::Instant::now() < deadline,
            "nothing was given back"
        );
    }
    server.await_nothing_left();
    docker(&["volume", "rm", &volume]);
    server.stop();
}

#[test]
fn a_body_without_a_declared_length_takes_little_more_memory_than_its_bytes() {
    let server = Server::start();
    let before = server.status_number("VmHWM") << 10;
    let piece = [b' '; MB as usize];
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "POST /run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    for _ in 0..160 {
        write!(stream, "{:x}\r\n", piece.len()).unwrap();
        stream.write_all(&piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!(answer.status, 400, "blanks are no JSON");
    let grown = (server.status_number("VmHWM") << 10) - before;
    assert!(grown < 260 * MB, "{} MB", grown / MB);
    server.stop();
}

#[test]
fn json_is_read_as_strictly_and_with_as_little_memory_by_mcp_as_by_rest() {
    let server = Server::start();
    let before = server.status_number("VmHWM") << 10;
    let zeros = "0,".repeat(20_000_000);
    let objects = "{\"a\":1},".repeat(5_000_000);
    for values in [zeros, objects] {
        let bodies = [
            ("/run", format!("{{\"command\":[{values}1]}}")),
            ("/mcp", format!("[{values}0]")),
            (
                "/mcp",
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":[{values}0]}}}}"
                ),
            ),
        ];
        for (path, body) in bodies {
            let answer = server.request("POST", path, &body);
            assert_eq!(answer.status, 400, "{path}");
            let text = answer.text();
            assert!(text.contains("too many values"), "{text:.200}");
        }
    }
    let grown = (server.status_number("VmHWM") << 10) - before;
    assert!(grown < 250 * MB, "{} MB", grown / MB);
    for (path, body) in [
        ("/run", r#"{"image":"x","image":"y"}"#),
        ("/mcp", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#),
    ] {
        let answer = server.request("POST", path, body);
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.text().contains("is there twice"),
            "{}",
            answer.text()
        );
    }
    server.stop();
}

#[test]
fn the_last_event_of_a_stream_has_the_whole_result_and_a_slow_reader_of_it_counts() {
    let server = Server::with(&[("RUNNER_MAX_BODY_MEMORY", "48m")]);
    let request = printing(12 * MB, 16 * MB).to_string();
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let begun = Request::new("POST", "/run")
            .fields(&[("Accept", accept)])
            .body(&request);
        let answer = read_answer(&mut server.begin(&begun)).unwrap();
        let last = answer
            .text()
            .lines()
            .rfind(|line| line.contains("\"status\""))
            .unwrap();
        let json = last.strip_prefix("data: ").unwrap_or(last);
        let result: Value = serde_json::from_str(json).unwrap();
        assert_eq!(result["status"], "success");
        assert_eq!(result["stdout"].as_str().unwrap().len() as u64, 12 * MB);
    }
    server.await_nothing_left();
    server.stop();
}

#[test]
fn an_idle_server_gives_the_memory_of_earlier_requests_back() {
    let server = Server::with(&[("RUNNER_MAX_CONCURRENT_RUNS", "4")]);
    let anonymous = || server.status_number("RssAnon") << 10;
    let before = anonymous();
    let content = tar_gz(&[("f", vec![7; 2_000_000].as_slice())], "f");
    let back = json!({"/d": {"type": "directory", "content": content, "response": true}});
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..4 {
                    server.run(printing(3_000_000, 4 * MB));
                    server.run(shell(
                        "head -c 3000000 /dev/urandom > /d/g",
                        json!({"volumes": back}),
                    ));
                }
            });
        }
    });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // Without an allocator that gives memory back it stays above 60 MB.
    while anonymous() > before + 8 * MB {
        let left = anonymous();
        assert!(
            std::time::Instant::now() < deadline,
            "{} -> {} MB",
            before / MB,
            left / MB
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    server.await_nothing_left();
    server.stop();
}
