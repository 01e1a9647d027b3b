//! Attacks on the HTTP edge, from outside: raw sockets against a real server. Each test is a behaviour that must hold.

mod rig;

use crate::support::CapturedLog;
use rig::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

// --- framing ---------------------------------------------------------------------------------------------------------

#[test]
fn hostile_lengths_and_codings_are_refused_and_the_server_lives_on() {
    let rig = Rig::start();
    for (status, fields) in [
        (413, "Content-Length: 100000000000000"),
        (413, "Content-Length: 18446744073709551615"),
        (400, "Content-Length: 18446744073709551616"),
        (400, "Content-Length: -1"),
        (400, "Content-Length: +5"),
        (400, "Content-Length: 5, 5"),
        (400, "Content-Length: 5\r\nContent-Length: 5"),
        (400, "Content-Length: 5\r\nContent-Length: 6"),
        (400, "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (400, "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        (
            400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ),
        (400, "Transfer-Encoding : chunked"),
        (400, "Transfer-Encoding\t: chunked"),
        (400, " Transfer-Encoding: chunked"),
        (400, "X: y\r\n Transfer-Encoding: chunked"),
        (400, "X: y\nTransfer-Encoding: chunked"),
        (400, "X: y\rTransfer-Encoding: chunked"),
        (400, "Transfer-Encoding: \u{b}chunked"),
        (501, "Transfer-Encoding: xchunked"),
        (501, "Transfer-Encoding: gzip, chunked"),
        (501, "Transfer-Encoding: identity"),
    ] {
        let answer = rig.ask(&format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ));
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(!answer.code().is_empty());
        assert_eq!(answer.headers["connection"], "close");
    }
    assert!(rig.is_well());
}

#[test]
fn bodies_arrive_as_they_were_sent() {
    let rig = Rig::start();
    let fixed = rig.ask("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((fixed.status, fixed.text()), (200, "hello"));
    assert_eq!(fixed.headers["content-length"], "5");
    let chunked = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n";
    assert_eq!(rig.ask(chunked).text(), "hello");
    let none = rig.ask("POST /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((none.status, none.text()), (200, ""));
}

#[test]
fn malformed_or_cut_bodies_are_400() {
    let rig = Rig::start();
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = rig.ask(&format!(
            "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_body"),
            "{body:?}"
        );
    }
    let mut cut = send(
        rig.addr,
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhello",
    );
    cut.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Answer::read(&mut cut).unwrap().code(), "bad_body");
}

#[test]
fn bodies_over_the_limit_are_413_however_they_are_framed() {
    let rig = Rig::with(|c| c.body_limit_bytes = 10);
    let fixed = rig.ask("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world");
    assert_eq!(
        (fixed.status, fixed.code().as_str()),
        (413, "body_too_large")
    );
    let chunked = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n";
    let chunked = rig.ask(chunked);
    assert_eq!(
        (chunked.status, chunked.code().as_str()),
        (413, "body_too_large")
    );
}

#[test]
fn bodies_share_the_memory_for_them_and_one_without_room_is_429_however_it_is_framed() {
    let rig = Rig::with(|config| config.body_memory_bytes = 1000);
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let chunked = |body: &str| {
        let framed = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{framed}"
        )
    };
    let (some, more) = ("x".repeat(600), "y".repeat(401));
    assert_eq!(
        rig.ask(&post("/echo", &"z".repeat(5000))).status,
        200,
        "alone"
    );
    let waiting = send(rig.addr, post("/wait", &some).as_bytes());
    rig.expect(Event::Entered);
    for request in [post("/echo", &more), chunked(&more)] {
        let answer = rig.ask(&request);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (429, "too_many_bodies")
        );
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(rig.ask(&post("/echo", &more[..400])).status, 200);
    drop(waiting);
    rig.expect(Event::Cancelled);
    eventually("the room is given back", || {
        [post("/echo", &more), chunked(&more)]
            .iter()
            .all(|request| rig.ask(request).status == 200)
    });
}

#[test]
fn a_413_can_be_read_by_a_client_that_sends_everything_first() {
    let rig = Rig::with(|c| c.body_limit_bytes = 1000);
    let mut socket = send(
        rig.addr,
        b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 67108864\r\n\r\n",
    );
    socket
        .write_all(&vec![b'x'; 64 * MIB])
        .expect("nobody resets a client that is still sending");
    assert_eq!(Answer::read(&mut socket).unwrap().code(), "body_too_large");
}

#[test]
fn large_bodies_stream_both_ways() {
    let rig = Rig::start();
    let mut socket = send(
        rig.addr,
        format!(
            "POST /count HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            256 * MIB
        )
        .as_bytes(),
    );
    let piece = vec![b'x'; MIB];
    (0..256).for_each(|_| socket.write_all(&piece).unwrap());
    assert_eq!(Answer::read(&mut socket).unwrap().json(), 256 * MIB);
    let answer = rig.get(&format!("/big?size={}", 85_000_000));
    assert_eq!(answer.body.len(), 85_000_000);
    assert!(answer.body.iter().all(|&b| b == b'x'));
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_only_when_its_body_is_wanted() {
    let rig = Rig::with(|c| c.auth_token = Some("t".into()));
    let ask = |fields: &str| {
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{fields}\r\n\r\n");
        send(rig.addr, head.as_bytes())
    };
    let mut welcome = ask("Authorization: Bearer t\r\nContent-Length: 5");
    assert_eq!(
        read_until(&mut welcome, "\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    welcome.write_all(b"hello").unwrap();
    assert_eq!(Answer::read(&mut welcome).unwrap().text(), "hello");
    let refused = Answer::read(&mut ask("Content-Length: 5")).unwrap();
    assert_eq!(refused.code(), "unauthorized");
    let large = Answer::read(&mut ask(
        "Authorization: Bearer t\r\nContent-Length: 999999999999",
    ))
    .unwrap();
    assert_eq!(large.code(), "body_too_large");
    let unread = rig.ask(
        "POST /problem HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\nExpect: 100-continue\r\n\
         Content-Length: 5\r\n\r\n",
    );
    assert_eq!(unread.status, 404);
}

// --- heads -----------------------------------------------------------------------------------------------------------

#[test]
fn odd_heads_are_refused_each_with_its_own_status() {
    let rig = Rig::start();
    for (status, code, head) in [
        (400, "bad_request", "GET / HTTP/1.1\nHost: h\n\n"),
        (400, "bad_request", "GET / HTTP/1.1\r\nHost: h\n\r\n"),
        (400, "bad_request", "GET / HTTP/1.1\r\n\r\n"),
        (
            400,
            "bad_request",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ),
        (
            400,
            "bad_request",
            "GET http://localhost/ HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            400,
            "bad_request",
            "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (400, "bad_request", "\u{16}\u{3}\u{1}\u{2}"),
        (
            417,
            "expectation_failed",
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: a-lot\r\n\r\n",
        ),
        (505, "http_version_not_supported", "PRI * HTTP/2.0\r\n\r\n"),
        (
            505,
            "http_version_not_supported",
            "GET / HTTP/3.0\r\nHost: h\r\n\r\n",
        ),
    ] {
        let answer = rig.ask(head);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{head:?}"
        );
    }
    let many = format!(
        "GET /seen HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    assert_eq!(rig.ask(&many).code(), "too_many_headers");
    let fine = format!(
        "GET /health HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "A: b\r\n".repeat(99)
    );
    assert_eq!(rig.ask(&fine).status, 200);
}

#[test]
fn methods_nobody_knows_reach_the_handler_as_they_are() {
    let rig = Rig::start();
    for method in ["BREW", "PROPFIND", "get", "M-SEARCH", "X!#$%&'*+.^_`|~"] {
        let answer = rig.ask(&format!("{method} /seen HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(answer.json()["method"], method);
    }
}

#[test]
fn the_handler_sees_the_request_decoded_and_without_credentials() {
    let rig = Rig::with(|c| c.auth_token = Some("t".into()));
    let seen = rig
        .ask(
            "POST /%73een?a=1&b=x%20y HTTP/1.1\r\nHost: h\r\nX-Thing:  v \r\nAuthorization: Bearer t\r\n\
             TE: trailers\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nX-Edge-Id: 1\r\n\
             Content-Length: 0\r\n\r\n",
        )
        .json();
    assert_eq!(seen["path"], "/seen");
    assert_eq!(seen["query"], serde_json::json!([["a", "1"], ["b", "x y"]]));
    assert_eq!(
        seen["headers"],
        serde_json::json!([["host", "h"], ["x-thing", "v"]])
    );
    assert_eq!(seen["authenticated"], true);
    assert_eq!(seen["content_length"], 0);
}

#[test]
fn a_300_mb_head_costs_neither_memory_nor_the_answer() {
    let server = ServerProcess::start(256);
    let mut socket = send(server.addr, b"GET / HTTP/1.1\r\nHost: h\r\nX: ");
    let piece = vec![b'x'; MIB];
    (0..300).for_each(|_| socket.write_all(&piece).unwrap());
    assert_eq!(Answer::read(&mut socket).unwrap().code(), "head_too_large");
    let (_, peak) = server.memory_kib();
    assert!(peak < 40 * 1024, "{peak} KiB");
}

#[test]
fn a_slow_head_is_408_and_a_silent_client_is_simply_closed() {
    let rig = Rig::with(|c| c.head_timeout = Duration::from_millis(300));
    let mut silent = connect(rig.addr);
    let mut slow = connect(rig.addr);
    let drip = std::thread::spawn(move || {
        for byte in b"GET /health HTTP/1.1\r\nHost: h\r\nX-Endless: "
            .iter()
            .chain([b'x'; 1000].iter())
        {
            if slow.write_all(&[*byte]).is_err() {
                break;
            }
            // The pace: for so long the answer is waited for.
            slow.set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            if slow.peek(&mut [0]).is_ok() {
                break;
            }
        }
        Answer::read(&mut slow).unwrap()
    });
    assert!(Answer::read(&mut silent).is_none());
    assert_eq!(drip.join().unwrap().code(), "head_timeout");
}

// --- slow, rude and vanishing clients --------------------------------------------------------------------------------

#[test]
fn a_body_that_stalls_or_drips_is_408() {
    let rig = Rig::with(|c| c.body_stall_timeout = Duration::from_millis(200));
    let head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhello";
    let mut stalled = send(rig.addr, head);
    assert_eq!(Answer::read(&mut stalled).unwrap().code(), "body_timeout");
    let mut dripping = send(rig.addr, head);
    let mut writer = dripping.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            hung_up_within(&writer, Duration::from_millis(20));
        }
    });
    let answer = read_until(&mut dripping, "body_timeout");
    assert!(answer.starts_with("HTTP/1.1 408 "));
    reset(dripping);
    drip.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let rig = Rig::with(|c| c.write_stall_timeout = Duration::from_millis(300));
    let socket = send(rig.addr, b"GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    rig.expect(Event::WriteFailed);
    drop(socket);
}

#[test]
fn a_client_that_leaves_cancels_its_request_however_it_leaves() {
    let rig = Rig::start();
    let leave: [fn(TcpStream); 3] = [drop, reset, |socket| {
        socket.shutdown(Shutdown::Write).unwrap();
        let mut socket = socket;
        assert_eq!(Answer::read(&mut socket).unwrap().status, 204);
    }];
    for request in [
        "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /wait HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ] {
        for leave in leave {
            let socket = send(rig.addr, request.as_bytes());
            rig.expect(Event::Entered);
            leave(socket);
            rig.expect(Event::Cancelled);
        }
    }
}

#[test]
fn a_client_that_leaves_an_idle_stream_cancels_it() {
    let rig = Rig::start();
    for leave in [drop::<TcpStream>, reset] {
        let mut socket = send(rig.addr, b"GET /idle-stream HTTP/1.1\r\nHost: h\r\n\r\n");
        read_until(&mut socket, "hello");
        rig.expect(Event::Entered);
        leave(socket);
        rig.expect(Event::Cancelled);
    }
}

#[test]
fn a_client_that_leaves_behind_unread_bytes_cancels_its_request() {
    let rig = Rig::start();
    let mut socket = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    socket.write_all(&vec![b'x'; MIB]).unwrap();
    rig.expect(Event::Cancelled);
}

#[test]
fn resets_at_any_moment_hurt_nobody_else() {
    let rig = Rig::start();
    let request = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    for cut in 0..request.len() {
        reset(send(rig.addr, &request[..cut]));
        reset(send(rig.addr, request));
    }
    assert!(rig.is_well());
}

#[test]
fn pipelined_requests_are_not_mistaken_for_anything_else() {
    let rig = Rig::start();
    let one = "GET /seen?n=1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = rig.ask(&format!("{one}{}", one.replace("n=1", "n=2").repeat(5)));
    assert_eq!(answer.json()["query"], serde_json::json!([["n", "1"]]));
    assert_eq!(answer.headers["connection"], "close");
    let behind_a_body = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /panic HTTP/1.1\r\n\r\n";
    assert_eq!(rig.ask(behind_a_body).text(), "hello");
}

#[test]
fn a_burst_of_1000_connections_is_answered_to_the_last() {
    let rig = Rig::start();
    let mut sockets: Vec<_> = (0..1000).map(|_| connect(rig.addr)).collect();
    for socket in &mut sockets {
        socket
            .write_all(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
    }
    let answered = sockets
        .iter_mut()
        .filter_map(Answer::read)
        .filter(|answer| answer.status == 200)
        .count();
    assert_eq!(answered, 1000);
}

// --- answers ---------------------------------------------------------------------------------------------------------

#[test]
fn a_panic_is_a_500_for_that_request_only() {
    let rig = Rig::start();
    let waiting = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    assert_eq!(rig.get("/panic").code(), "internal");
    assert!(rig.is_well());
    assert!(rig.events.is_empty(), "the other request goes on");
    drop(waiting);
}

#[test]
fn a_stream_that_fails_midway_does_not_look_complete() {
    let rig = Rig::start();
    let answer = rig.get("/panic-midway");
    assert_eq!((answer.status, answer.text()), (200, "4\r\nhalf\r\n"));
    assert!(rig.is_well());
}

#[test]
fn streams_are_chunked_piece_by_piece_and_plain_for_http_1_0() {
    let rig = Rig::start();
    let answer = rig.get("/pieces");
    assert_eq!(
        answer.text(),
        "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    );
    assert_eq!(answer.headers["transfer-encoding"], "chunked");
    let old = rig.ask("GET /pieces HTTP/1.0\r\n\r\n");
    assert_eq!(old.text(), "onetwothree");
    assert!(!old.headers.contains_key("transfer-encoding"));
}

#[test]
fn a_body_can_be_read_while_the_answer_is_written() {
    let rig = Rig::start();
    let head = b"POST /duplex HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n";
    let mut socket = send(rig.addr, head);
    for (piece, chunk) in [
        ("one", "3\r\none\r\n"),
        ("two", "3\r\ntwo\r\n"),
        ("six", "3\r\nsix\r\n0\r\n\r\n"),
    ] {
        socket.write_all(piece.as_bytes()).unwrap();
        read_until(&mut socket, chunk);
    }
}

#[test]
fn head_and_204_answers_have_no_body() {
    let rig = Rig::start();
    let head = rig.ask("HEAD /big?size=1000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], "1000");
    let stream = rig.ask("HEAD /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((stream.status, stream.body.len()), (200, 0));
    let refused = rig.ask("HEAD /health HTTP/1.1\r\nHost: evil.com\r\n\r\n");
    assert_eq!((refused.status, refused.body.len()), (403, 0));
    let empty = rig.get("/teapot");
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    assert!(!empty.headers.contains_key("content-length"));
}

#[test]
fn no_handler_can_split_a_response() {
    let rig = Rig::start();
    let answer = rig.get("/crlf");
    assert_eq!(answer.status, 500);
    assert!(!String::from_utf8(answer.raw).unwrap().contains("stolen"));
}

#[test]
fn every_answer_carries_the_request_id() {
    let rig = Rig::start();
    let id = |value: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Request-Id: {value}\r\n\r\n");
        rig.ask(&request).headers["x-request-id"].clone()
    };
    assert_eq!(id("abc.DEF-1_2", "/seen"), "abc.DEF-1_2");
    assert_eq!(id("abc", "/nowhere"), "abc");
    for insane in ["a b", "a/b", "\"", &"x".repeat(129)] {
        assert_eq!(id(insane, "/seen").len(), 32);
    }
    assert_ne!(
        rig.get("/health").headers["x-request-id"],
        rig.get("/health").headers["x-request-id"]
    );
    assert_eq!(rig.ask("nonsense\n").headers["x-request-id"].len(), 32);
}

// --- guard -----------------------------------------------------------------------------------------------------------

#[test]
fn rebound_hosts_and_foreign_origins_are_403() {
    let rig = Rig::with(|c| c.allowed_hosts = vec!["*.example.com".into()]);
    for (host, origin, expected) in [
        ("localhost:8000", "", "200"),
        ("127.0.0.1", "", "200"),
        ("runner:8000", "http://runner:8000", "200"),
        ("a.example.com", "https://a.example.com", "200"),
        ("a.example.com", "https://app.example.com", "200"),
        ("evil.com", "", "host_not_allowed"),
        ("evil.com", "http://evil.com", "host_not_allowed"),
        ("localhost", "http://evil.com", "origin_not_allowed"),
        ("localhost", "null", "origin_not_allowed"),
    ] {
        let origin_field = match origin {
            "" => String::new(),
            origin => format!("Origin: {origin}\r\n"),
        };
        // The simple form that needs no preflight.
        let answer = rig.ask(&format!(
            "POST /echo HTTP/1.1\r\nHost: {host}\r\n{origin_field}Content-Type: text/plain\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        ));
        let outcome = match answer.status {
            200 => "200".to_owned(),
            _ => answer.code(),
        };
        assert_eq!(outcome, expected, "{host} {origin}");
    }
}

#[test]
fn configured_origins_may_preflight_and_read_answers_and_errors() {
    let rig = Rig::with(|c| c.auth_token = Some("t".into()));
    let preflight = rig.ask(
        "OPTIONS /mcp HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example.com\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    assert_eq!(
        preflight.headers["access-control-allow-methods"],
        "GET, POST, DELETE, OPTIONS"
    );
    assert_eq!(
        preflight.headers["access-control-allow-headers"],
        "Content-Type, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, \
         Mcp-Method, Mcp-Name, Prefer, Idempotency-Key, X-Request-Id"
    );
    for (path, token, status) in [
        ("/health", "t", 200),
        ("/nowhere", "t", 404),
        ("/run", "wrong", 401),
    ] {
        let answer = rig.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.headers["access-control-allow-origin"],
            "https://app.example.com"
        );
        assert_eq!(
            answer.headers["access-control-expose-headers"],
            "Mcp-Session-Id, Location, Preference-Applied, Retry-After, X-Request-Id"
        );
        assert_eq!(answer.headers["vary"], "Origin");
    }
    let own = rig.ask("GET /health HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n\r\n");
    assert_eq!(own.status, 200);
    assert!(!own.headers.contains_key("access-control-allow-origin"));
}

#[test]
fn a_token_is_required_everywhere_but_on_open_paths() {
    let rig = Rig::with(|c| c.auth_token = Some("secret".into()));
    let refused = rig.get("/seen");
    assert_eq!(refused.code(), "unauthorized");
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert!(rig.is_well());
    for path in ["/%68ealth", "/health?x=1"] {
        assert_eq!(rig.get(path).status, 200);
    }
    for path in [
        "/health/",
        "/HEALTH",
        "//health",
        "/health/../seen",
        "/seen?/health",
    ] {
        assert_eq!(rig.get(path).status, 401, "{path}");
    }
    // With a token, DNS rebinding gains nothing, so any Host will do.
    let given = rig.ask(
        "GET /seen HTTP/1.1\r\nHost: public.example.org\r\nAuthorization: bearer secret\r\n\r\n",
    );
    assert_eq!(given.json()["authenticated"], true);
}

// --- logs ------------------------------------------------------------------------------------------------------------

fn logged(log: &CapturedLog, id: &str) -> String {
    let mut found = None;
    eventually("an access log line", || {
        let mut lines = log.lines().into_iter();
        found = lines.find(|l| l.starts_with("access ") && l.ends_with(id));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn the_access_log_has_one_harmless_line_per_request() {
    let log = CapturedLog::start();
    let rig = Rig::start();
    let ask = |request: &str| {
        let id = rig.ask(request).headers["x-request-id"].clone();
        logged(&log, &id)
    };
    let line = ask(
        "POST /echo%0d%0aforged%1b[31m?token=s3cret HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer s3cret\r\n\
         X-Request-Id: %0a s3cret\r\nContent-Length: 6\r\n\r\ns3cret",
    );
    assert!(
        line.starts_with("access POST /echo%0d%0aforged%1b[31m 404 "),
        "{line}"
    );
    assert!(ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").contains("GET /health 200 "));
    assert!(ask("GET /\u{1b}[31m HTTP/1.1\r\nHost: h\r\n\r\n").contains(" - - 400 "));
    let lines = log.lines();
    assert!(!lines.iter().any(|line| line.contains("s3cret")));
    assert!(!lines.iter().any(|line| line.contains('\u{1b}')));
}

// --- a whole process -------------------------------------------------------------------------------------------------

/// Also the entry point of that process: see [`ServerProcess::start`].
#[test]
fn a_server_process_serves() {
    if !be_a_server_process() {
        let server = ServerProcess::start(64);
        let answer = ask(server.addr, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn a_full_house_still_answers_health_checks() {
    // 64 descriptors make 16 seats.
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
    assert_eq!(refused.headers["retry-after"], "1");
    guests.clear();
    eventually("a free seat", || {
        ask(server.addr, b"GET /seen HTTP/1.1\r\nHost: h\r\n\r\n").status == 200
    });
    assert_eq!(health().status, 200);
}

#[test]
fn beyond_the_reserved_seats_clients_are_turned_away_with_an_answer() {
    let server = ServerProcess::start(64);
    let mut sockets: Vec<_> = (0..60).map(|_| connect(server.addr)).collect();
    let turned_away = sockets
        .iter_mut()
        .skip(24)
        .filter_map(Answer::read)
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
                // No event: they are to be spread over the time that the other process holds what there is.
                std::thread::sleep(Duration::from_millis(5));
                send(server.addr, b"GET /seen HTTP/1.1\r\nHost: h\r\n\r\n")
            })
            .collect();
        for other in &mut others {
            let status = Answer::read(other).unwrap().status;
            assert!(matches!(status, 200 | 503), "{status}");
        }
        assert_eq!(Answer::read(&mut burning).unwrap().status, 200);
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
    // Unoptimized frames are larger.
    let limit = if cfg!(debug_assertions) { 40 } else { 25 };
    assert!(after < limit * 1024, "{after} KiB");
    drop(streams);
}

// --- shutdown --------------------------------------------------------------------------------------------------------

#[test]
fn shutdown_refuses_new_clients_lets_requests_finish_and_ends_streams() {
    let mut rig = Rig::with(|c| c.head_timeout = 2 * PATIENCE);
    let mut working = send(rig.addr, b"GET /ignore HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    let mut stream = send(rig.addr, b"GET /idle-stream HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    let mut idle = connect(rig.addr);
    let started = Instant::now();
    rig.server.take().unwrap().shutdown(PATIENCE);
    assert!(started.elapsed() < PATIENCE, "nobody had to be waited for");
    rig.expect(Event::Draining);
    assert_eq!(Answer::read(&mut working).unwrap().text(), "finished");
    assert!(
        Answer::read(&mut stream)
            .unwrap()
            .text()
            .ends_with("bye\n\n\r\n0\r\n\r\n")
    );
    assert!(Answer::read(&mut idle).is_none());
    assert!(TcpStream::connect(rig.addr).is_err());
}

#[test]
fn shutdown_cancels_what_does_not_finish_within_the_grace_period() {
    let mut rig = Rig::start();
    let mut waiting = send(rig.addr, b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.expect(Event::Entered);
    rig.server
        .take()
        .unwrap()
        .shutdown(Duration::from_millis(50));
    rig.expect(Event::Cancelled);
    assert_eq!(
        Answer::read(&mut waiting).unwrap().status,
        204,
        "a cancelled request is still answered"
    );
}

/// Runs itself again in a process of its own, where threads can be counted.
#[test]
fn nothing_is_left_behind() {
    if std::env::var_os("EDGE_TEST_LEAVER").is_some() {
        return come_and_leave();
    }
    let scratch = std::env::temp_dir().join(format!("edge-test-{}", std::process::id()));
    std::fs::create_dir(&scratch).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "edge::nothing_is_left_behind"])
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
    // Two that accept, and the inner server's four.
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
    rig.server.take().unwrap().shutdown(Duration::ZERO);
    drop(rig);
    // The inner server's idle threads leave after five seconds.
    eventually("all threads to end", || threads() == threads_before);
    eventually("all descriptors to be closed", || {
        descriptors() == descriptors_before
    });
}
