//! The header fields of one request head: names in lower case, the lines of one list combined (RFC 9110 §5.3), and those
//! refused that must not come twice.

use super::refusal::Refusal;

/// Fields that must not come twice, because two readers could each use another one. The API adds its own; see
/// [`RouteTable::single_fields`](super::config::RouteTable::single_fields).
const SINGLE_FIELDS: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "origin",
    "authorization",
    "expect",
];

/// Takes the fields of a head. Errors: one of [`SINGLE_FIELDS`] or of `single_fields` comes more than once.
pub(super) fn take(
    parsed: &[httparse::Header<'_>],
    single_fields: &[&str],
) -> Result<Vec<(String, String)>, Refusal> {
    let mut fields: Vec<(String, String)> = Vec::with_capacity(parsed.len());
    for field in parsed {
        let (name, value) = (field.name.to_ascii_lowercase(), text(field.value));
        let Some((_, first)) = fields.iter_mut().find(|(n, _)| *n == name) else {
            fields.push((name, value));
            continue;
        };
        if SINGLE_FIELDS
            .iter()
            .chain(single_fields)
            .any(|single| *single == name)
        {
            return Err(Refusal::bad_request(format!(
                "the header field `{name}` comes more than once"
            )));
        }
        first.push_str(", ");
        first.push_str(&value);
    }
    Ok(fields)
}

/// The value of a field. Bytes above 0x7F (`obs-text`, RFC 9110 §5.5) are UTF-8 from some clients and Latin-1 from others.
fn text(value: &[u8]) -> String {
    let text = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    };
    text.trim_matches([' ', '\t']).to_owned()
}

/// The value of the field with this (lower-case) name.
pub(super) fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, value)| value.as_str())
}
