//! What the engine answered: judged by its status, read with limits, decoded.
use super::error::{Context, printable};
use super::{Error, Host};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read};
use std::time::Duration;
use ureq::http::response::Parts;
use ureq::http::{StatusCode, header};
use ureq::{Body, BodyReader};

const ANSWER_LIMIT: u64 = 64 << 20;
const ERROR_LIMIT: u64 = 64 << 10;
/// What Go's HTTP server says to a client that speaks no TLS.
const PLAIN_TO_TLS: &str = "Client sent an HTTP request to an HTTPS server";

/// An answer whose head has arrived.
pub(super) struct Response {
    pub(super) call: &'static str,
    pub(super) host: Host,
    pub(super) timeout: Duration,
    pub(super) parts: Parts,
    pub(super) body: Body,
}

impl Response {
    fn context(&self) -> Context<'_> {
        Context {
            call: self.call,
            host: &self.host,
            timeout: self.timeout,
        }
    }

    /// Ok for 2xx, and for 304 ("it is so already").
    pub(super) fn checked(mut self) -> Result<Self, Error> {
        let status = self.parts.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        // The status alone is worth reporting, should its explanation be cut.
        let mut body = Vec::new();
        let _ = self
            .body
            .as_reader()
            .take(ERROR_LIMIT)
            .read_to_end(&mut body);
        let content_type = self
            .header(header::CONTENT_TYPE.as_str())
            .unwrap_or_default();
        Err(refusal(
            self.context(),
            status.as_u16(),
            content_type,
            &body,
        ))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Reads the whole body, which frees the connection for the next call.
    pub(super) fn bytes(mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let outcome = self
            .body
            .as_reader()
            .take(ANSWER_LIMIT + 1)
            .read_to_end(&mut body);
        let failed = match outcome {
            Err(error) => self.context().body_failed(error),
            Ok(_) if body.len() as u64 > ANSWER_LIMIT => {
                self.context().malformed("the answer is too long")
            }
            Ok(_) => return Ok(body),
        };
        failed.count();
        Err(failed)
    }

    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let content_type = printable(self.header(header::CONTENT_TYPE.as_str()).unwrap_or("none"));
        let (call, host, timeout) = (self.call, self.host.clone(), self.timeout);
        let body = self.bytes()?;
        serde_json::from_slice(&body).map_err(|error| {
            let context = Context {
                call,
                host: &host,
                timeout,
            };
            let malformed = context.malformed(format!(
                "not the JSON expected ({error}; content type {content_type})"
            ));
            malformed.count();
            malformed
        })
    }

    /// For answers without content.
    pub(super) fn done(self) -> Result<(), Error> {
        self.bytes().map(drop)
    }

    /// The body as it arrives; dropping the stream before its end closes the connection.
    pub(super) fn stream(self) -> EngineStream {
        EngineStream(self.body.into_reader())
    }
}

/// A streamed body, whose errors are fit to be shown. A stall is `TimedOut`.
pub(super) struct EngineStream(BodyReader<'static>);

impl Read for EngineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(error)),
                outcome => return outcome,
            }
        }
    }
}

fn explain(error: io::Error) -> io::Error {
    match ureq::Error::from(error) {
        ureq::Error::Timeout(_) => io::Error::new(ErrorKind::TimedOut, "the engine stands still"),
        ureq::Error::Io(error) => io::Error::new(
            error.kind(),
            format!("the engine's answer was cut: {error}"),
        ),
        other => io::Error::new(
            ErrorKind::InvalidData,
            format!("the engine's answer was cut: {other}"),
        ),
    }
}

#[derive(Deserialize)]
struct EngineMessage {
    message: String,
}

/// An error status, with the engine's own words where the body holds them.
pub(super) fn refusal(context: Context<'_>, status: u16, content_type: &str, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    if status == 400 && text.contains(PLAIN_TO_TLS) {
        return context.unreachable(format!(
            "{} speaks TLS: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
            context.host
        ));
    }
    let message = match serde_json::from_slice::<EngineMessage>(body) {
        Ok(answer) => printable(&answer.message),
        Err(_) if content_type.starts_with("text/plain") || body.is_empty() => printable(&text),
        Err(_) => format!(
            "not the engine's own words, so perhaps a proxy's ({}): {}",
            printable(content_type),
            printable(&text).chars().take(200).collect::<String>()
        ),
    };
    Error::Status {
        call: context.call,
        status,
        message,
    }
}

/// For removals: what is not there needs no removing.
pub(super) fn ignore_not_found(outcome: Result<Response, Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Status { status: 404, .. }) => Ok(()),
        other => other?.done(),
    }
}
