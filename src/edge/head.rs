//! Reads and parses one request head (RFC 9112 §2–3, §6), strictly: a head that two parsers could read differently is
//! refused. Does not decide who may call (see `guard`).

use super::fields::{self, value};
use super::refusal::Refusal;
use super::target;
use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
const READ_BYTES: usize = 4 * 1024;
/// Most empty lines before the request line.
const MAX_EMPTY_LINES: usize = 8;

/// A valid request head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// The target as sent, in origin form or `*`: visible ASCII without spaces.
    pub(crate) raw_target: String,
    /// Percent-decoded, without the query and without a slash at the end; or `*`.
    pub(crate) path: String,
    /// Whether a slash at the end of the path was dropped.
    pub(crate) ends_in_slash: bool,
    /// Percent-decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    /// 0 or 1, of HTTP/1.x.
    pub(crate) minor: u8,
    /// Names in lower case, each once, and values. `host` is the target's authority if that has one (RFC 9112 §3.2.2).
    pub(crate) fields: Vec<(String, String)>,
    /// The Host field that the target's authority replaced.
    pub(crate) replaced_host: Option<String>,
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
}

/// How the end of the request body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    Absent,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Head {
    /// The value of the field with this (lower-case) name; several lines of it are one list.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    /// The path as sent. For logs: it is not decoded, so it has no control characters.
    pub(super) fn raw_path(&self) -> &str {
        self.raw_target.split('?').next().unwrap_or("/")
    }

    /// The value of `Content-Length`, if the head has one.
    pub(crate) fn content_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Absent | Framing::Chunked => None,
        }
    }
}

/// A head, and the bytes that were read together with it.
pub(super) struct ReceivedHead {
    pub(super) head: Head,
    /// The first bytes of the body.
    pub(super) body_start: Vec<u8>,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The client left, or sent nothing until the deadline: no response is due.
    Closed,
    /// The head is invalid, too large or late.
    Refused(Refusal),
}

impl From<Refusal> for HeadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads one head. Blocks until it is complete, cannot become valid any more, or the timeout has passed. Of
/// `single_fields` none may come twice. Skips a few empty lines before the head (RFC 9112 §2.2), which old clients send
/// after a body.
pub(super) fn read(
    mut socket: &TcpStream,
    timeout: Duration,
    single_fields: &[&str],
) -> Result<ReceivedHead, HeadError> {
    let deadline = Instant::now() + timeout;
    let mut received: Vec<u8> = Vec::new();
    let mut empty_lines = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(&received));
        }
        // On the heap: stack pages stay in use once touched, and this thread may serve a stream for hours.
        let mut checked = received.len();
        received.resize(checked + READ_BYTES, 0);
        let count = socket
            .set_read_timeout(Some(left))
            .and_then(|()| socket.read(&mut received[checked..]));
        received.truncate(checked + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => return Err(HeadError::Closed),
            Ok(count) => crate::metrics::HTTP_RECEIVED_BYTES.add(count),
            Err(e) if is_temporary(e.kind()) => continue,
            Err(_) => return Err(HeadError::Closed),
        }
        if received.starts_with(b"\r\n") {
            empty_lines += skip_empty_lines(&mut received, MAX_EMPTY_LINES - empty_lines)?;
            checked = 0;
        }
        if let Some(end) = find_end(&received, checked)? {
            let body_start = received.split_off(end);
            let head = parse(&received, single_fields)?;
            return Ok(ReceivedHead { head, body_start });
        }
    }
}

/// Drops empty lines at the start, and returns their number. A lone CR may be the start of another one.
fn skip_empty_lines(received: &mut Vec<u8>, most: usize) -> Result<usize, Refusal> {
    let lines = received
        .chunks(2)
        .take_while(|line| *line == b"\r\n")
        .count();
    if lines > most {
        return Err(Refusal::bad_request(format!(
            "more than {MAX_EMPTY_LINES} empty lines precede the request line"
        )));
    }
    received.drain(..2 * lines);
    Ok(lines)
}

/// Whether to read again: interrupted, or the read timeout, after which the deadline is checked.
fn is_temporary(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn timed_out(received: &[u8]) -> HeadError {
    if received.is_empty() {
        return HeadError::Closed;
    }
    HeadError::Refused(Refusal::new(
        408,
        "head_timeout",
        "the request head did not arrive in time",
    ))
}

/// The length of the head if it is complete. Checks only the bytes from `checked` on. An invalid byte is refused at once,
/// without waiting for the end of the head.
fn find_end(received: &[u8], checked: usize) -> Result<Option<usize>, Refusal> {
    let first_line_end = received.iter().position(|&byte| byte == b'\n');
    for at in checked..received.len().min(MAX_HEAD_BYTES) {
        let after_cr = at > 0 && received[at - 1] == b'\r';
        match received[at] {
            0x16 if at == 0 => {
                return Err(Refusal::bad_request("this port speaks plain HTTP, not TLS"));
            }
            b'\n' if !after_cr => {
                return Err(Refusal::bad_request(
                    "a line of the head ends with a bare LF",
                ));
            }
            b'\n' if at >= 2 && received[at - 2] == b'\n' => return Ok(Some(at + 1)),
            b'\n' => {}
            _ if after_cr => {
                return Err(Refusal::bad_request("the head has a CR that no LF follows"));
            }
            b'\r' | b'\t' if at > 0 => {}
            // It may begin an empty line.
            b'\r' if received.len() == 1 => {}
            0x20..=0x7e if at > 0 || is_token_byte(received[at]) => {}
            // In values only; in names `httparse` refuses it.
            0x80..=0xff if first_line_end.is_some_and(|end| end < at) => {}
            _ => {
                return Err(Refusal::bad_request(
                    "the head has a byte that HTTP does not allow there",
                ));
            }
        }
    }
    if received.len() >= MAX_HEAD_BYTES {
        return Err(Refusal::new(
            431,
            "head_too_large",
            format!("the request head is larger than {MAX_HEAD_BYTES} bytes"),
        ));
    }
    Ok(None)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parses one complete head, with its final empty line.
fn parse(head: &[u8], single_fields: &[&str]) -> Result<Head, Refusal> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Refusal::bad_request("the request head cannot be parsed")),
        Err(error) => return Err(parse_refusal(error, head)),
    }
    let mut fields = fields::take(request.headers, single_fields)?;
    let minor = request.version.unwrap_or(1);
    let method = request.method.unwrap_or_default().to_owned();
    let target = target::decode(&method, request.path.unwrap_or_default())?;
    let framing = framing(&fields, minor)?;
    require_host(&fields, minor)?;
    let replaced_host = target
        .authority
        .and_then(|authority| replace_host(&mut fields, authority));
    Ok(Head {
        method,
        raw_target: target.raw,
        path: target.path,
        ends_in_slash: target.ends_in_slash,
        query: target.query,
        minor,
        framing,
        expects_continue: expects_continue(&fields, minor)?,
        fields,
        replaced_host,
    })
}

/// Sets the Host field. Returns the one that it had.
fn replace_host(fields: &mut Vec<(String, String)>, authority: String) -> Option<String> {
    match fields.iter_mut().find(|(name, _)| name == "host") {
        Some((_, host)) => Some(std::mem::replace(host, authority)),
        None => {
            fields.push(("host".to_owned(), authority));
            None
        }
    }
}

fn parse_refusal(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(
            431,
            "too_many_headers",
            format!("the request has more than {MAX_FIELDS} header fields"),
        ),
        httparse::Error::Version if names_http_version(head) => Refusal::new(
            505,
            "http_version_not_supported",
            "only HTTP/1.0 and HTTP/1.1 are spoken here",
        ),
        other => Refusal::bad_request(format!("the request head cannot be parsed: {other}")),
    }
}

fn names_http_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    matches!(words[..], [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn framing(fields: &[(String, String)], minor: u8) -> Result<Framing, Refusal> {
    match (
        value(fields, "content-length"),
        value(fields, "transfer-encoding"),
    ) {
        (None, None) => Ok(Framing::Absent),
        (Some(_), Some(_)) => Err(Refusal::bad_request(
            "Content-Length and Transfer-Encoding must not come together",
        )),
        (None, Some(_)) if minor == 0 => {
            Err(Refusal::bad_request("HTTP/1.0 has no Transfer-Encoding"))
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err(Refusal::new(
            501,
            "unsupported_transfer_encoding",
            "the only Transfer-Encoding understood is `chunked`",
        )),
        (Some(digits), None) => content_length(digits).map(Framing::Length),
    }
}

fn content_length(digits: &str) -> Result<u64, Refusal> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::bad_request("the Content-Length is not a number"));
    }
    digits
        .parse()
        .map_err(|_| Refusal::bad_request("the Content-Length is too large a number"))
}

fn require_host(fields: &[(String, String)], minor: u8) -> Result<(), Refusal> {
    match value(fields, "host") {
        None if minor == 1 => Err(Refusal::bad_request(
            "HTTP/1.1 requires a Host header field",
        )),
        Some("") => Err(Refusal::bad_request("the Host header field is empty")),
        _ => Ok(()),
    }
}

fn expects_continue(fields: &[(String, String)], minor: u8) -> Result<bool, Refusal> {
    match value(fields, "expect") {
        None => Ok(false),
        Some(_) if minor == 0 => Ok(false),
        Some(e) if e.eq_ignore_ascii_case("100-continue") => Ok(true),
        Some(_) => Err(Refusal::new(
            417,
            "expectation_failed",
            "the only expectation understood is `100-continue`",
        )),
    }
}

/// Parses bytes that are exactly one head.
#[cfg(test)]
pub(crate) fn parse_exactly(bytes: &[u8]) -> Result<Head, Refusal> {
    match find_end(bytes, 0)? {
        Some(end) if end == bytes.len() => parse(bytes, &["api-field"]),
        _ => Err(Refusal::bad_request("not exactly one head")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "head_tests.rs"]
mod tests;
