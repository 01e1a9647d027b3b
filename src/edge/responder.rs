//! Sends the response to one request, either the edge's own or the inner server's, and knows the fields that every response
//! to this request has: the request id and those of CORS.

use super::client::Client;
use super::config::CorsPolicy;
use super::head::Head;
use super::relay::Relay;
use super::response_head::{Delimiter, write_head};
use crate::cancel::Cancel;
use crate::problem::{PROBLEM_JSON, Problem};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

/// Sends the response to one request.
#[derive(Clone)]
pub(crate) struct Responder {
    client: Arc<Client>,
    /// Header fields that every response to this request has.
    pub(crate) fields: Vec<(String, String)>,
    /// Whether the request is a HEAD, whose response has no body.
    pub(crate) is_head: bool,
}

impl Responder {
    /// For a client whose request head is still unread.
    pub(super) fn new(client: &Arc<Client>, request_id: &str) -> Self {
        Self {
            client: Arc::clone(client),
            fields: vec![("X-Request-Id".into(), request_id.into())],
            is_head: false,
        }
    }

    /// The same, for the request with this head.
    pub(super) fn for_request(mut self, head: &Head) -> Self {
        self.is_head = head.method == "HEAD";
        self
    }

    /// Adds the fields that let pages of this origin read the response, whatever its status.
    pub(super) fn with_cors(self, origin: &str, cors: &CorsPolicy) -> Self {
        self.with_field("Access-Control-Allow-Origin", origin)
            .with_field("Access-Control-Expose-Headers", cors.response_fields)
            .with_field("Vary", "Origin")
    }

    /// Adds a field to every response.
    pub(crate) fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Responds with a problem, without the inner server. Has no effect if a response was begun.
    pub(crate) fn send_problem(&self, problem: &Problem) {
        let body = problem.to_json();
        let mut fields = self.fields.clone();
        fields.push(("Content-Type".into(), PROBLEM_JSON.into()));
        let delimiter = Delimiter::Length(body.len() as u64);
        self.send(
            write_head(problem.status, &fields, delimiter).map(|mut response| {
                if !self.is_head {
                    response.extend_from_slice(&body);
                }
                response
            }),
        );
    }

    /// Answers a preflight: the page may send its request.
    pub(super) fn allow_preflight(&self, cors: &CorsPolicy) {
        let granted = [
            ("Access-Control-Allow-Methods", cors.methods.to_owned()),
            (
                "Access-Control-Allow-Headers",
                cors.request_fields.to_owned(),
            ),
            ("Access-Control-Max-Age", cors.max_age_secs.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let fields = [&self.fields[..], &granted[..]].concat();
        self.send(write_head(204, &fields, Delimiter::NoBody));
    }

    /// Starts a thread that copies the inner server's response to the client, and that fires `cancel` if the client leaves
    /// before its end. Errors: no thread.
    pub(crate) fn relay(
        &self,
        response: UnixStream,
        cancel: Cancel,
    ) -> io::Result<thread::JoinHandle<()>> {
        Relay::spawn(Arc::clone(&self.client), response, cancel)
    }

    fn send(&self, response: io::Result<Vec<u8>>) {
        let mut rate = self.client.minimum_rate();
        let sent = response.and_then(|bytes| self.client.begin_response(&bytes, &mut rate));
        if let Err(error) = sent {
            log::debug!("an answer of the edge's own was not taken: {error}");
        }
    }
}
