//! Heads, bodies and JSON that a parser may trip over, and clients that are slow or leave.

use super::raw::{answered, raw, send};
use super::table::{Outcome, Row, Stand, Table, outcome, row};
use crate::run::shell;
use crate::support::{Answer, Request, Server};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const SECTION: &str = "http";
const BAD: &str = "400 bad_request";

pub fn tables() -> Vec<Table> {
    let rows = [framing(), heads(), texts(), exchanges(), leavers()];
    let rows = rows.into_iter().flatten().collect();
    vec![
        Table::new(SECTION, || Stand::with(&[]), rows),
        // Each waits for a deadline of the server.
        Table::new(SECTION, || Stand::with(&[]), slow_body()),
        Table::new(SECTION, || Stand::with(&[]), slow_head_and_reading()),
    ]
}

fn framing() -> Vec<Row> {
    let smuggled = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let cases = [
        (
            "CL.TE",
            BAD,
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
        ),
        (
            "TE.CL",
            BAD,
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
        ),
        (
            "TE.CL",
            BAD,
            "Transfer-Encoding : chunked\r\nContent-Length: 4",
        ),
        ("TE.CL", BAD, "X: y\nTransfer-Encoding: chunked"),
        (
            "CL.TE",
            "501 unsupported_transfer_encoding",
            "Transfer-Encoding: xchunked",
        ),
        (
            "duplicate Content-Length",
            BAD,
            "Content-Length: 5\r\nContent-Length: 5",
        ),
        (
            "duplicate Content-Length",
            BAD,
            "Content-Length: 5\r\nContent-Length: 6",
        ),
        ("duplicate Content-Length", BAD, "Content-Length: 5, 5"),
        (
            "huge Content-Length",
            "413 body_too_large",
            "Content-Length: 100000000000000",
        ),
        (
            "huge Content-Length",
            "413 body_too_large",
            "Content-Length: 18446744073709551615",
        ),
        (
            "huge Content-Length",
            BAD,
            "Content-Length: 18446744073709551616",
        ),
        ("huge Content-Length", BAD, "Content-Length: -1"),
    ];
    let rows = cases.into_iter().map(|(case, expected, fields)| {
        let head = format!("POST /run HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
        row(case, expected, raw(format!("{head}0\r\n\r\n{smuggled}")))
    });
    rows.collect()
}

fn heads() -> Vec<Row> {
    let get = |fields: &str| format!("GET /policy HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    vec![
        row(
            "bare LF",
            BAD,
            raw("GET /policy HTTP/1.1\nHost: localhost\n\n"),
        ),
        row("bare LF", BAD, raw(get("X: y\n"))),
        row(
            "header flood",
            "431 too_many_headers",
            raw(get(&"A: b\r\n".repeat(200))),
        ),
        row(
            "header flood",
            "431 head_too_large",
            raw(get(&"A: b\r\n".repeat(50_000))),
        ),
        row("header flood", "431 head_too_large", |server| {
            let mut socket = send(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
            let piece = vec![b'x'; 1 << 20];
            // The server closes the connection, or reads on without keeping anything.
            let _ = (0..300).all(|_| socket.write_all(&piece).is_ok());
            answered(socket)
        }),
    ]
}

fn texts() -> Vec<Row> {
    let run = |case, expected, body: String| {
        row(case, expected, move |server: &Server| {
            // MCP reads JSON by the same rules.
            let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"#.to_owned()
                + &body
                + "}";
            let mcp = server.request("POST", "/mcp", &call);
            // A number out of range cannot be kept in a message.
            let is_taken = !expected.starts_with("400") && !body.contains("1e999");
            assert_eq!(mcp.status == 200, is_taken, "{}", mcp.text());
            outcome(&server.request("POST", "/run", &body))
        })
    };
    let of_image = |rest: &str| format!("{{\"image\":\"alpine\",{rest}}}");
    let deep = |open: &str, close: &str| {
        of_image(&format!(
            "\"command\":{}{}",
            open.repeat(100_000),
            close.repeat(100_000)
        ))
    };
    let number = |number: &str| of_image(&format!("\"timeout_secs\":{number}"));
    vec![
        run("JSON depth bomb", "400 bad_json", deep("[", "]")),
        run("JSON depth bomb", "400 bad_json", deep("{\"a\":", "}")),
        run("JSON depth bomb", "400 bad_json", deep("[", "")),
        run(
            "JSON width bomb",
            "400 bad_json",
            of_image(&format!("\"command\":[{}1]", "1,".repeat(10_000_000))),
        ),
        run(
            "duplicate keys",
            "400 bad_json",
            of_image("\"image\":\"alpine\""),
        ),
        run(
            "duplicate keys",
            "400 bad_json",
            of_image("\"env_vars\":{\"A\":1,\"\\u0041\":2}"),
        ),
        run(
            "lone surrogates",
            "400 bad_json",
            of_image("\"command\":\"\\ud800\""),
        ),
        run(
            "lone surrogates",
            "400 bad_json",
            of_image("\"command\":\"\\udc00\\ud800\""),
        ),
        run(
            "huge numbers",
            "422 invalid_request timeout_secs",
            number("18446744073709551616"),
        ),
        run(
            "huge numbers",
            "422 invalid_request timeout_secs",
            number("1e308"),
        ),
        run(
            "huge numbers",
            "422 invalid_request timeout_secs",
            number("1e999"),
        ),
        run(
            "huge numbers",
            "422 invalid_request timeout_secs",
            number(&"9".repeat(300)),
        ),
        run(
            "huge numbers",
            "422 invalid_request timeout_secs",
            number("-1"),
        ),
    ]
}

fn exchanges() -> Vec<Row> {
    let policy = "GET /policy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let expecting = |expectation: &str, length: &str| {
        format!(
            "POST /run HTTP/1.1\r\nHost: localhost\r\nExpect: {expectation}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let method = |method: &'static str, expected| {
        row("unknown method", expected, move |server: &Server| {
            let answer = server.request(method, "/run", "");
            assert_eq!(answer.header("Allow").as_deref(), Some("POST"));
            outcome(&answer)
        })
    };
    let expect = "Expect: 100-continue";
    vec![
        row(
            expect,
            "417 expectation_failed",
            raw(expecting("a-lot", "5")),
        ),
        row(
            expect,
            "413 body_too_large",
            raw(expecting("100-continue", "999999999999")),
        ),
        row(expect, "200 success | hello", move |server| {
            let body = shell("echo hello", json!({})).to_string();
            let mut socket = send(
                server,
                expecting("100-continue", &body.len().to_string()).as_bytes(),
            );
            let mut start = [0; 25];
            socket.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 100 Continue\r\n\r\n");
            socket.write_all(body.as_bytes()).unwrap();
            answered(socket)
        }),
        row("pipelining", "200", raw(policy.repeat(6))),
        row(
            "pipelining",
            "422 invalid_request image",
            raw(format!(
                "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}{policy}"
            )),
        ),
        row("HEAD", "200", |server| {
            let answer = server.request("HEAD", "/policy", "");
            assert!(answer.body.is_empty() && answer.header("Content-Length").is_some());
            outcome(&answer)
        }),
        row("HEAD", "405", |server| {
            bodiless(&server.request("HEAD", "/run", ""))
        }),
        method("BREW", "405 method_not_allowed"),
        method("post", "405 method_not_allowed"),
        method("X!#$%&'*+.^_`|~", "405 method_not_allowed"),
        row(
            "unknown method",
            BAD,
            raw("GE\u{1}T / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ),
    ]
}

fn bodiless(answer: &Answer) -> String {
    assert!(answer.body.is_empty());
    answer.status.to_string()
}

/// Nothing is left behind: the row's container is gone soon.
fn leavers() -> Vec<Row> {
    let leave: [fn(TcpStream); 3] = [
        drop,
        |socket| rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap(),
        |socket| {
            socket.shutdown(Shutdown::Write).unwrap();
            assert!(answered(socket).starts_with("200 error: cancelled"));
        },
    ];
    let rows = leave.into_iter().map(|leave| {
        row("abort mid-run", "gone", move |server| {
            let run = server.begin_run(&shell("sleep 600", json!({"timeout_secs": 1000})));
            server.await_running();
            leave(run);
            let left = Instant::now();
            server.await_nothing_left();
            assert!(left.elapsed() < Duration::from_secs(10));
            "gone".into()
        })
    });
    rows.collect()
}

fn drip(socket: TcpStream) -> Outcome {
    let mut writer = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            // The pace of the client.
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    answered(socket)
}

fn slow_body() -> Vec<Row> {
    vec![row("slow body", "408 body_timeout", |server| {
        let head = "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        answered(send(
            server,
            format!("{head}Content-Length: 100000\r\n\r\n{{").as_bytes(),
        ))
    })]
}

fn slow_head_and_reading() -> Vec<Row> {
    vec![
        row("slow headers", "408 head_timeout", |server| {
            let head = b"GET /policy HTTP/1.1\r\nHost: localhost\r\nX-Endless: ";
            drip(send(server, head))
        }),
        row("slow reading", "200 success | other", slow_reading),
    ]
}

fn slow_reading(server: &Server) -> String {
    let large = json!({"max_output_bytes": 4_000_000, "timeout_secs": 60});
    let script = "head -c 4000000 /dev/zero | tr '\\0' x";
    let request = shell(script, large).to_string();
    let readers: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut reader = server.begin(&Request::new("POST", "/run").body(&request));
            // The answer has begun, and its reader stops.
            reader.read_exact(&mut [0; 100]).unwrap();
            reader
        })
        .collect();
    let other = outcome(&server.post("/run", &shell("echo other", json!({}))));
    drop(readers);
    other
}
