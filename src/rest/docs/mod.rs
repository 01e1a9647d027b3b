//! `/docs`: Swagger UI for `/openapi.json`. All files are in this binary, and the page's Content-Security-Policy forbids
//! loading any other.

use super::browser_files::{self, BrowserFile, CSS, Content, JAVASCRIPT, with_security_headers};
use crate::http::{Reply, Request};

const PAGE: &str = include_str!("page.html");

/// Allows what the page and Swagger UI need, from this origin only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: &[BrowserFile] = &[
    BrowserFile {
        name: "swagger-ui-bundle.js",
        media_type: JAVASCRIPT,
        content: Content::Gzip(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui-bundle.js.gz"
        ))),
    },
    BrowserFile {
        name: "swagger-ui.css",
        media_type: CSS,
        content: Content::Gzip(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui.css.gz"
        ))),
    },
    BrowserFile {
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

/// `GET /docs/{name}`: a file that the page loads.
pub fn asset(name: &str, request: &Request) -> Reply {
    browser_files::reply(FILES, name, request).with_header("Cache-Control", "max-age=600")
}
