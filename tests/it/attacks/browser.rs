//! Web pages that try to drive a server on the reader's machine.

use super::raw::raw;
use super::table::{Outcome, Row, Stand, Table, outcome, row};
use crate::support::{Request, Server};

pub fn tables() -> Vec<Table> {
    let allowed = ("RUNNER_ALLOWED_ORIGINS", "https://app.example.com");
    vec![Table::new(
        "browser",
        move || Stand::with(&[allowed]),
        rows(),
    )]
}

/// Every way in that starts something.
const DOORS: [(&str, &str); 5] = [
    ("POST", "/run"),
    ("POST", "/volume"),
    ("POST", "/mcp"),
    ("GET", "/sse"),
    ("POST", "/messages?session_id=x"),
];

fn rows() -> Vec<Row> {
    let (rebinding, foreign) = ("DNS rebinding", "foreign Origin");
    let (host, origin) = ("403 host_not_allowed", "403 origin_not_allowed");
    let mut rows = Vec::new();
    for door in DOORS {
        rows.extend([
            page(rebinding, host, door, &[("Host", "evil.com")]),
            page(rebinding, host, door, &[("Host", "127.0.0.1.evil.com")]),
            page(
                rebinding,
                host,
                door,
                &[("Host", "evil.com"), ("Origin", "http://evil.com")],
            ),
            page(
                foreign,
                origin,
                door,
                &[("Host", "localhost"), ("Origin", "http://evil.com")],
            ),
            page(
                foreign,
                origin,
                door,
                &[("Host", "localhost"), ("Origin", "null")],
            ),
            page(
                foreign,
                origin,
                door,
                &[
                    ("Host", "localhost"),
                    ("Origin", "http://localhost.evil.com"),
                ],
            ),
            page(
                foreign,
                origin,
                door,
                &[
                    ("Host", "localhost"),
                    ("Origin", "https://app.example.com.evil.com"),
                ],
            ),
        ]);
    }
    rows.extend([
        form(
            "403 origin_not_allowed",
            "/run",
            &[("Origin", "http://evil.com")],
        ),
        form(
            "403 origin_not_allowed",
            "/mcp",
            &[("Origin", "http://evil.com")],
        ),
        // Old browsers send a form without an Origin.
        form("415 unsupported_media_type", "/run", &[]),
        form("415 unsupported_media_type", "/volume", &[]),
        form("415 unsupported_media_type", "/mcp", &[]),
        row("preflight", "403 origin_not_allowed", |server| {
            preflight(server, "http://evil.com")
        }),
        row("preflight", "204 https://app.example.com", |server| {
            preflight(server, "https://app.example.com")
        }),
    ]);
    rows
}

/// A request with these fields instead of a sound Host.
fn page(
    case: &'static str,
    expected: &'static str,
    (method, path): (&str, &str),
    fields: &[(&str, &str)],
) -> Row {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let body = r#"{"image":"alpine","command":"true"}"#;
    let length = body.len();
    row(
        case,
        expected,
        raw(format!(
            "{method} {path} HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )),
    )
}

/// A form that a page posts without a preflight.
fn form(expected: &'static str, path: &'static str, fields: &'static [(&str, &str)]) -> Row {
    row(
        "simple-form CSRF with text/plain",
        expected,
        move |server| {
            let kinds = [
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
            ];
            let outcomes: Vec<Outcome> = kinds
                .into_iter()
                .map(|kind| {
                    let fields = [&[("Content-Type", kind)], fields].concat();
                    let request = Request::new("POST", path).fields(&fields);
                    outcome(&server.ask(&request.body(r#"{"image":"alpine","command":"true"}"#)))
                })
                .collect();
            let first = |outcome: &Outcome| outcome.split(" | ").next().map(str::to_owned);
            assert!(
                outcomes.iter().all(|one| first(one) == first(&outcomes[0])),
                "{outcomes:?}"
            );
            outcomes[0].clone()
        },
    )
}

fn preflight(server: &Server, origin: &str) -> Outcome {
    let fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
    ];
    let answer = server.ask(&Request::new("OPTIONS", "/run").fields(&fields));
    let allowed = answer.header("Access-Control-Allow-Origin");
    match answer.status {
        204 => format!("204 {}", allowed.unwrap_or_default()),
        _ => {
            assert_eq!(allowed, None);
            outcome(&answer)
        }
    }
}
