//! Mutated chunked bodies and request targets, beside a second decoder of each. `FUZZ_TIMES=100` searches a hundred times as long.

use super::body_error::BodyError;
use super::chunked::Chunked;
use super::target;
use crate::random::{Random, rounds};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::io::{self, BufReader, Cursor, Read};

const BODIES: &str = include_str!("../../tests/corpus/chunked_bodies.txt");
const TARGETS: &str = include_str!("../../tests/corpus/targets.txt");

/// Longest decoded body.
const LIMIT_BYTES: u64 = 2000;

/// What chunked bodies are made of, and what breaks their parts.
const CHUNK_WORDS: [&str; 18] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "1\r\nx\r\n",
    ";",
    ";a=b",
    ":",
    "A: b\r\n",
    "f",
    "7d0",
    "7d1",
    "fffffffffffffff",
    "-",
    " ",
    "\u{e9}",
];

#[derive(Debug, PartialEq)]
struct Decoded {
    body: Vec<u8>,
    /// Length of the encoded body.
    encoded_bytes: usize,
}

/// Decodes with the edge's decoder, a few bytes at a time.
fn decode(encoded: &[u8], random: &mut Random) -> io::Result<Decoded> {
    let mut source = BufReader::with_capacity(1 + random.below(40), Cursor::new(encoded));
    let mut chunked = Chunked::new(LIMIT_BYTES);
    let (mut body, mut piece) = (Vec::new(), vec![0; 1 + random.below(200)]);
    loop {
        let count = chunked.read(&mut source, &mut piece)?;
        body.extend_from_slice(&piece[..count]);
        assert!(body.len() as u64 <= LIMIT_BYTES, "more than the limit");
        if count == 0 {
            break;
        }
    }
    assert!(chunked.has_ended());
    let mut rest = Vec::new();
    source.read_to_end(&mut rest)?;
    let encoded_bytes = encoded.len() - rest.len();
    Ok(Decoded {
        body,
        encoded_bytes,
    })
}

/// Decodes with the parsers of `httparse`. `None`: malformed, or incomplete.
fn reference(encoded: &[u8]) -> Option<Decoded> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let httparse::Status::Complete((line, size)) =
            httparse::parse_chunk_size(&encoded[at..]).ok()?
        else {
            return None;
        };
        at += line;
        if size == 0 {
            let mut fields = vec![httparse::EMPTY_HEADER; 4096];
            let parsed = httparse::parse_headers(&encoded[at..], &mut fields).ok()?;
            let httparse::Status::Complete((trailers, _)) = parsed else {
                return None;
            };
            let encoded_bytes = at + trailers;
            return Some(Decoded {
                body,
                encoded_bytes,
            });
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(encoded.get(at..end)?);
        at = end + 2;
        if encoded.get(end..at)? != b"\r\n" {
            return None;
        }
    }
}

/// Encodes in chunks of random sizes, with extensions, leading zeros and trailers.
fn encode(body: &[u8], random: &mut Random) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + random.below(rest.len().min(300)));
        let size = match random.below(3) {
            0 => format!("{:x}", chunk.len()),
            1 => format!("{:X}", chunk.len()),
            _ => format!("{:06x}", chunk.len()),
        };
        let extension = *random.pick(&["", "", ";a", ";a=\"b c\""]);
        encoded.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
        rest = after;
    }
    let trailers = *random.pick(&["", "", "A: b\r\n", "A: b\r\nC:\r\n"]);
    encoded.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    encoded
}

#[test]
fn any_body_is_decoded_from_any_chunks_and_what_follows_it_is_left() {
    for number in 0..rounds(2000) {
        let mut random = Random(number);
        let body: Vec<u8> = (0..random.below(LIMIT_BYTES as usize))
            .map(|_| random.next() as u8)
            .collect();
        let mut encoded = encode(&body, &mut random);
        let encoded_bytes = encoded.len();
        encoded.extend_from_slice(
            random
                .pick(&["", "0\r\n\r\n", "GET / HTTP/1.1\r\n"])
                .as_bytes(),
        );
        let decoded = decode(&encoded, &mut random).unwrap();
        assert_eq!(
            decoded,
            Decoded {
                body,
                encoded_bytes
            }
        );
    }
}

#[test]
fn a_mutated_body_is_decoded_as_httparse_decodes_it_or_is_refused() {
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..rounds(30_000) {
        let mut random = Random(number);
        let seeds: Vec<String> = BODIES
            .lines()
            .map(|line| line.replace("\\r\\n", "\r\n"))
            .collect();
        let mut encoded = match random.one_in(3) {
            true => encode(&[b'x'; 300], &mut random),
            false => random.pick(&seeds).as_bytes().to_vec(),
        };
        random.mutate(&mut encoded, &CHUNK_WORDS);
        let shown = String::from_utf8_lossy(&encoded).into_owned();
        match (decode(&encoded, &mut random), reference(&encoded)) {
            (Ok(ours), theirs) => {
                assert_eq!(Some(ours), theirs, "{shown:?}");
                accepted += 1;
            }
            (Err(error), theirs) => {
                let kind = error.kind();
                // It may only be the rest that is missing if it is missing for both.
                if kind == io::ErrorKind::UnexpectedEof {
                    assert_eq!(theirs, None, "{shown:?}");
                }
                let is_too_large = matches!(BodyError::from(error), BodyError::TooLarge { .. });
                let is_expected =
                    [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData].contains(&kind);
                assert!(is_too_large || is_expected, "{kind:?}: {shown:?}");
                refused += 1;
            }
        }
    }
    assert!(
        accepted > 3000 && refused > 3000,
        "{accepted} accepted, {refused} refused"
    );
}

/// What targets are made of, and what breaks their parts.
const TARGET_WORDS: [&str; 20] = [
    "%", "%2", "%2F", "%2f", "%00", "%c3%a9", "%ff", "%zz", "+", "&", "&&", "=", "?", "#", "/",
    "//", "..", " ", "\u{e9}", "\u{7f}",
];

/// The target, decoded by another crate. `None`: the grammar does not have it.
fn reference_target(raw: &str) -> Option<(String, Vec<(String, String)>)> {
    let is_visible = raw.bytes().all(|byte| byte.is_ascii_graphic());
    let mut escapes = raw.split('%').skip(1);
    let are_complete = escapes.all(|escape| {
        let digits = escape.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !(raw.starts_with('/') && is_visible && are_complete) || raw.contains('#') {
        return None;
    }
    let text = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .ok()
            .map(|text| text.into_owned())
    };
    let (path, query) = raw.split_once('?').unwrap_or((raw, ""));
    // One slash at the end makes no difference, but an empty segment does.
    let path = match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
        _ => path,
    };
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let pair = pair.replace('+', "%20");
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            Some((text(name)?, text(value)?))
        });
    Some((text(path)?, pairs.collect::<Option<_>>()?))
}

#[test]
fn a_mutated_target_is_decoded_as_another_crate_decodes_it_or_is_refused() {
    let seeds: Vec<&str> = TARGETS.lines().collect();
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..rounds(30_000) {
        let mut random = Random(number);
        let seed = *random.pick(&seeds);
        let raw = random.mutated_text(seed, &TARGET_WORDS);
        // Its path and query are those of an origin form, which has its own table.
        if !raw.starts_with('/') && raw.contains("://") {
            continue;
        }
        let ours = target::decode("GET", &raw).map(|target| (target.path, target.query));
        match &ours {
            Ok(_) => accepted += 1,
            Err(refusal) => {
                refused += 1;
                assert_eq!(refusal.status, 400, "{raw:?}");
            }
        }
        assert_eq!(ours.ok(), reference_target(&raw), "{raw:?}");
    }
    assert!(
        accepted > 3000 && refused > 3000,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn whatever_is_encoded_in_a_target_is_decoded_to_the_same() {
    const LETTERS: [char; 14] = [
        'a', '/', '%', '+', '&', '=', '?', '#', ' ', '\0', '"', 'é', '€', '🦀',
    ];
    for number in 0..rounds(3000) {
        let mut random = Random(number);
        let mut text = || -> String {
            (0..random.below(12))
                .map(|_| *random.pick(&LETTERS))
                .collect()
        };
        let path = format!("/{}", text());
        // An empty pair would be left out.
        let query: Vec<(String, String)> =
            (0..3).map(|n| (format!("{n}{}", text()), text())).collect();
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let raw = format!("/{}?{}", encoded(&path[1..]), pairs.join("&"));
        let decoded = target::decode("GET", &raw).unwrap();
        assert_eq!((decoded.path, decoded.query), (path, query));
    }
}
