//! Which requests are let in: by Host, by Origin, by token.

use super::rig::Rig;

#[test]
fn rebound_hosts_and_foreign_origins_are_403() {
    let rig = Rig::with(|c| c.allowed_hosts = vec!["*.example.com".into()]);
    for (host, origin, expected) in [
        ("localhost:8000", "", "200"),
        ("127.0.0.1", "", "200"),
        ("runner:8000", "http://runner:8000", "200"),
        ("a.example.com", "https://a.example.com", "200"),
        ("a.example.com", "https://app.example.com", "200"),
        ("evil.com", "", "host_not_allowed"),
        ("evil.com", "http://evil.com", "host_not_allowed"),
        ("localhost", "http://evil.com", "origin_not_allowed"),
        ("localhost", "null", "origin_not_allowed"),
    ] {
        let origin_field = match origin {
            "" => String::new(),
            origin => format!("Origin: {origin}\r\n"),
        };
        // A simple request in the sense of CORS: it needs no preflight.
        let answer = rig.ask(&format!(
            "POST /echo HTTP/1.1\r\nHost: {host}\r\n{origin_field}Content-Type: text/plain\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        ));
        let outcome = match answer.status {
            200 => "200".to_owned(),
            _ => answer.code(),
        };
        assert_eq!(outcome, expected, "{host} {origin}");
    }
}

#[test]
fn configured_origins_may_preflight_and_read_answers_and_errors() {
    let rig = Rig::with(|c| c.auth_token = Some("t".into()));
    let preflight = rig.ask(
        "OPTIONS /mcp HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example.com\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin").unwrap(),
        "https://app.example.com"
    );
    assert_eq!(
        preflight.header("access-control-allow-methods").unwrap(),
        "GET, POST, DELETE, OPTIONS"
    );
    assert_eq!(
        preflight.header("access-control-allow-headers").unwrap(),
        "Content-Type, Content-Encoding, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, \
         Mcp-Method, Mcp-Name, Prefer, Idempotency-Key, X-Request-Id"
    );
    for (path, token, status) in [
        ("/health", "t", 200),
        ("/nowhere", "t", 404),
        ("/run", "wrong", 401),
    ] {
        let answer = rig.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("access-control-allow-origin").unwrap(),
            "https://app.example.com"
        );
        assert_eq!(
            answer.header("access-control-expose-headers").unwrap(),
            "Mcp-Session-Id, Location, Preference-Applied, Retry-After, X-Request-Id"
        );
        assert_eq!(answer.header("vary").unwrap(), "Origin");
    }
    let own = rig.ask("GET /health HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n\r\n");
    assert_eq!(own.status, 200);
    assert!(own.header("access-control-allow-origin").is_none());
}

#[test]
fn a_token_is_required_everywhere_but_on_open_paths() {
    let rig = Rig::with(|c| c.auth_token = Some("secret".into()));
    let refused = rig.get("/seen");
    assert_eq!(refused.code(), "unauthorized");
    assert_eq!(refused.header("www-authenticate").unwrap(), "Bearer");
    assert!(rig.is_well());
    for path in ["/%68ealth", "/health?x=1", "/health/"] {
        assert_eq!(rig.get(path).status, 200);
    }
    for path in [
        "/health//",
        "/health%2F",
        "/HEALTH",
        "//health",
        "/health/../seen",
        "/seen?/health",
    ] {
        assert_eq!(rig.get(path).status, 401, "{path}");
    }
    // With a token, DNS rebinding gains nothing, so any Host is accepted.
    let given = rig.ask(
        "GET /seen HTTP/1.1\r\nHost: public.example.org\r\nAuthorization: bearer secret\r\n\r\n",
    );
    assert_eq!(given.status, 200);
    assert!(
        !given.text().contains("secret"),
        "no handler sees the token"
    );
}
