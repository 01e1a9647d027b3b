//! Tables of heads: how valid ones are parsed and how others are refused.

use super::*;

fn parsed(head: &str) -> Result<Head, Refusal> {
    parse_exactly(head.as_bytes())
}

#[test]
fn valid_heads_are_parsed() {
    let head = parsed("POST /run?a=b HTTP/1.1\r\nHost: h\r\nX-A:  b \r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\n").unwrap();
    assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/run"));
    assert_eq!(head.raw_path(), "/run");
    assert_eq!(head.field("x-a"), Some("b"));
    assert_eq!(head.framing, Framing::Length(12));
    assert!(head.expects_continue);
    assert_eq!(parsed("GET / HTTP/1.0\r\n\r\n").unwrap().minor, 0);
    let chunked =
        parsed("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
    assert_eq!(chunked.framing, Framing::Chunked);
    let zeros = parsed("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0005\r\n\r\n").unwrap();
    assert_eq!(zeros.framing, Framing::Length(5));
}

#[test]
fn lines_of_one_list_are_combined_and_bytes_above_ascii_are_allowed_in_values() {
    let fields = b"POST http://h:1/run/?a HTTP/1.1\r\nHost: other\r\nAccept: a/b;q=0.5\r\nX-Name: J\xfcrgen\r\n\
        accept:  c/d \r\nX-Utf8: J\xc3\xbcrgen\r\nACCEPT:\r\nX-Request-Id: 1\r\nX-Request-Id: 2\r\n\r\n";
    let head = parse_exactly(fields).unwrap();
    for (name, value) in [
        ("host", "h:1"),
        ("accept", "a/b;q=0.5, c/d, "),
        ("x-name", "J\u{fc}rgen"),
        ("x-utf8", "J\u{fc}rgen"),
        ("x-request-id", "1, 2"),
    ] {
        assert_eq!(head.field(name), Some(value));
        assert_eq!(head.fields.iter().filter(|(n, _)| n == name).count(), 1);
    }
    assert_eq!(head.replaced_host.as_deref(), Some("other"));
    assert_eq!(
        (head.raw_target.as_str(), head.path.as_str()),
        ("/run/?a", "/run")
    );
    let refused = parse_exactly(b"GET / HTTP/1.1\r\nHost: h\r\nX-\xfc: a\r\n\r\n").unwrap_err();
    assert_eq!(refused.status, 400);
}

#[test]
fn ambiguous_fields_are_refused() {
    for (status, fields) in [
        (400, "Content-Length: -1"),
        (400, "Content-Length: +1"),
        (400, "Content-Length: 1, 1"),
        (400, "Content-Length: 0x10"),
        (400, "Content-Length: 1 2"),
        (400, "Content-Length:"),
        (400, "Content-Length: 18446744073709551616"),
        (400, "Content-Length: 5\r\nContent-Length: 5"),
        (400, "Content-Length: 5\r\ncontent-length: 6"),
        (400, "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (
            400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ),
        (400, "Transfer-Encoding : chunked"),
        (400, " Transfer-Encoding: chunked"),
        (400, "Transfer-Encoding\t: chunked"),
        (400, "X: a\r\n Transfer-Encoding: chunked"),
        (400, "Host: other"),
        (400, "Origin: http://a\r\nOrigin: http://b"),
        (400, "Api-Field: a\r\napi-field: a"),
        (400, ": no name"),
        (400, "no colon"),
        (400, "Ba(d: 1"),
        (501, "Transfer-Encoding: gzip, chunked"),
        (501, "Transfer-Encoding: chunked, identity"),
        (501, "Transfer-Encoding: xchunked"),
        (501, "Transfer-Encoding: chunked;q=1"),
        (501, "Transfer-Encoding: identity"),
        (501, "Transfer-Encoding:"),
        (417, "Expect: 200-ok"),
    ] {
        let refusal =
            parsed(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")).unwrap_err();
        assert_eq!(refusal.status, status, "{fields:?}: {}", refusal.detail);
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    for (status, line) in [
        (400, "GET * HTTP/1.1"),
        (400, "GET ftp://h/ HTTP/1.1"),
        (400, "GET http:// HTTP/1.1"),
        (400, "CONNECT h:80 HTTP/1.1"),
        (400, "GET  / HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, "GET /a b HTTP/1.1"),
        (400, "GET / http/1.1"),
        (400, "GET /"),
        (400, "G@T / HTTP/1.1"),
        (400, "GET /%zz HTTP/1.1"),
        (505, "GET / HTTP/2.0"),
        (505, "PRI * HTTP/2.0"),
        (505, "GET / HTTP/1.9"),
        (505, "GET / HTTP/0.9"),
    ] {
        let refusal = parsed(&format!("{line}\r\nHost: h\r\n\r\n")).unwrap_err();
        assert_eq!(refusal.status, status, "{line}: {}", refusal.detail);
    }
    assert_eq!(parsed("GET / HTTP/1.1\r\n\r\n").unwrap_err().status, 400);
    assert_eq!(
        parsed("GET / HTTP/1.1\r\nHost:\r\n\r\n")
            .unwrap_err()
            .status,
        400
    );
}

#[test]
fn invalid_bytes_are_refused_before_the_head_is_complete() {
    for bytes in [
        &b"GET / HTTP/1.1\n"[..],
        b"GET / HTTP/1.1\r\nA: b\n",
        b"GET / HTTP/1.1\rA",
        b"\r\nGET",
        b" GET",
        b"\x16\x03\x01",
        b"GET /\0",
        b"GET /\x1b[31m",
        b"GET /\x7f",
        b"GET /\xc3\xa9",
        b"G\xc3\xa9",
        b"\r\r",
    ] {
        assert_eq!(find_end(bytes, 0).unwrap_err().status, 400, "{bytes:?}");
    }
}

#[test]
fn a_few_empty_lines_before_the_request_line_are_skipped() {
    for (lines, left) in [
        (0, Some(8)),
        (1, Some(7)),
        (8, Some(0)),
        (9, None),
        (2000, None),
    ] {
        for rest in ["", "\r", "GET / HTTP/1.1\r\n\r\n", "\n"] {
            let mut received = format!("{}{rest}", "\r\n".repeat(lines)).into_bytes();
            let skipped = skip_empty_lines(&mut received, MAX_EMPTY_LINES);
            assert_eq!(skipped.ok().map(|skipped| 8 - skipped), left, "{lines}");
            assert!(left.is_none() || received == rest.as_bytes());
        }
    }
    assert_eq!(find_end(b"\r", 0).unwrap(), None, "the LF may still come");
}

#[test]
fn the_end_is_found_wherever_reads_split_the_head() {
    let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nBODY";
    for cut in 1..head.len() {
        let first = find_end(&head[..cut], 0).unwrap();
        let end = match first {
            Some(end) => Some(end),
            None => find_end(head, cut).unwrap(),
        };
        assert_eq!(end, Some(head.len() - 4), "cut at {cut}");
    }
}

#[test]
fn large_heads_and_heads_with_many_fields_are_431() {
    let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD_BYTES));
    assert_eq!(find_end(long.as_bytes(), 0).unwrap_err().status, 431);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    );
    assert_eq!(parsed(&many).unwrap_err().code, "too_many_headers");
}
