//! Reading answers, and what tests look at in them.

use super::http::{Answer, Request};
use serde_json::Value;
use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The status, `code` and `detail` of a problem (RFC 9457).
    pub fn problem(&self) -> (u16, String, String) {
        let problem = self.json();
        let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("detail"))
    }
}

/// Reads an answer to its end, without its chunks; `None` if the connection broke before a whole head came.
pub fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let mut answer = Answer::parse(bytes)?;
    if answer.header("Transfer-Encoding").as_deref() == Some("chunked") {
        answer.body = unchunked(&answer.body);
    }
    Some(answer)
}

/// As [`read_answer`], and `None` too if the body is cut. Fails if nothing comes for as long as the client waits, and then says
/// whether the server stands still, or has no slot for the run.
pub fn read_whole_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let is_late = error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!is_late, "no answer; {}", what_it_does(stream));
        return None;
    }
    let mut answer = Answer::parse(bytes)?;
    if let Some(length) = answer.header("Content-Length") {
        return (length == answer.body.len().to_string()).then_some(answer);
    }
    if answer.header("Transfer-Encoding").as_deref() == Some("chunked") {
        if !answer.body.ends_with(b"0\r\n\r\n") {
            return None;
        }
        answer.body = unchunked(&answer.body);
    }
    Some(answer)
}

/// How fast the server at the other end answers now, and what it is busy with.
fn what_it_does(stream: &TcpStream) -> String {
    let address = stream.peer_addr().unwrap().to_string();
    let begun = Instant::now();
    let ask = |path| {
        let request = Request::new("GET", path);
        read_answer(&mut request.send(&address).ok()?)
    };
    let status = ask("/health").map(|answer| answer.status);
    let took = begun.elapsed();
    let metrics = ask("/metrics");
    let lines = metrics.iter().flat_map(|metrics| metrics.text().lines());
    let is_wanted = |line: &&str| {
        ["oneoff_slots", "oneoff_queue"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let busy: Vec<&str> = lines.filter(is_wanted).collect();
    format!("/health: {status:?} after {took:?}; {busy:?}")
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size =
            usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap().trim(), 16).unwrap();
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[(end + 4 + size).min(bytes.len())..];
        if size == 0 {
            break;
        }
    }
    body
}
