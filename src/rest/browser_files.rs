//! Files that pages load from this binary.

use crate::http::{Reply, Request};
use crate::problem::Problem;
use flate2::read::GzDecoder;
use std::io::Read;

/// A file that a page loads.
pub(super) struct BrowserFile {
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) content: Content,
}

/// A file's bytes, as they are in the binary.
pub(super) enum Content {
    Plain(&'static [u8]),
    Gzip(&'static [u8]),
}

pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";

/// Replies with the file of this name; gzip-compressed, as it is stored, if the client accepts that.
pub(super) fn reply(files: &[BrowserFile], name: &str, request: &Request) -> Reply {
    let Some(file) = files.iter().find(|file| file.name == name) else {
        let problem = Problem::new(404, "not_found", "the page has no such file");
        return Reply::problem(&problem);
    };
    let reply = match file.content {
        Content::Plain(bytes) => Reply::bytes(200, file.media_type, bytes.to_vec()),
        Content::Gzip(bytes) if accepts_gzip(request) => {
            Reply::bytes(200, file.media_type, bytes.to_vec())
                .with_header("Content-Encoding", "gzip")
        }
        Content::Gzip(bytes) => match inflate(bytes) {
            Ok(plain) => Reply::bytes(200, file.media_type, plain),
            Err(error) => return Reply::problem(&Problem::new(500, "internal", error.to_string())),
        },
    };
    with_security_headers(reply).with_header("Vary", "Accept-Encoding")
}

pub(super) fn with_security_headers(reply: Reply) -> Reply {
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
