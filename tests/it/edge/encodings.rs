//! `Content-Encoding` of request bodies: what is decoded, what is refused, and that no small body becomes a large one.

use super::MIB;
use super::client::{ask, eventually, read, read_until, send};
use super::rig::{Event, Rig};
use flate2::Compression;
use flate2::write::GzEncoder;
use oneoff_docker_runner::memory::MemoryBudget;
use std::io::Write;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn fixed(fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn chunked(fields: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{fields}\r\n\r\n"
    )
    .into_bytes();
    for piece in body.chunks(7) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

#[test]
fn gzip_is_decoded_however_it_is_named_and_framed() {
    let rig = Rig::start();
    let once = gzip(b"hello");
    let members = [gzip(b"hel"), gzip(b""), gzip(b"lo")].concat();
    for (fields, body) in [
        ("Content-Encoding: gzip", &once[..]),
        ("content-encoding: X-GZip ", &once),
        ("Content-Encoding: identity, gzip", &once),
        (
            "Content-Encoding: gzip\r\nContent-Encoding: identity",
            &once,
        ),
        ("Content-Encoding: gzip", &members),
        (
            "Content-Encoding: gzip",
            &[&members[..], &[0; 20_000]].concat(),
        ),
        ("Content-Encoding: identity", b"hello"),
        ("Content-Encoding:", b"hello"),
    ] {
        for request in [fixed(fields, body), chunked(fields, body)] {
            let answer = ask(rig.addr, &request);
            assert_eq!((answer.status, answer.text()), (200, "hello"), "{fields}");
        }
    }
    for empty in [
        fixed("Content-Encoding: gzip", b""),
        chunked("Content-Encoding: gzip", b""),
    ] {
        let answer = ask(rig.addr, &empty);
        assert_eq!((answer.status, answer.text()), (200, ""));
    }
    let bodiless = rig.ask("GET /health HTTP/1.1\r\nHost: h\r\nContent-Encoding: br\r\n\r\n");
    assert_eq!(bodiless.status, 200);
    let waiting = fixed("Content-Encoding: gzip\r\nExpect: 100-continue", &once);
    let (head, body) = waiting.split_at(waiting.len() - once.len());
    let mut socket = send(rig.addr, head);
    assert!(read_until(&mut socket, "\r\n\r\n").starts_with("HTTP/1.1 100 "));
    socket.write_all(body).unwrap();
    assert_eq!(read(&mut socket).unwrap().text(), "hello");
}

#[test]
fn other_codings_are_415_and_broken_gzip_is_400() {
    let rig = Rig::start();
    let whole = gzip(&b"hello ".repeat(1000));
    for coding in [
        "br",
        "deflate",
        "zstd",
        "compress",
        "gzip, br",
        "br, gzip",
        "gzip;q=1",
        "*",
        "gzip, gzip",
        "gzip, identity, x-gzip",
    ] {
        // The body is not sent: the answer must not wait for it.
        let answer = rig.ask(&format!(
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\
             Content-Encoding: {coding}\r\n\r\n"
        ));
        let refused = (answer.status, answer.code());
        assert_eq!(
            refused,
            (415, "unsupported_content_encoding".into()),
            "{coding}"
        );
        assert_eq!(answer.header("Accept-Encoding").as_deref(), Some("gzip"));
    }
    let mut damaged = whole.clone();
    let end = damaged.len();
    damaged[end - 6] ^= 1;
    for (why, body) in [
        ("invalid gzip header", &b"{\"image\": \"alpine\"}"[..]),
        ("it is cut short", &whole[..1]),
        ("it is cut short", &whole[..9]),
        ("it is cut short", &whole[..end - 9]),
        ("it is cut short", &whole[..end - 1]),
        ("it is cut short", &[&whole[..], &whole[..15]].concat()),
        ("corrupt gzip stream", &damaged),
        (
            "something that is not gzip follows it",
            &[&whole[..], b"x"].concat(),
        ),
        (
            "something that is not gzip follows it",
            &[&whole[..], b"rubbish"].concat(),
        ),
        (
            "something that is not gzip follows it",
            &[&whole[..], &[0; 600], b"x"].concat(),
        ),
    ] {
        for request in [
            fixed("Content-Encoding: gzip", body),
            chunked("Content-Encoding: gzip", body),
        ] {
            let answer = ask(rig.addr, &request);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "bad_body"),
                "{body:?}"
            );
            let (_, _, detail) = answer.problem();
            assert!(detail.contains("Content-Encoding is gzip"), "{detail}");
            assert!(detail.contains(why), "{why}: {detail}");
        }
    }
    assert!(rig.is_well());
}

#[test]
fn a_decoded_body_has_the_limit_and_the_memory_of_any_other() {
    let rig = Rig::with(|config| config.body_limit_bytes = MIB as u64);
    let limit = vec![b'x'; MIB];
    let fits = ask(rig.addr, &fixed("Content-Encoding: gzip", &gzip(&limit)));
    assert_eq!((fits.status, fits.body.len()), (200, MIB));
    let bomb = gzip(&vec![0; 200 * MIB]);
    let one_more = gzip(&[&limit[..], b"x"].concat());
    let fields = "Content-Encoding: gzip";
    for body in [&one_more, &bomb] {
        for request in [fixed(fields, body), chunked(fields, body)] {
            let answer = ask(rig.addr, &request);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (413, "body_too_large")
            );
        }
    }

    let budget = MemoryBudget::new(1000);
    let shared = budget.clone();
    let rig = Rig::with(move |config| config.memory = shared);
    let waiting = send(
        rig.addr,
        format!(
            "POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600\r\n\r\n{}",
            "x".repeat(600)
        )
        .as_bytes(),
    );
    rig.expect(Event::Entered);
    let small = gzip(&[b'y'; 401]);
    assert!(small.len() < 100);
    let answer = ask(rig.addr, &fixed("Content-Encoding: gzip", &small));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "too_many_bodies")
    );
    let fits = ask(
        rig.addr,
        &fixed("Content-Encoding: gzip", &gzip(&[b'y'; 390])),
    );
    assert_eq!(fits.status, 200);
    drop(waiting);
    rig.expect(Event::Cancelled);
    eventually("all memory is given back", || budget.used_bytes() == 0);
}
