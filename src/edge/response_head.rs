//! Writes response heads. No other place does, so that no field value can add a line to a head.

use crate::problem::reason_phrase;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Fields that only this file writes: they depend on the connection and the framing.
const FRAMING_FIELDS: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the client finds the end of the response body (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delimiter {
    /// The status implies that there is no body (204, 304).
    NoBody,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunks,
    /// The end of the connection, for streams to HTTP/1.0 clients.
    Close,
}

/// Renders a response head. Errors: the status is not a final one, or a field has characters that HTTP does not allow.
pub(crate) fn write_head(
    status: u16,
    fields: &[(String, String)],
    delimiter: Delimiter,
) -> io::Result<Vec<u8>> {
    if !(200..600).contains(&status) {
        return Err(io::Error::other(format!("{status} is not a final status")));
    }
    let mut head = Vec::with_capacity(512);
    write!(head, "HTTP/1.1 {status} {}\r\n", reason_phrase(status))?;
    // The server takes one request per connection.
    write!(head, "Connection: close\r\nDate: {}\r\n", date())?;
    for (name, value) in fields {
        check_field(name, value)?;
        if !FRAMING_FIELDS
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
        {
            write!(head, "{name}: {value}\r\n")?;
        }
    }
    match delimiter {
        Delimiter::Length(length) => write!(head, "Content-Length: {length}\r\n")?,
        Delimiter::Chunks => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Delimiter::NoBody | Delimiter::Close => {}
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// The current time as an IMF-fixdate (RFC 9110 §5.6.7). A clock outside the years 1970 to 9999 is moved into them, because
/// `httpdate` panics there.
fn date() -> String {
    const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(SystemTime::now().clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_SECOND))
}

fn check_field(name: &str, value: &str) -> io::Result<()> {
    let is_valid_name = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let is_valid_value = value.bytes().all(|b| matches!(b, b'\t' | 0x20..=0x7e));
    if is_valid_name && is_valid_value {
        return Ok(());
    }
    // Without the value: it may be an attempt to inject a line.
    Err(io::Error::other(format!(
        "the response field {name:?} has characters that HTTP does not allow"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.into(), value.into())]
    }

    #[test]
    fn the_head_sets_connection_and_framing_whatever_the_fields_say() {
        let mut fields = field("Content-Type", "text/plain");
        fields.extend(field("content-length", "999"));
        fields.extend(field("Transfer-Encoding", "gzip"));
        let head =
            String::from_utf8(write_head(404, &fields, Delimiter::Length(3)).unwrap()).unwrap();
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\nConnection: close\r\nDate: "));
        assert!(head.ends_with("GMT\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"));
    }

    #[test]
    fn no_field_can_add_a_line() {
        for (name, value) in [
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\nb"),
            ("X", "a\rb"),
            ("X", "a\0"),
            ("X", "é"),
            ("X\r\nY", "a"),
            ("X: Y", "a"),
            ("", "a"),
        ] {
            assert!(write_head(200, &field(name, value), Delimiter::NoBody).is_err());
        }
        for status in [0, 100, 199, 600] {
            assert!(write_head(status, &[], Delimiter::NoBody).is_err());
        }
    }
}
