//! `/`: a page that shows what goes on, and from which containers are run. It is written in plain HTML, CSS and JavaScript
//! modules, which are served as they are; everything that it shows comes from the API.

use super::browser_files::{self, BrowserFile, CSS, Content, JAVASCRIPT, with_security_headers};
use crate::http::{Reply, Request};

const PAGE: &str = include_str!("index.html");

/// Allows the page's own files and this API, and nothing else. `blob:` is for the preview of pictures that a run left.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of this directory, as `build.rs` has compressed it.
macro_rules! file {
    ($name:literal, $media_type:expr) => {
        BrowserFile {
            name: $name,
            media_type: $media_type,
            content: Content::Gzip(include_bytes!(concat!(
                env!("OUT_DIR"),
                "/page/",
                $name,
                ".gz"
            ))),
        }
    };
}

const FILES: &[BrowserFile] = &[
    file!("page.css", CSS),
    file!("main.js", JAVASCRIPT),
    file!("api.js", JAVASCRIPT),
    file!("dom.js", JAVASCRIPT),
    file!("now.js", JAVASCRIPT),
    file!("list.js", JAVASCRIPT),
    file!("run.js", JAVASCRIPT),
    file!("output.js", JAVASCRIPT),
    file!("form.js", JAVASCRIPT),
    file!("tar.js", JAVASCRIPT),
];

/// The page. Its links are relative, unless a proxy publishes this server below a path: that may lack its last slash.
pub fn get(request: &Request) -> Reply {
    let page = match request.path_prefix() {
        prefix if prefix.is_empty() => PAGE.to_owned(),
        prefix => PAGE
            .replace("=\"page/", &format!("=\"{prefix}/page/"))
            .replace("href=\"docs\"", &format!("href=\"{prefix}/docs\"")),
    };
    let page = Reply::bytes(200, "text/html; charset=utf-8", page.into_bytes());
    with_security_headers(page)
        .with_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        .with_header("Cache-Control", "no-cache")
        .with_header("Vary", "X-Forwarded-Prefix")
}

/// `GET /page/{name}`: a file that the page loads.
pub fn file(name: &str, request: &Request) -> Reply {
    // The modules belong together, and their addresses are the same in every version.
    browser_files::reply(FILES, name, request).with_header("Cache-Control", "no-cache")
}

/// The names of those files.
pub fn file_names() -> Vec<&'static str> {
    FILES.iter().map(|file| file.name).collect()
}
