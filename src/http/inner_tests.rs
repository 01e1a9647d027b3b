//! tiny_http must accept every head that the edge admits: one that it refuses delays all other requests. `FUZZ_TIMES=100` makes
//! the search for one a hundred times as long.

use super::*;
use crate::edge::parse_exactly;
use crate::random::{Random, rounds};
use rustix::event::PollFlags;

const SEEDS: [&str; 8] = [
    "GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n",
    "GET /runs?limit=5&x=%20 HTTP/1.0\r\nUser-Agent: a (b; c) d/1.0\r\n\r\n",
    "POST /run HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\r\n",
    "POST /mcp HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\nTE: trailers;q=0.5, identity\r\nTrailer: x\r\n\r\n",
    "DELETE /volume/a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nX:\r\n\r\n",
    "M-SEARCH /%41 HTTP/1.1\r\nHost: h\r\nAccept: */*, a;b=\"c\\\"\"\r\nX-Tab: a\tb\r\nCookie: a=b; c=d\r\n\r\n",
    "GET http://h:8000/run?a=b HTTP/1.1\r\nHost: other\r\nCookie: name=J\u{fc}rgen\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\nAccept: a\r\nAccept: b\r\n\r\n",
];
/// Fragments that mutations insert.
const FRAGMENTS: [&str; 28] = [
    "http://",
    "*",
    "\u{e9}",
    "//",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "/",
    "?",
    "%",
    "%41",
    "\"",
    "\\",
    "=",
    "-",
    "0",
    "~",
    "|",
    "\r\n",
    "\r\n\r\n",
    "A: b\r\n",
    "Connection: upgrade\r\n",
    "HTTP/1.1",
    "\u{7f}",
    "Expect: x\r\n",
    "@",
];

fn mutated(random: &mut Random) -> Vec<u8> {
    let mut head = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(head.len());
        let to = (at + random.below(6)).min(head.len());
        let fragment = FRAGMENTS[random.below(FRAGMENTS.len())].as_bytes();
        match random.below(4) {
            0 => drop(head.splice(at..to, [])),
            1 => drop(head.splice(at..at, fragment.iter().copied())),
            2 => drop(head.splice(at..to, fragment.iter().copied())),
            _ => head[at] = 0x20 + random.below(0x5f) as u8,
        }
        if head.is_empty() {
            head.push(b'G');
        }
    }
    head
}

#[test]
fn tiny_http_accepts_every_head_that_the_edge_admits_and_parses_it_alike() {
    let inner = InnerServer::start().unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut admitted = 0;
    let first_socket = socket_path(&inner);
    for _ in 0..rounds(20_000) {
        let bytes = mutated(&mut random);
        let Ok(head) = parse_exactly(&bytes) else {
            continue;
        };
        admitted += 1;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let forwarded = inner
            .forward(&head)
            .unwrap_or_else(|e| panic!("{e}: {text:?}"));
        assert_eq!(forwarded.parsed.method().as_str(), head.method, "{text:?}");
        assert_eq!(forwarded.parsed.url(), head.raw_target, "{text:?}");
        assert_eq!(forwarded.parsed.body_length(), None, "{text:?}");
    }
    assert!(admitted > 2_000, "only {admitted} heads were admitted");
    assert_eq!(
        socket_path(&inner),
        first_socket,
        "the server was never replaced"
    );
}

#[test]
fn a_server_that_returns_another_request_is_replaced() {
    let inner = InnerServer::start().unwrap();
    let head = parse_exactly(SEEDS[0].as_bytes()).unwrap();
    let first_socket = socket_path(&inner);
    let mut other_client = UnixStream::connect(&first_socket).unwrap();
    other_client
        .write_all(b"GET /foreign HTTP/1.1\r\nX-Edge-Id: 1\r\n\r\n")
        .unwrap();
    for _ in 0..10_000 {
        assert_eq!(inner.forward(&head).unwrap().parsed.url(), "/");
        if socket_path(&inner) != first_socket {
            return;
        }
    }
    panic!("the other request was never noticed");
}

#[test]
fn a_server_that_died_is_replaced() {
    let inner = InnerServer::start().unwrap();
    let head = parse_exactly(SEEDS[0].as_bytes()).unwrap();
    for _ in 0..3 {
        // Nobody accepts here.
        let path = inner.directory.join(socket_name());
        drop(UnixListener::bind(&path).unwrap());
        turn_to(&inner, path);
        assert_eq!(inner.forward(&head).unwrap().parsed.url(), "/");
    }
}

#[test]
fn a_server_that_dies_with_a_head_delays_others_only_briefly() {
    let inner = InnerServer::start().unwrap();
    let head = parse_exactly(SEEDS[0].as_bytes()).unwrap();
    let path = inner.directory.join(socket_name());
    let listener = UnixListener::bind(&path).unwrap();
    turn_to(&inner, path);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut arrived = [rustix::event::PollFd::new(&listener, PollFlags::IN)];
            rustix::event::poll(&mut arrived, None).unwrap();
            // Closes the socket, with the connection that waits there.
            drop(listener);
        });
        assert_eq!(inner.forward(&head).unwrap().parsed.url(), "/");
    });
    assert!(started.elapsed() < PARSE_TIMEOUT);
}

#[test]
fn the_threads_of_a_server_that_is_dropped_end() {
    let inner = InnerServer::start().unwrap();
    let listeners = || {
        let table = std::fs::read_to_string("/proc/self/net/unix").unwrap();
        let directory = inner.directory.to_str().unwrap();
        table
            .lines()
            .filter(|line| line.contains(directory))
            .count()
    };
    assert_eq!(listeners(), 1);
    drop(inner.turn(TURN_TIMEOUT).unwrap().running.take());
    let deadline = Instant::now() + PARSE_TIMEOUT;
    // The accept thread holds the socket.
    while listeners() > 0 {
        assert!(Instant::now() < deadline, "it still accepts");
        std::thread::yield_now();
    }
}

/// Makes the server listen elsewhere.
fn turn_to(inner: &InnerServer, path: PathBuf) {
    let mut turn = inner.turn(TURN_TIMEOUT).unwrap();
    let running = turn.running.as_mut().unwrap();
    std::fs::remove_file(std::mem::replace(&mut running.path, path)).unwrap();
}

#[test]
fn a_head_that_tiny_http_refuses_delays_others_only_briefly() {
    let inner = InnerServer::start().unwrap();
    let mut head = parse_exactly(SEEDS[0].as_bytes()).unwrap();
    // The edge admits no such target.
    head.raw_target = "/ ".into();
    let started = Instant::now();
    assert!(inner.forward(&head).is_err());
    assert!(started.elapsed() < PARSE_TIMEOUT);
}

#[test]
fn the_socket_is_private_and_removed_at_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let inner = InnerServer::start().unwrap();
    let directory = inner.directory.clone();
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(inner);
    assert!(!directory.exists());
}

fn socket_path(inner: &InnerServer) -> PathBuf {
    let turn = inner.turn(TURN_TIMEOUT).unwrap();
    turn.running.as_ref().unwrap().path.clone()
}
