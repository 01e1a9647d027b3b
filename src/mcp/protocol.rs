//! Protocol revisions: which ones are supported, how one is negotiated, and which era a request is written in.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning>

use super::jsonrpc::{Code, Error, Request, for_echo};
use serde_json::{Map, Value, json};

/// Member of a request's `_meta`: the revision the request is written in.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Member of a request's `_meta`: the client's capabilities.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Member of a request's `_meta`: the minimum severity of log messages during the request.
pub(super) const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Member of a result's `_meta`: the server's name and version.
pub(super) const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// A revision of the protocol, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revision {
    /// Introduced HTTP+SSE.
    V2024_11_05,
    /// Introduced Streamable HTTP and batches.
    V2025_03_26,
    /// Introduced structured output; removed batches.
    V2025_06_18,
    /// The newest revision with `initialize`.
    V2025_11_25,
    /// Stateless: no `initialize`; every request names its revision.
    V2026_07_28,
}

impl Revision {
    /// All supported revisions, newest first.
    pub(super) const ALL: [Self; 5] = [
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];

    /// The wire name, a date.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision with this wire name; `None` if it is not supported.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.name() == name)
    }

    /// Whether the revision has no `initialize`.
    pub(super) fn is_stateless(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// Whether the revision allows batches.
    pub(super) fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// The revision that `initialize` answers with: the requested one if it is supported and has `initialize`, else
    /// the newest that has it. If none was requested, the oldest.
    pub(super) fn negotiate(requested: Option<&str>) -> Self {
        let Some(requested) = requested else {
            return Self::V2024_11_05;
        };
        Self::from_name(requested)
            .filter(|revision| !revision.is_stateless())
            .unwrap_or(Self::V2025_11_25)
    }
}

/// How a request is validated and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// Up to 2025-11-25: `initialize` negotiates the revision; requests without it are answered, too.
    Handshake,
    /// From 2026-07-28: every request carries its revision and the client's capabilities.
    Stateless,
}

impl Era {
    /// The era of a request, from its `_meta` and from the revision in the `MCP-Protocol-Version` header. Errors: an
    /// unsupported revision, or a stateless request without the members that it must have.
    pub(super) fn of(request: &Request, header: Option<Revision>) -> Result<Self, Error> {
        let meta = meta(&request.params);
        let version = meta.and_then(|meta| meta.get(META_VERSION));
        let revision = match version {
            Some(Value::String(name)) => {
                Some(Revision::from_name(name).ok_or_else(|| unsupported(name))?)
            }
            Some(_) => return Err(missing(META_VERSION)),
            None => header,
        };
        let stateless =
            revision.is_some_and(Revision::is_stateless) || request.method == "server/discover";
        if !stateless {
            return Ok(Self::Handshake);
        }
        if version.is_none() {
            return Err(missing(META_VERSION));
        }
        match meta.and_then(|meta| meta.get(META_CAPABILITIES)) {
            Some(Value::Object(_)) => Ok(Self::Stateless),
            _ => Err(missing(META_CAPABILITIES)),
        }
    }
}

/// The `_meta` object of a request's params.
pub(super) fn meta(params: &Map<String, Value>) -> Option<&Map<String, Value>> {
    params.get("_meta").and_then(Value::as_object)
}

/// The error for an unsupported revision.
pub(super) fn unsupported(requested: &str) -> Error {
    let supported: Vec<&str> = Revision::ALL.map(Revision::name).to_vec();
    Error::new(Code::UnsupportedVersion, "Unsupported protocol version")
        .with_data(json!({"supported": supported, "requested": for_echo(requested)}))
}

fn missing(field: &str) -> Error {
    Error::new(
        Code::InvalidParams,
        format!("Invalid params: _meta[\"{field}\"] is required"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::mcp::jsonrpc::Id;

    #[test]
    fn a_supported_version_is_echoed_and_any_other_gets_the_newest_with_a_handshake() {
        for (requested, answered) in [
            (Some("2024-11-05"), "2024-11-05"),
            (Some("2025-03-26"), "2025-03-26"),
            (Some("2025-06-18"), "2025-06-18"),
            (Some("2025-11-25"), "2025-11-25"),
            (Some("2026-07-28"), "2025-11-25"),
            (Some("1999-01-01"), "2025-11-25"),
            (Some(""), "2025-11-25"),
            (None, "2024-11-05"),
        ] {
            assert_eq!(
                Revision::negotiate(requested).name(),
                answered,
                "{requested:?}"
            );
        }
    }

    fn request(method: &str, params: Value) -> Request {
        Request {
            id: Id::Text("1".into()),
            method: method.into(),
            params: params.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn the_era_follows_from_meta_header_and_method() {
        let full = json!({"_meta": {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}});
        let modern = Some(Revision::V2026_07_28);
        for (method, params, declared, expected) in [
            ("tools/list", json!({}), None, Ok(Era::Handshake)),
            (
                "tools/list",
                json!({}),
                Some(Revision::V2025_06_18),
                Ok(Era::Handshake),
            ),
            ("tools/list", full.clone(), None, Ok(Era::Stateless)),
            ("tools/list", full, modern, Ok(Era::Stateless)),
            ("tools/list", json!({}), modern, Err(Code::InvalidParams)),
            ("server/discover", json!({}), None, Err(Code::InvalidParams)),
            (
                "ping",
                json!({"_meta": {META_VERSION: "2026-07-28"}}),
                None,
                Err(Code::InvalidParams),
            ),
            (
                "ping",
                json!({"_meta": {META_CAPABILITIES: {}}}),
                modern,
                Err(Code::InvalidParams),
            ),
            (
                "ping",
                json!({"_meta": {META_VERSION: "v999"}}),
                None,
                Err(Code::UnsupportedVersion),
            ),
            (
                "ping",
                json!({"_meta": {META_VERSION: 7}}),
                None,
                Err(Code::InvalidParams),
            ),
            (
                "ping",
                json!({"_meta": {META_VERSION: "2025-11-25"}}),
                None,
                Ok(Era::Handshake),
            ),
        ] {
            let found = Era::of(&request(method, params.clone()), declared);
            assert_eq!(found.map_err(|e| e.code), expected, "{method} {params}");
        }
    }

    #[test]
    fn an_unsupported_version_is_answered_with_the_supported_ones() {
        let data = unsupported("v1").data.unwrap();
        assert_eq!(data["requested"], "v1");
        assert_eq!(data["supported"][0], "2026-07-28");
        assert_eq!(data["supported"].as_array().unwrap().len(), 5);
        let data = unsupported(&"v".repeat(1_000_000)).data.unwrap();
        assert!(data.to_string().len() < 1000, "a long name is cut");
    }
}
