//! Log messages to the client (`notifications/message`).
//! <https://modelcontextprotocol.io/specification/2025-11-25/server/utilities/logging>

use super::jsonrpc;
use super::outgoing::MessageSender;
use serde_json::json;
use std::sync::Arc;

/// Severity of a log message (RFC 5424), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LoggingLevel {
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

impl LoggingLevel {
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

    /// The level with this wire name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, level)| level)
    }

    /// The level's wire name.
    pub(super) fn name(self) -> &'static str {
        let found = Self::NAMES.into_iter().find(|(_, level)| *level == self);
        found.map_or("info", |(name, _)| name)
    }
}

/// Sends log messages to one client, from a minimum severity on.
#[derive(Clone)]
pub(super) struct ClientLog {
    sender: Arc<dyn MessageSender>,
    minimum: Option<LoggingLevel>,
}

impl ClientLog {
    /// A log that sends messages of severity `minimum` and above; with `None` it sends nothing.
    pub(super) fn new(sender: Arc<dyn MessageSender>, minimum: Option<LoggingLevel>) -> Self {
        Self { sender, minimum }
    }

    /// Sends one message, unless its severity is below the minimum. Never blocks.
    pub(super) fn send(&self, level: LoggingLevel, text: &str) {
        if self.minimum.is_some_and(|minimum| level >= minimum) {
            let params =
                json!({"level": level.name(), "logger": "oneoff-docker-runner", "data": text});
            self.sender
                .notify(jsonrpc::notification("notifications/message", params));
        }
    }
}
