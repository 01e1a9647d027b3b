//! Who may call: Host (DNS rebinding), Origin (cross-site calls), bearer token, and how large a body may be. Pure.

use super::head::{Framing, Head};
use super::refusal::Refusal;
use crate::glob;
use std::net::{Ipv4Addr, Ipv6Addr};
use subtle::ConstantTimeEq as _;

/// The rules.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) auth_token: Option<String>,
    /// Exact paths, or prefixes when they end in `/` (but `/` itself is exact).
    pub(crate) open_paths: Vec<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) body_limit_bytes: u64,
}

/// What the rules say of one head.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Let it in.
    Serve {
        /// Whether a token was required and given.
        authenticated: bool,
    },
    /// A browser asks beforehand, and may go on.
    Preflight,
    /// Answer this instead.
    Refuse(Refusal),
}

impl Policy {
    /// Judges one head.
    pub(super) fn judge(&self, head: &Head) -> Verdict {
        let checked = self.check_host(head).and_then(|()| self.check_origin(head));
        if let Err(refusal) = checked {
            return Verdict::Refuse(refusal);
        }
        // A preflight carries no token, so it is answered before tokens are asked for.
        if self.is_preflight(head) {
            return Verdict::Preflight;
        }
        let served = self.check_token(head).and_then(|authenticated| {
            self.check_length(head)?;
            Ok(Verdict::Serve { authenticated })
        });
        served.unwrap_or_else(Verdict::Refuse)
    }

    /// The configured origin that this head comes from: the one whose pages may read the answer.
    pub(super) fn cors_origin<'a>(&self, head: &'a Head) -> Option<&'a str> {
        head.field("origin")
            .filter(|origin| self.is_configured(origin))
    }

    fn check_host(&self, head: &Head) -> Result<(), Refusal> {
        // Browsers always send Host: an HTTP/1.0 client without one is none. And a page that was rebound to
        // us does not know the token.
        let Some(host) = head.field("host") else {
            return Ok(());
        };
        let Some(name) = host_name(host) else {
            return Err(Refusal::new(
                400,
                "bad_request",
                "the Host header field is not a host name with an optional port",
            ));
        };
        if self.auth_token.is_some() || is_local_name(name) || self.is_allowed_host(host, name) {
            return Ok(());
        }
        Err(Refusal::new(
            403,
            "host_not_allowed",
            "this Host is not among the allowed hosts (RUNNER_ALLOWED_HOSTS)",
        ))
    }

    fn is_allowed_host(&self, host: &str, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.allowed_hosts.iter().any(|allowed| {
            glob::matches_ignore_ascii_case(allowed, name)
                || glob::matches_ignore_ascii_case(allowed, host)
        })
    }

    fn check_origin(&self, head: &Head) -> Result<(), Refusal> {
        let Some(origin) = head.field("origin") else {
            return Ok(());
        };
        let own = head.field("host").is_some_and(|host| {
            origin.split_once("://").is_some_and(|(scheme, authority)| {
                is_web(scheme) && authority.eq_ignore_ascii_case(host)
            })
        });
        if own || self.is_configured(origin) {
            return Ok(());
        }
        Err(Refusal::new(
            403,
            "origin_not_allowed",
            "pages of this Origin may not call this service (RUNNER_ALLOWED_ORIGINS)",
        ))
    }

    fn is_configured(&self, origin: &str) -> bool {
        // `null` is what sandboxed and local pages send, whoever wrote them: no list can mean it.
        !origin.eq_ignore_ascii_case("null")
            && self
                .allowed_origins
                .iter()
                .any(|allowed| glob::matches_ignore_ascii_case(allowed, origin))
    }

    fn is_preflight(&self, head: &Head) -> bool {
        head.method == "OPTIONS"
            && head.field("access-control-request-method").is_some()
            && self.cors_origin(head).is_some()
    }

    fn check_token(&self, head: &Head) -> Result<bool, Refusal> {
        let Some(expected) = &self.auth_token else {
            return Ok(false);
        };
        if self.is_open(&head.path) {
            return Ok(false);
        }
        let given = head
            .field("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match given {
            Some(token) if is_same_token(token, expected) => Ok(true),
            Some(_) => Err(Refusal::new(
                401,
                "unauthorized",
                "the bearer token is not the right one",
            )),
            None => Err(Refusal::new(
                401,
                "unauthorized",
                "a bearer token is required: `Authorization: Bearer …`",
            )),
        }
    }

    fn is_open(&self, path: &str) -> bool {
        // The root is a path like any other, and not the prefix of all of them.
        let is_below =
            |open: &String| open != "/" && open.ends_with('/') && path.starts_with(open.as_str());
        self.open_paths
            .iter()
            .any(|open| path == open || is_below(open))
    }

    fn check_length(&self, head: &Head) -> Result<(), Refusal> {
        match head.framing {
            Framing::Length(length) if length > self.body_limit_bytes => {
                Err(too_large(self.body_limit_bytes))
            }
            _ => Ok(()),
        }
    }
}

/// The answer to a body over the limit.
pub(super) fn too_large(limit_bytes: u64) -> Refusal {
    Refusal::new(
        413,
        "body_too_large",
        format!(
            "the request body is larger than the limit of {limit_bytes} bytes (RUNNER_MAX_BODY_BYTES)"
        ),
    )
}

fn is_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// The host part of a Host field, brackets of IPv6 included; `None` when it is malformed.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (&host[..end], &host[end..])
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_is_fine = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= 5,
        None => port.is_empty(),
    };
    let name_is_fine = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_name_byte),
    };
    (port_is_fine && name_is_fine).then_some(name)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// Loopback names, IP literals and names without a dot: no public DNS answers for them.
fn is_local_name(name: &str) -> bool {
    let undotted = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.starts_with('[')
        || name.parse::<Ipv4Addr>().is_ok()
        || undotted == "localhost"
        || undotted.ends_with(".localhost")
        || !name.contains('.')
}

/// Compares in a time that depends on the lengths only, so that it does not show how much of a token was right.
fn is_same_token(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "guard_tests.rs"]
mod tests;
