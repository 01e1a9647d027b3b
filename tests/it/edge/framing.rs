//! Bodies: how they are framed, how large they may be, when they are read.

use super::MIB;
use super::client::{eventually, read, read_until, send};
use super::rig::{Event, Rig};
use oneoff_docker_runner::memory::MemoryBudget;
use std::io::Write;
use std::net::Shutdown;

#[test]
fn hostile_lengths_and_codings_are_refused() {
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
        assert_eq!(answer.header("connection").unwrap(), "close");
    }
    assert!(rig.is_well());
}

#[test]
fn bodies_arrive_as_they_were_sent() {
    let rig = Rig::start();
    let fixed = rig.ask("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((fixed.status, fixed.text()), (200, "hello"));
    assert_eq!(fixed.header("content-length").unwrap(), "5");
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
    assert_eq!(read(&mut cut).unwrap().code(), "bad_body");
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
fn bodies_share_a_memory_budget_and_one_beyond_it_is_429_however_it_is_framed() {
    let rig = Rig::with(|config| config.memory = MemoryBudget::new(1000));
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
        assert_eq!(answer.header("retry-after").unwrap(), "1");
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
    assert_eq!(read(&mut socket).unwrap().code(), "body_too_large");
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
    assert_eq!(read(&mut socket).unwrap().json(), 256 * MIB);
    let answer = rig.get(&format!("/big?size={}", 85_000_000));
    assert_eq!(answer.body.len(), 85_000_000);
    assert!(answer.body.iter().all(|&b| b == b'x'));
}

#[test]
fn a_100_continue_is_sent_only_when_the_body_is_read() {
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
    assert_eq!(read(&mut welcome).unwrap().text(), "hello");
    let refused = read(&mut ask("Content-Length: 5")).unwrap();
    assert_eq!(refused.code(), "unauthorized");
    let large = read(&mut ask(
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
