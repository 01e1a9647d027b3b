//! Tables of hosts, origins and tokens.

use super::*;
use crate::edge::config::{CorsPolicy, RouteTable};
use std::time::Duration;

fn config() -> ServerConfig {
    ServerConfig {
        host: String::new(),
        port: 0,
        auth_token: None,
        allowed_hosts: vec!["runner.example.com".into(), "*.internal.example".into()],
        allowed_origins: vec![
            "https://app.example.com".into(),
            "http://*.trusted.example".into(),
        ],
        body_limit_bytes: 100,
        memory: crate::memory::MemoryBudget::new(0),
        head_timeout: Duration::ZERO,
        body_stall_timeout: Duration::ZERO,
        write_stall_timeout: Duration::ZERO,
        routes: RouteTable {
            health_path: "/health",
            open_paths: &["/health", "/docs/", "/"],
            single_fields: &[],
            template_of: |_| "other",
        },
        cors: CorsPolicy {
            methods: "",
            request_fields: "",
            response_fields: "",
            max_age_secs: 0,
        },
    }
}

fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Head {
    Head {
        method: method.into(),
        raw_target: path.into(),
        path: path.into(),
        ends_in_slash: false,
        query: Vec::new(),
        minor: 1,
        fields: fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        framing: Framing::Absent,
        expects_continue: false,
        replaced_host: None,
    }
}

fn outcome(config: &ServerConfig, head: &Head) -> String {
    match judge(config, head) {
        Verdict::Serve => "served".into(),
        Verdict::Preflight => "preflight".into(),
        Verdict::Refuse(refusal) => refusal.code.into(),
    }
}

#[test]
fn hosts_that_public_dns_could_answer_for_are_refused() {
    for (host, expected) in [
        ("localhost", "served"),
        ("LOCALHOST:8000", "served"),
        ("localhost.", "served"),
        ("app.localhost:1", "served"),
        ("127.0.0.1:8000", "served"),
        ("192.168.1.5", "served"),
        ("[::1]:8000", "served"),
        ("runner:8000", "served"),
        ("my_runner", "served"),
        ("runner.example.com:8000", "served"),
        ("RUNNER.example.com.", "served"),
        ("a.b.internal.example", "served"),
        ("host.docker.internal:8000", "served"),
        ("Gateway.Docker.Internal", "served"),
        ("host.containers.internal.", "served"),
        ("other.docker.internal", "host_not_allowed"),
        ("host.docker.internal.evil.com", "host_not_allowed"),
        ("evil.com", "host_not_allowed"),
        ("evil.com:8000", "host_not_allowed"),
        ("evil.com.", "host_not_allowed"),
        ("com.", "host_not_allowed"),
        ("localhost.evil.com", "host_not_allowed"),
        ("127.0.0.1.evil.com", "host_not_allowed"),
        ("127.1", "host_not_allowed"),
        ("internal.example", "host_not_allowed"),
        ("evil.com/localhost", "bad_request"),
        ("user@localhost", "bad_request"),
        ("localhost:80:80", "bad_request"),
        ("localhost:x", "bad_request"),
        ("[::1", "bad_request"),
        ("[evil.com]", "bad_request"),
        ("[::1]x", "bad_request"),
        (":80", "bad_request"),
    ] {
        assert_eq!(
            outcome(&config(), &head("GET", "/run", &[("host", host)])),
            expected,
            "{host}"
        );
    }
}

#[test]
fn both_hosts_of_an_absolute_target_are_checked_and_the_target_s_counts() {
    for (authority, host, origin, expected) in [
        ("localhost:8000", "localhost", None, "served"),
        ("localhost:8000", "evil.com", None, "host_not_allowed"),
        ("evil.com", "localhost", None, "host_not_allowed"),
        ("localhost:8000", "a b", None, "bad_request"),
        ("a b", "localhost", None, "bad_request"),
        (
            "localhost:8000",
            "h",
            Some("http://localhost:8000"),
            "served",
        ),
        (
            "localhost:8000",
            "h",
            Some("http://h"),
            "origin_not_allowed",
        ),
    ] {
        let mut fields = vec![("host", authority)];
        fields.extend(origin.map(|origin| ("origin", origin)));
        let mut head = head("GET", "/run", &fields);
        head.replaced_host = Some(host.to_owned());
        assert_eq!(outcome(&config(), &head), expected, "{authority} {host}");
    }
}

#[test]
fn a_client_without_host_is_served() {
    assert_eq!(outcome(&config(), &head("GET", "/run", &[])), "served");
}

#[test]
fn only_own_and_allowed_origins_are_served() {
    for (host, origin, expected) in [
        ("localhost:8000", "http://localhost:8000", "served"),
        ("localhost:8000", "HTTP://LOCALHOST:8000", "served"),
        ("localhost:8000", "https://app.example.com", "served"),
        ("localhost:8000", "http://x.trusted.example", "served"),
        (
            "localhost:8000",
            "http://localhost:6274",
            "origin_not_allowed",
        ),
        ("localhost:8000", "http://localhost", "origin_not_allowed"),
        (
            "localhost:8000",
            "https://app.example.com.evil",
            "origin_not_allowed",
        ),
        (
            "localhost:8000",
            "http://app.example.com",
            "origin_not_allowed",
        ),
        ("localhost:8000", "null", "origin_not_allowed"),
        ("localhost:8000", "", "origin_not_allowed"),
        (
            "localhost:8000",
            "file://localhost:8000",
            "origin_not_allowed",
        ),
        ("evil.com", "http://evil.com", "host_not_allowed"),
    ] {
        let head = head("POST", "/run", &[("host", host), ("origin", origin)]);
        assert_eq!(outcome(&config(), &head), expected, "{origin}");
    }
    let mut any = config();
    any.allowed_origins = vec!["*".into()];
    let null = head("POST", "/run", &[("host", "h"), ("origin", "null")]);
    assert_eq!(outcome(&any, &null), "origin_not_allowed");
}

#[test]
fn preflights_of_allowed_origins_need_no_token() {
    let mut config = config();
    config.auth_token = Some("secret".into());
    let ask = |origin: &str| {
        let fields = [
            ("host", "h"),
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        outcome(&config, &head("OPTIONS", "/mcp", &fields))
    };
    assert_eq!(ask("https://app.example.com"), "preflight");
    assert_eq!(ask("https://evil.com"), "origin_not_allowed");
    assert_eq!(ask("http://h"), "unauthorized");
    let plain = [("host", "h"), ("origin", "https://app.example.com")];
    assert_eq!(
        outcome(&config, &head("OPTIONS", "/mcp", &plain)),
        "unauthorized"
    );
}

#[test]
fn every_path_but_the_open_ones_needs_the_token() {
    let mut config = config();
    config.auth_token = Some("sekret".into());
    for (path, authorization, expected) in [
        ("/run", "Bearer sekret", "served"),
        ("/run", "bearer  sekret", "served"),
        ("/run", "Bearer sekre", "unauthorized"),
        ("/run", "Bearer sekretsekret", "unauthorized"),
        ("/run", "Bearer ", "unauthorized"),
        ("/run", "Bearer", "unauthorized"),
        ("/run", "Basic sekret", "unauthorized"),
        ("/run", "sekret", "unauthorized"),
        ("/health", "", "served"),
        ("/", "", "served"),
        ("/health/x", "", "unauthorized"),
        ("/docs/", "", "served"),
        ("/docs/swagger-ui.css", "", "served"),
        ("/docs", "", "unauthorized"),
        ("//health", "", "unauthorized"),
    ] {
        let head = head(
            "GET",
            path,
            &[("host", "evil.com"), ("authorization", authorization)],
        );
        assert_eq!(outcome(&config, &head), expected, "{path} {authorization}");
    }
    assert_eq!(
        outcome(&config, &head("GET", "/run", &[("host", "h")])),
        "unauthorized"
    );
}

#[test]
fn a_length_over_the_limit_is_refused_after_the_token_was_checked() {
    let mut large = head("POST", "/run", &[("host", "h")]);
    large.framing = Framing::Length(101);
    assert_eq!(outcome(&config(), &large), "body_too_large");
    let mut with_token = config();
    with_token.auth_token = Some("t".into());
    assert_eq!(outcome(&with_token, &large), "unauthorized");
    large.framing = Framing::Length(100);
    assert_eq!(outcome(&config(), &large), "served");
}
