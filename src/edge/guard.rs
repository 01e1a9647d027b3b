//! Decides whether a request head is admitted, from `Host` (DNS rebinding), `Origin` (cross-site calls), the bearer token, and
//! the declared length and the encoding of the body. Pure.

use super::config::ServerConfig;
use super::content::check_coding;
use super::head::{Framing, Head};
use super::refusal::Refusal;
use crate::glob;
use std::net::{Ipv4Addr, Ipv6Addr};
use subtle::ConstantTimeEq as _;

/// The decision about one head.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Serve the request: it carries the token, or needs none.
    Serve,
    /// Answer a browser's CORS preflight: the page may send its request.
    Preflight,
    /// Answer with this error.
    Refuse(Refusal),
}

/// Decides about one head.
pub(super) fn judge(config: &ServerConfig, head: &Head) -> Verdict {
    let checked = check_host(config, head).and_then(|()| check_origin(config, head));
    if let Err(refusal) = checked {
        return Verdict::Refuse(refusal);
    }
    // Before the token is checked, because preflights carry none.
    if is_preflight(config, head) {
        return Verdict::Preflight;
    }
    let checked = check_token(config, head)
        .and_then(|()| check_length(config, head))
        .and_then(|()| check_coding(head));
    match checked {
        Ok(()) => Verdict::Serve,
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// The head's `Origin` if it is one of the allowed origins, whose pages may read the response.
pub(super) fn cors_origin<'a>(config: &ServerConfig, head: &'a Head) -> Option<&'a str> {
    head.field("origin")
        .filter(|origin| is_allowed_origin(config, origin))
}

fn check_host(config: &ServerConfig, head: &Head) -> Result<(), Refusal> {
    // Browsers always send Host, so a client without one is none. With a token no host is refused: a page that was
    // rebound to this server does not know the token. A Host field that does not count, since the target has an authority,
    // is still what a page may have been loaded from.
    let hosts = [head.field("host"), head.replaced_host.as_deref()];
    for host in hosts.into_iter().flatten() {
        let Some(name) = host_name(host) else {
            return Err(Refusal::new(
                400,
                "bad_request",
                "the Host header field is not a host name with an optional port",
            ));
        };
        if config.auth_token.is_none()
            && !is_local_name(name)
            && !is_allowed_host(config, host, name)
        {
            return Err(Refusal::new(
                403,
                "host_not_allowed",
                "this Host is not among the allowed hosts (RUNNER_ALLOWED_HOSTS)",
            ));
        }
    }
    Ok(())
}

fn is_allowed_host(config: &ServerConfig, host: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let matches = glob::matches_ignore_ascii_case;
    config
        .allowed_hosts
        .iter()
        .any(|allowed| matches(allowed, name) || matches(allowed, host))
}

fn check_origin(config: &ServerConfig, head: &Head) -> Result<(), Refusal> {
    let Some(origin) = head.field("origin") else {
        return Ok(());
    };
    let own = head.field("host").is_some_and(|host| {
        origin.split_once("://").is_some_and(|(scheme, authority)| {
            is_web(scheme) && authority.eq_ignore_ascii_case(host)
        })
    });
    if own || is_allowed_origin(config, origin) {
        return Ok(());
    }
    Err(Refusal::new(
        403,
        "origin_not_allowed",
        "pages of this Origin may not call this service (RUNNER_ALLOWED_ORIGINS)",
    ))
}

fn is_allowed_origin(config: &ServerConfig, origin: &str) -> bool {
    // Any sandboxed or local page sends `null`, so that not even `*` allows it. The origin is repeated in the response.
    !origin.eq_ignore_ascii_case("null")
        && origin.is_ascii()
        && config
            .allowed_origins
            .iter()
            .any(|allowed| glob::matches_ignore_ascii_case(allowed, origin))
}

fn is_preflight(config: &ServerConfig, head: &Head) -> bool {
    head.method == "OPTIONS"
        && head.field("access-control-request-method").is_some()
        && cors_origin(config, head).is_some()
}

fn check_token(config: &ServerConfig, head: &Head) -> Result<(), Refusal> {
    let Some(expected) = &config.auth_token else {
        return Ok(());
    };
    if is_open(config.routes.open_paths, &head.path) {
        return Ok(());
    }
    let given = head
        .field("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match given {
        Some(token) if is_same_token(token, expected) => Ok(()),
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

/// Whether the path needs no token: see `RouteTable::open_paths`.
fn is_open(open_paths: &[&str], path: &str) -> bool {
    let is_below = |open: &str| open != "/" && open.ends_with('/') && path.starts_with(open);
    open_paths
        .iter()
        .any(|open| path == *open || is_below(open))
}

fn check_length(config: &ServerConfig, head: &Head) -> Result<(), Refusal> {
    match head.framing {
        Framing::Length(length) if length > config.body_limit_bytes => {
            Err(too_large(config.body_limit_bytes))
        }
        _ => Ok(()),
    }
}

/// 413 for a declared length over the limit.
fn too_large(limit_bytes: u64) -> Refusal {
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

/// The host of a Host field without the port, with the brackets of an IPv6 address. `None`: the field is malformed.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (&host[..end], &host[end..])
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_valid_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= 5,
        None => port.is_empty(),
    };
    let is_valid_name = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_name_byte),
    };
    (is_valid_port && is_valid_name).then_some(name)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// Names by which containers and virtual machines call the host that they run on. `internal` is no domain of public DNS.
const NAMES_OF_THE_HOST: [&str; 9] = [
    "host.docker.internal",
    "gateway.docker.internal",
    "kubernetes.docker.internal",
    "docker.for.mac.host.internal",
    "host.containers.internal",
    "host.lima.internal",
    "host.minikube.internal",
    "host.orb.internal",
    "host.rancher-desktop.internal",
];

/// Whether public DNS cannot answer for this name: loopback names, IP literals, names without a dot, and
/// [`NAMES_OF_THE_HOST`].
fn is_local_name(name: &str) -> bool {
    let undotted = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.starts_with('[')
        || name.parse::<Ipv4Addr>().is_ok()
        || undotted == "localhost"
        || undotted.ends_with(".localhost")
        || NAMES_OF_THE_HOST.contains(&undotted.as_str())
        || !name.contains('.')
}

/// Compares in a time that depends on the lengths only, so that it does not reveal how much of a token was right.
fn is_same_token(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "guard_tests.rs"]
mod tests;
