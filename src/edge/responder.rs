//! Where the answer to one request goes, and what every answer to it says: the request id, CORS, `Connection: close`.

use super::client::Client;
use super::head::Head;
use super::relay::Relay;
use super::response_head::{Delimiter, write_head};
use crate::cancel::Cancel;
use crate::problem::{PROBLEM_JSON, Problem};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

const PREFLIGHT_FIELDS: [(&str, &str); 3] = [
    ("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Content-Type, Accept, Authorization, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, \
         Mcp-Method, Mcp-Name, Prefer, Idempotency-Key, X-Request-Id",
    ),
    ("Access-Control-Max-Age", "600"),
];

/// What pages may read of an answer, beside what they always may.
const EXPOSED_FIELDS: &str =
    "Mcp-Session-Id, Location, Preference-Applied, Retry-After, X-Request-Id";

/// The way back to a client.
#[derive(Clone)]
pub(crate) struct Responder {
    client: Arc<Client>,
    /// Fields that every answer carries.
    pub(crate) fields: Vec<(String, String)>,
    /// Whether the request was a HEAD, whose answer has no body.
    pub(crate) is_head: bool,
}

impl Responder {
    /// For a client whose request is still unknown.
    pub(super) fn new(client: &Arc<Client>, id: &str) -> Self {
        Self {
            client: Arc::clone(client),
            fields: vec![("X-Request-Id".into(), id.into())],
            is_head: false,
        }
    }

    /// The request is known now.
    pub(super) fn of_head(mut self, head: &Head) -> Self {
        self.is_head = head.method == "HEAD";
        self
    }

    /// Pages of this origin may read the answer, whatever it is.
    pub(super) fn readable_by(self, origin: &str) -> Self {
        self.with_field("Access-Control-Allow-Origin", origin)
            .with_field("Access-Control-Expose-Headers", EXPOSED_FIELDS)
            .with_field("Vary", "Origin")
    }

    pub(super) fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Answers with a problem, past the inner server.
    pub(crate) fn refuse(&self, problem: &Problem) {
        let body = problem.to_json();
        let mut fields = self.fields.clone();
        fields.push(("Content-Type".into(), PROBLEM_JSON.into()));
        let delimiter = Delimiter::Length(body.len() as u64);
        self.send(
            write_head(problem.status, &fields, delimiter).map(|mut answer| {
                if !self.is_head {
                    answer.extend_from_slice(&body);
                }
                answer
            }),
        );
    }

    /// Answers a preflight.
    pub(super) fn allow(&self) {
        let granted = PREFLIGHT_FIELDS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields = [&self.fields[..], &granted[..]].concat();
        self.send(write_head(204, &fields, Delimiter::NoBody));
    }

    /// Carries what arrives on `answer` to the client until it ends; fires `cancel` when the client leaves before.
    /// Errors: no thread to be had.
    pub(crate) fn relay(
        &self,
        answer: UnixStream,
        cancel: Cancel,
    ) -> io::Result<thread::JoinHandle<()>> {
        Relay::spawn(Arc::clone(&self.client), answer, cancel)
    }

    fn send(&self, answer: io::Result<Vec<u8>>) {
        let sent =
            answer.and_then(|bytes| self.client.begin_answer(&bytes, &mut self.client.pace()));
        if let Err(error) = sent {
            log::debug!("an answer of the edge's own was not taken: {error}");
        }
    }
}
