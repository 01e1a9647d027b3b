//! `/docs`: Swagger UI for `/openapi.json`. All files are in this binary, and the page's Content-Security-Policy forbids
//! loading any other.

use crate::http::{Reply, Request};
use crate::problem::Problem;
use flate2::read::GzDecoder;
use std::io::Read;

const PAGE: &str = include_str!("page.html");

/// Allows what the page and Swagger UI need, from this origin only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file that the page loads.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: Content,
}

enum Content {
    Plain(&'static [u8]),
    Gzip(&'static [u8]),
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: &[Asset] = &[
    Asset {
        name: "swagger-ui-bundle.js",
        media_type: JAVASCRIPT,
        content: Content::Gzip(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui-bundle.js.gz"
        ))),
    },
    Asset {
        name: "swagger-ui.css",
        media_type: "text/css; charset=utf-8",
        content: Content::Gzip(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui.css.gz"
        ))),
    },
    Asset {
        name: "start.js",
        media_type: JAVASCRIPT,
        content: Content::Plain(include_bytes!("start.js")),
    },
];

/// The page. Its links are relative, so that they work behind a proxy that adds a path prefix.
pub fn get(request: &Request) -> Reply {
    let page = match request.ends_in_slash {
        false => PAGE.to_owned(),
        true => PAGE
            .replace("=\"docs/", "=\"")
            .replace("=\"openapi.json", "=\"../openapi.json"),
    };
    let page = Reply::bytes(200, "text/html; charset=utf-8", page.into_bytes());
    with_security_headers(page).with_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
}

/// `GET /`: redirects to the page, because a request without a path comes from a browser.
pub fn redirect(request: &Request) -> Reply {
    let location = match request.path_prefix() {
        prefix if prefix.is_empty() => "docs".to_owned(),
        prefix => format!("{prefix}/docs"),
    };
    Reply::empty(307).with_header("Location", location)
}

/// `GET /docs/{name}`: a file that the page loads; gzip-compressed, as it is stored, if the client accepts that.
pub fn asset(name: &str, request: &Request) -> Reply {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        let problem = Problem::new(404, "not_found", "the page has no such file");
        return Reply::problem(&problem);
    };
    let reply = match asset.content {
        Content::Plain(bytes) => Reply::bytes(200, asset.media_type, bytes.to_vec()),
        Content::Gzip(bytes) if accepts_gzip(request) => {
            Reply::bytes(200, asset.media_type, bytes.to_vec())
                .with_header("Content-Encoding", "gzip")
        }
        Content::Gzip(bytes) => match inflate(bytes) {
            Ok(plain) => Reply::bytes(200, asset.media_type, plain),
            Err(error) => return Reply::problem(&Problem::new(500, "internal", error.to_string())),
        },
    };
    with_security_headers(reply)
        .with_header("Vary", "Accept-Encoding")
        .with_header("Cache-Control", "max-age=600")
}

fn with_security_headers(reply: Reply) -> Reply {
    reply
        .with_header("X-Content-Type-Options", "nosniff")
        .with_header("Referrer-Policy", "no-referrer")
}

/// Whether `Accept-Encoding` has `gzip`, or else `*`, with a weight above zero (RFC 9110 §12.5.3).
fn accepts_gzip(request: &Request) -> bool {
    let accepted = request.header("accept-encoding").unwrap_or_default();
    let weight_of = |wanted: &str| {
        accepted.split(',').find_map(|item| {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters.trim().strip_prefix("q=").unwrap_or("1");
            let is_wanted = coding.trim().eq_ignore_ascii_case(wanted);
            is_wanted.then(|| weight.parse::<f32>().unwrap_or(0.0))
        })
    };
    weight_of("gzip").or_else(|| weight_of("*")).unwrap_or(0.0) > 0.0
}

fn inflate(gzip: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut plain)?;
    Ok(plain)
}
