//! Response heads. The one place that writes them, so that no value can ever smuggle in a line of its own.

use crate::problem::reason_phrase;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Fields that only this file may write.
const OWN_FIELDS: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the end of a response body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delimiter {
    /// There is no body, and the status says so (204, 304).
    NoBody,
    /// A Content-Length.
    Length(u64),
    /// Chunks.
    Chunks,
    /// The end of the connection: for streams to HTTP/1.0 clients.
    Close,
}

/// Renders a response head. Errors: a status or field that must not be sent.
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
    // One request per connection: clients must know before they try to reuse it.
    write!(head, "Connection: close\r\nDate: {}\r\n", date())?;
    for (name, value) in fields {
        check_field(name, value)?;
        if !OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
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
    let name_is_fine = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let value_is_fine = value.bytes().all(|b| matches!(b, b'\t' | 0x20..=0x7e));
    if name_is_fine && value_is_fine {
        return Ok(());
    }
    // The value may be what somebody tries to inject: it stays out of the message.
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
    fn heads_close_the_connection_and_frame_the_body_themselves() {
        let mut fields = field("Content-Type", "text/plain");
        fields.extend(field("content-length", "999"));
        fields.extend(field("Transfer-Encoding", "gzip"));
        let head =
            String::from_utf8(write_head(404, &fields, Delimiter::Length(3)).unwrap()).unwrap();
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\nConnection: close\r\nDate: "));
        assert!(head.ends_with("GMT\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"));
    }

    #[test]
    fn no_field_can_carry_a_line_of_its_own() {
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
