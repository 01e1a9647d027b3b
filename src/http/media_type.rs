//! Whether a request body is JSON by its `Content-Type` (RFC 9110 §8.3).

use crate::problem::Problem;

/// What clients call JSON, beside `application/…+json`. A page of another origin can send none of these without a preflight,
/// as it can a form or plain text.
const JSON_TYPES: [&str; 4] = [
    "application/json",
    "text/json",
    "application/x-json",
    "text/x-json",
];
/// Names of UTF-8, and of the part of it that is ASCII.
const UTF_8: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// Checks a `Content-Type`. One that is missing or empty counts as JSON. Errors: the problem to answer with (415).
pub(super) fn require_json(content_type: Option<&str>) -> Result<(), Box<Problem>> {
    let content_type = content_type.unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_suffixed = media_type.starts_with("application/") && media_type.ends_with("+json");
    if !media_type.is_empty() && !is_suffixed && !JSON_TYPES.contains(&media_type.as_str()) {
        return Err(unsupported(
            "expected Content-Type: application/json (curl: -H 'Content-Type: application/json')",
        ));
    }
    match parts.find_map(charset) {
        Some(charset) if !UTF_8.contains(&charset.as_str()) => {
            Err(unsupported("JSON is UTF-8: no other charset is understood"))
        }
        _ => Ok(()),
    }
}

fn unsupported(detail: &str) -> Box<Problem> {
    Box::new(Problem::new(415, "unsupported_media_type", detail))
}

/// The value of a `charset` parameter, in lower case. `None`: another parameter.
fn charset(parameter: &str) -> Option<String> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    name.trim().eq_ignore_ascii_case("charset").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::require_json;

    #[test]
    fn json_in_utf_8_has_many_names() {
        for content_type in [
            "application/json",
            "Application/JSON ; Charset=UTF-8",
            "application/json;charset=\"utf8\"",
            "application/json; odata=verbose; charset=us-ascii",
            "application/json;",
            "text/json",
            "application/vnd.api+json",
            "application/problem+json; charset=utf-8",
            "",
        ] {
            assert!(require_json(Some(content_type)).is_ok(), "{content_type}");
        }
        assert!(require_json(None).is_ok());
        for content_type in [
            "text/plain",
            "text/plain; charset=utf-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonx",
            "image/svg+json",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-16",
            "text/json; x=y; charset=windows-1252",
        ] {
            let refused = require_json(Some(content_type));
            assert_eq!(
                refused.map_err(|problem| problem.status),
                Err(415),
                "{content_type}"
            );
        }
    }
}
