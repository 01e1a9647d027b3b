//! Decodes the request target into path and query. This happens once, so that the guard and the routes never see different
//! paths.

use super::refusal::Refusal;

/// A percent-decoded target in origin form (RFC 9112 §3.2.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
}

/// Decodes a target that starts with `/`. Errors: 400.
pub(super) fn decode(raw: &str) -> Result<Target, Refusal> {
    let visible = raw.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !raw.starts_with('/') || !visible || raw.contains('#') {
        return Err(Refusal::bad_request(
            "the request target must be a path that starts with `/`",
        ));
    }
    let (path, query) = raw.split_once('?').unwrap_or((raw, ""));
    Ok(Target {
        path: percent_decode(path)?,
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(parameter)
            .collect::<Result<_, _>>()?,
    })
}

fn parameter(pair: &str) -> Result<(String, String), Refusal> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    Ok((decode(name)?, decode(value)?))
}

fn percent_decode(text: &str) -> Result<String, Refusal> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            other => other,
        });
    }
    String::from_utf8(decoded)
        .map_err(|_| Refusal::bad_request("the request target is not UTF-8 once decoded"))
}

fn hex(digit: Option<u8>) -> Result<u8, Refusal> {
    digit
        .and_then(|d| char::from(d).to_digit(16))
        .and_then(|d| u8::try_from(d).ok())
        .ok_or_else(|| {
            Refusal::bad_request("the request target has a `%` that two hex digits do not follow")
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_decoded_in_order() {
        let target = decode("/volume/a%20b%2Fc?x=1&y=a+b%2B&flag&&x=2").unwrap();
        assert_eq!(target.path, "/volume/a b/c");
        let pairs: Vec<_> = target
            .query
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("x", "1"), ("y", "a b+"), ("flag", ""), ("x", "2")]);
    }

    #[test]
    fn targets_that_are_not_valid_paths_are_refused() {
        for raw in [
            "",
            "*",
            "run",
            "http://h/run",
            "/a b",
            "/a#b",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%ff",
            "/?a=%",
            "/\u{7f}",
            "/é",
        ] {
            assert_eq!(decode(raw).unwrap_err().code, "bad_request", "{raw}");
        }
    }
}
