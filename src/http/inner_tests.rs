//! Whatever the edge admits, tiny_http must take at once: a head it refused would hold everybody up.

use super::*;
use crate::edge::vetted;

const SEEDS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n",
    "GET /runs?limit=5&x=%20 HTTP/1.0\r\nUser-Agent: a (b; c) d/1.0\r\n\r\n",
    "POST /run HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\r\n",
    "POST /mcp HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\nTE: trailers;q=0.5, identity\r\nTrailer: x\r\n\r\n",
    "DELETE /volume/a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nX:\r\n\r\n",
    "M-SEARCH /%41 HTTP/1.1\r\nHost: h\r\nAccept: */*, a;b=\"c\\\"\"\r\nX-Tab: a\tb\r\nCookie: a=b; c=d\r\n\r\n",
];
/// What mutations are made of.
const SPICE: [&str; 24] = [
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

/// A small random generator whose failures can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn mutated(dice: &mut Dice) -> Vec<u8> {
    let mut head = SEEDS[dice.roll(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(head.len());
        let to = (at + dice.roll(6)).min(head.len());
        let spice = SPICE[dice.roll(SPICE.len())].as_bytes();
        match dice.roll(4) {
            0 => drop(head.splice(at..to, [])),
            1 => drop(head.splice(at..at, spice.iter().copied())),
            2 => drop(head.splice(at..to, spice.iter().copied())),
            _ => head[at] = 0x20 + dice.roll(0x5f) as u8,
        }
        if head.is_empty() {
            head.push(b'G');
        }
    }
    head
}

#[test]
fn tiny_http_takes_every_head_that_the_edge_admits_and_reads_it_alike() {
    let inner = Inner::start().unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut admitted = 0;
    let first_socket = socket_path(&inner);
    for _ in 0..20_000 {
        let bytes = mutated(&mut dice);
        let Ok(head) = vetted(&bytes) else { continue };
        admitted += 1;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let exchange = inner
            .exchange(&head)
            .unwrap_or_else(|e| panic!("{e}: {text:?}"));
        assert_eq!(exchange.request.method().as_str(), head.method, "{text:?}");
        assert_eq!(exchange.request.url(), head.raw_target, "{text:?}");
        assert_eq!(exchange.request.body_length(), None, "{text:?}");
        let expected: Vec<_> = head
            .fields
            .iter()
            .filter(|(name, _)| !KEPT_BACK.contains(&name.as_str()))
            .cloned()
            .collect();
        assert_eq!(visible_fields(&exchange.request), expected, "{text:?}");
    }
    assert!(admitted > 2_000, "only {admitted} heads were admitted");
    assert_eq!(socket_path(&inner), first_socket, "no surprise on the way");
}

#[test]
fn a_server_that_surprises_us_is_replaced_and_nobody_gets_a_foreign_request() {
    let inner = Inner::start().unwrap();
    let head = vetted(SEEDS[0].as_bytes()).unwrap();
    let first_socket = socket_path(&inner);
    let mut intruder = UnixStream::connect(&first_socket).unwrap();
    intruder
        .write_all(b"GET /foreign HTTP/1.1\r\nX-Edge-Id: 1\r\n\r\n")
        .unwrap();
    for _ in 0..10_000 {
        assert_eq!(inner.exchange(&head).unwrap().request.url(), "/");
        if socket_path(&inner) != first_socket {
            return;
        }
    }
    panic!("the foreign request was never noticed");
}

#[test]
fn a_server_that_died_is_replaced() {
    let inner = Inner::start().unwrap();
    let head = vetted(SEEDS[0].as_bytes()).unwrap();
    for _ in 0..3 {
        let slot = inner.running.lock().unwrap();
        let running = slot.as_ref().unwrap();
        rustix::net::shutdown(&running.listener, rustix::net::Shutdown::Both).unwrap();
        drop(slot);
        assert_eq!(inner.exchange(&head).unwrap().request.url(), "/");
    }
}

#[test]
fn a_head_that_tiny_http_refuses_delays_nobody_for_long() {
    let inner = Inner::start().unwrap();
    let mut head = vetted(SEEDS[0].as_bytes()).unwrap();
    // The edge would never admit this.
    head.raw_target = "/ ".into();
    let started = Instant::now();
    assert!(inner.exchange(&head).is_err());
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn the_socket_is_private_and_removed_in_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let inner = Inner::start().unwrap();
    let directory = inner.directory.clone();
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(inner);
    assert!(!directory.exists());
}

fn socket_path(inner: &Inner) -> PathBuf {
    inner.running.lock().unwrap().as_ref().unwrap().path.clone()
}
