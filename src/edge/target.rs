//! Decodes the request target into authority, path and query. This happens once, so that the guard and the routes never see
//! different paths.

use super::refusal::Refusal;

/// The path of a request about the server itself (`OPTIONS *`).
const ASTERISK: &str = "*";

/// A target in origin form, absolute form or asterisk form (RFC 9112 §3.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The authority of an absolute form.
    pub(super) authority: Option<String>,
    /// Path and query as they were sent, in origin form; or `*`.
    pub(super) raw: String,
    /// Percent-decoded, without a slash at the end; or `*`.
    pub(super) path: String,
    pub(super) ends_in_slash: bool,
    /// Percent-decoded, in order.
    pub(super) query: Vec<(String, String)>,
}

/// Decodes the target of a request with this method. Errors: 400.
pub(super) fn decode(method: &str, sent: &str) -> Result<Target, Refusal> {
    let visible = sent.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !visible || sent.contains('#') {
        return Err(not_a_path());
    }
    let (authority, raw) = match sent.starts_with('/') {
        true => (None, sent.to_owned()),
        false if sent == ASTERISK && method == "OPTIONS" => (None, ASTERISK.to_owned()),
        false => absolute(method, sent)?,
    };
    let (path, query) = raw.split_once('?').unwrap_or((&raw, ""));
    let without_slash = without_final_slash(path);
    Ok(Target {
        path: percent_decode(without_slash)?,
        ends_in_slash: without_slash.len() < path.len(),
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(parameter)
            .collect::<Result<_, _>>()?,
        authority,
        raw,
    })
}

/// Authority and origin form of an absolute form, as clients send it to a proxy (RFC 9112 §3.2.2).
fn absolute(method: &str, sent: &str) -> Result<(Option<String>, String), Refusal> {
    let (scheme, rest) = sent.split_once("://").ok_or_else(not_a_path)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::bad_request(
            "the request target is not an http or https address",
        ));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(Refusal::bad_request(
            "the request target has no host, or a user name",
        ));
    }
    let raw = match path {
        "" if method == "OPTIONS" => ASTERISK.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    Ok((Some(authority.to_owned()), raw))
}

fn not_a_path() -> Refusal {
    Refusal::bad_request("the request target must be a path that starts with `/`")
}

/// `/run/` is `/run`. Only one slash is dropped: an empty segment is part of the path.
fn without_final_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
        _ => path,
    }
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
        let target = decode("GET", "/volume/a%20b%2Fc?x=1&y=a+b%2B&flag&&x=2").unwrap();
        assert_eq!(target.path, "/volume/a b/c");
        let pairs: Vec<_> = target
            .query
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("x", "1"), ("y", "a b+"), ("flag", ""), ("x", "2")]);
    }

    #[test]
    fn an_absolute_form_is_authority_and_origin_form() {
        for (method, sent, authority, raw, path) in [
            ("GET", "http://h/run?a=/", Some("h"), "/run?a=/", "/run"),
            ("GET", "HTTPS://h:80/run/", Some("h:80"), "/run/", "/run"),
            ("GET", "http://[::1]:80", Some("[::1]:80"), "/", "/"),
            ("GET", "http://h?a", Some("h"), "/?a", "/"),
            ("OPTIONS", "http://h", Some("h"), "*", "*"),
            ("OPTIONS", "http://h/", Some("h"), "/", "/"),
            ("OPTIONS", "*", None, "*", "*"),
            ("GET", "/http://h/", None, "/http://h/", "/http://h"),
        ] {
            let target = decode(method, sent).unwrap();
            assert_eq!(target.authority.as_deref(), authority, "{sent}");
            assert_eq!((target.raw.as_str(), target.path.as_str()), (raw, path));
            let wanted = sent.ends_with("n/") || sent.starts_with("/http");
            assert_eq!(target.ends_in_slash, wanted, "{sent}");
        }
    }

    #[test]
    fn one_slash_at_the_end_makes_no_difference() {
        for (sent, path, ends_in_slash) in [
            ("/", "/", false),
            ("/run", "/run", false),
            ("/run/", "/run", true),
            ("/run/?a", "/run", true),
            ("/run//", "/run//", false),
            ("//", "//", false),
            ("/run%2F", "/run/", false),
            ("/r%75n%2f/", "/run/", true),
        ] {
            let target = decode("GET", sent).unwrap();
            let found = (target.path.as_str(), target.ends_in_slash);
            assert_eq!(found, (path, ends_in_slash), "{sent}");
        }
    }

    #[test]
    fn targets_that_are_not_valid_paths_are_refused() {
        for raw in [
            "",
            "*",
            "run",
            "h:80",
            "http:/h/run",
            "http:///run",
            "http://?a",
            "http://user@h/run",
            "ftp://h/run",
            "unix://h/run",
            "://h/run",
            "/a b",
            "/a#b",
            "http://h/a#b",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%ff",
            "/?a=%",
            "/\u{7f}",
            "/é",
        ] {
            let refusal = decode("GET", raw).unwrap_err();
            assert_eq!(refusal.code, "bad_request", "{raw}");
        }
    }
}
