//! The HTTP headers that mirror members of the JSON-RPC body: `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name`.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use super::jsonrpc::{Code, Error, Request};
use super::protocol::{self, META_VERSION, Revision};
use crate::http;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The revision in the `MCP-Protocol-Version` header; `None` without one. Errors: it is not supported.
pub(super) fn revision(http: &http::Request) -> Result<Option<Revision>, Error> {
    let name = http.header("mcp-protocol-version").map(str::trim);
    name.map(|name| Revision::from_name(name).ok_or_else(|| protocol::unsupported(name)))
        .transpose()
}

/// The same for the header of a request. Errors also: the header differs from the request's `_meta`, or is missing
/// though a stateless revision requires it.
pub(super) fn revision_of_request(
    http: &http::Request,
    request: &Request,
) -> Result<Option<Revision>, Error> {
    let header = http.header("mcp-protocol-version").map(str::trim);
    let meta = protocol::meta(&request.params).and_then(|meta| meta.get(META_VERSION));
    if let Some(Value::String(body)) = meta {
        let is_required = Revision::from_name(body).is_some_and(Revision::is_stateless);
        if header.map_or(is_required, |header| header != body) {
            return Err(mismatch("MCP-Protocol-Version", header));
        }
    }
    revision(http)
}

/// Checks the `Mcp-Method` and `Mcp-Name` headers of a stateless request. Errors: one differs from the body, or is
/// missing.
pub(super) fn check(http: &http::Request, request: &Request) -> Result<(), Error> {
    let method = http.header("mcp-method").map(str::trim);
    if method != Some(request.method.as_str()) {
        return Err(mismatch("Mcp-Method", method));
    }
    let Some(Value::String(name)) = request.params.get("name") else {
        return Ok(());
    };
    let header = http.header("mcp-name").map(str::trim);
    let decoded = header.map(decode);
    match request.method == "tools/call" && decoded.as_deref() != Some(name) {
        true => Err(mismatch("Mcp-Name", header)),
        false => Ok(()),
    }
}

/// A header value, decoded if it is wrapped as `=?base64?…?=`.
fn decode(value: &str) -> String {
    let wrapped = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let bytes = wrapped.and_then(|text| STANDARD.decode(text).ok());
    match bytes.map(String::from_utf8) {
        Some(Ok(text)) => text,
        _ => value.to_owned(),
    }
}

fn mismatch(header: &str, found: Option<&str>) -> Error {
    let what = match found {
        Some(_) => format!("Header mismatch: {header} does not match the body"),
        None => format!("Header mismatch: {header} is missing"),
    };
    Error::new(Code::HeaderMismatch, what)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn wrapped_header_values_are_unwrapped() {
        for (value, expected) in [
            ("run_container", "run_container"),
            ("=?base64?cnVu?=", "run"),
            ("=?base64?!?=", "=?base64?!?="),
            ("=?BASE64?cnVu?=", "=?BASE64?cnVu?="),
        ] {
            assert_eq!(decode(value), expected);
        }
    }
}
