//! Protocol revisions: which we speak, how one is agreed on, and what a request says of its era.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning>

use super::jsonrpc::{Code, Error, Request};
use serde_json::{Map, Value, json};
use std::sync::{Mutex, PoisonError};

/// `_meta` member of a request: the revision it is written in.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta` member of a request: what the client can do.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta` member of a request: the least severe log message it wants.
pub(super) const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// `_meta` member of a result: who answers.
pub(super) const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// A revision of the protocol, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revision {
    /// HTTP+SSE.
    V2024_11_05,
    /// Streamable HTTP and batches.
    V2025_03_26,
    /// Structured output, no batches.
    V2025_06_18,
    /// The newest that starts with `initialize`.
    V2025_11_25,
    /// Stateless: no `initialize`, every request says its revision.
    V2026_07_28,
}

impl Revision {
    /// Every revision we speak, the preferred one first.
    pub(super) const ALL: [Self; 5] = [
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of this name, if we speak it.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.name() == name)
    }

    /// Whether it does without `initialize`.
    pub(super) fn is_stateless(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// Whether it knows JSON arrays of messages.
    pub(super) fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// What `initialize` answers to the version that was asked for: the same if it starts with `initialize`, else our
    /// newest that does; without one, the oldest.
    pub(super) fn negotiate(requested: Option<&str>) -> Self {
        let Some(requested) = requested else {
            return Self::V2024_11_05;
        };
        Self::from_name(requested)
            .filter(|revision| !revision.is_stateless())
            .unwrap_or(Self::V2025_11_25)
    }
}

/// How a request is to be read and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// Up to 2025-11-25: a connection agreed on a revision, or never asked.
    Handshake,
    /// From 2026-07-28: the request says everything itself.
    Stateless,
}

impl Era {
    /// The era of a request, from its `_meta` and from what an `MCP-Protocol-Version` header declared. Errors: a
    /// revision that we do not speak, or a stateless request without what it must say.
    pub(super) fn of(request: &Request, declared: Option<Revision>) -> Result<Self, Error> {
        let meta = meta(&request.params);
        let version = meta.and_then(|meta| meta.get(META_VERSION));
        let revision = match version {
            Some(Value::String(name)) => {
                Some(Revision::from_name(name).ok_or_else(|| unsupported(name))?)
            }
            Some(_) => return Err(missing(META_VERSION)),
            None => declared,
        };
        let stateless = revision.is_some_and(Revision::is_stateless)
            || matches!(request.method.as_str(), "server/discover");
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

/// The `_meta` object of some params.
pub(super) fn meta(params: &Map<String, Value>) -> Option<&Map<String, Value>> {
    params.get("_meta").and_then(Value::as_object)
}

/// The error for a revision that we do not speak.
pub(super) fn unsupported(requested: &str) -> Error {
    let supported: Vec<&str> = Revision::ALL.map(Revision::name).to_vec();
    Error::new(Code::UnsupportedVersion, "Unsupported protocol version")
        .with_data(json!({"supported": supported, "requested": requested}))
}

fn missing(field: &str) -> Error {
    Error::new(
        Code::InvalidParams,
        format!("Invalid params: _meta[\"{field}\"] is required"),
    )
}

/// Severities of log messages (RFC 5424), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `notice`
    Notice,
    /// `warning`
    Warning,
    /// `error`
    Error,
    /// `critical`
    Critical,
    /// `alert`
    Alert,
    /// `emergency`
    Emergency,
}

impl Level {
    const NAMES: [(&'static str, Self); 8] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("critical", Self::Critical),
        ("alert", Self::Alert),
        ("emergency", Self::Emergency),
    ];

    /// The level of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, level)| level)
    }

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        let found = Self::NAMES.into_iter().find(|(_, level)| *level == self);
        found.map_or("info", |(name, _)| name)
    }
}

/// What is remembered of a peer between its messages: what it agreed on. Stateless requests have no use for it.
#[derive(Debug)]
pub(super) struct Peer {
    revision: Mutex<Option<Revision>>,
    level: Mutex<Level>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            revision: Mutex::new(None),
            level: Mutex::new(Level::Warning),
        }
    }
}

impl Peer {
    /// The revision it agreed on, if it ever did.
    pub(super) fn revision(&self) -> Option<Revision> {
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It agreed on a revision.
    pub(super) fn agree(&self, revision: Revision) {
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
    }

    /// The least severe log message it wants; warnings and worse until it says otherwise.
    pub(super) fn level(&self) -> Level {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It wants log messages from this severity on.
    pub(super) fn set_level(&self, level: Level) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }
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
    fn the_era_is_what_the_request_says() {
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
    fn an_unsupported_version_is_answered_with_those_we_speak() {
        let data = unsupported("v1").data.unwrap();
        assert_eq!(data["requested"], "v1");
        assert_eq!(data["supported"][0], "2026-07-28");
        assert_eq!(data["supported"].as_array().unwrap().len(), 5);
    }
}
