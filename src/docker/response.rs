//! One HTTP response of the engine: status check, size limits, JSON decoding, streaming.
use super::error::{Context, Error, printable};
use super::host::Host;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read};
use std::time::Duration;
use ureq::http::response::Parts;
use ureq::http::{StatusCode, header};
use ureq::{Body, BodyReader};

/// Most bytes of a response that is read whole.
const BODY_LIMIT: u64 = 64 << 20;
/// Most bytes of an error response that are read.
const ERROR_BODY_LIMIT: u64 = 64 << 10;
/// Body of the 400 that Go's HTTPS server sends to a client that speaks plain HTTP.
const PLAIN_TO_TLS: &str = "Client sent an HTTP request to an HTTPS server";

/// A response whose head has arrived; the body is still on the connection.
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

    /// Ok for 2xx and for 304, which the engine sends when there is nothing to change. Any other status is
    /// [`Error::Status`] with the engine's message.
    pub(super) fn error_for_status(mut self) -> Result<Self, Error> {
        let status = self.parts.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        let mut body = Vec::new();
        // If the body breaks off, the status is reported with what arrived.
        let _ = self
            .body
            .as_reader()
            .take(ERROR_BODY_LIMIT)
            .read_to_end(&mut body);
        let content_type = self
            .header(header::CONTENT_TYPE.as_str())
            .unwrap_or_default();
        Err(status_error(
            self.context(),
            status.as_u16(),
            content_type,
            &body,
        ))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Reads the whole body as JSON, which returns the connection to the pool.
    pub(super) fn json<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let body = self.read_body()?;
        serde_json::from_slice(&body).map_err(|error| {
            let content_type =
                printable(self.header(header::CONTENT_TYPE.as_str()).unwrap_or("none"));
            let malformed = self.context().malformed(format!(
                "not the JSON expected ({error}; content type {content_type})"
            ));
            malformed.count();
            malformed
        })
    }

    /// Reads and drops the body, which returns the connection to the pool.
    pub(super) fn discard_body(mut self) -> Result<(), Error> {
        self.read_body().map(drop)
    }

    fn read_body(&mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let outcome = self
            .body
            .as_reader()
            .take(BODY_LIMIT + 1)
            .read_to_end(&mut body);
        let error = match outcome {
            Err(error) => self.context().body_failed(error),
            Ok(_) if body.len() as u64 > BODY_LIMIT => {
                self.context().malformed("the answer is too long")
            }
            Ok(_) => return Ok(body),
        };
        error.count();
        Err(error)
    }

    /// The body as it arrives. Dropping the stream before its end closes the connection.
    pub(super) fn into_stream(self) -> BodyStream {
        BodyStream(self.body.into_reader())
    }
}

/// A streamed body. Its errors have texts that can be shown to a caller; a read timeout is `TimedOut`.
pub(super) struct BodyStream(BodyReader<'static>);

impl Read for BodyStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(stream_error(error)),
                outcome => return outcome,
            }
        }
    }
}

fn stream_error(error: io::Error) -> io::Error {
    match ureq::Error::from(error) {
        ureq::Error::Timeout(_) => {
            io::Error::new(ErrorKind::TimedOut, "the engine does not answer")
        }
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

/// `ErrorResponse` of the Engine API.
#[derive(Deserialize)]
struct ErrorResponse {
    message: String,
}

/// The [`Error`] for a response with an error status: with the engine's `message` if the body is its JSON or plain
/// text, else with the start of the body, which probably comes from a proxy.
pub(super) fn status_error(
    context: Context<'_>,
    status: u16,
    content_type: &str,
    body: &[u8],
) -> Error {
    let text = String::from_utf8_lossy(body);
    if status == 400 && text.contains(PLAIN_TO_TLS) {
        return context.unreachable(format!(
            "{} speaks TLS: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
            context.host
        ));
    }
    let message = match error_message(body) {
        Some(message) => printable(&message),
        None if body.is_empty() => "it gave no reason".into(),
        None if content_type.starts_with("text/plain") => printable(&text),
        None => format!(
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

/// The `message` of the engine's JSON. An error may quote what was sent, so that it is longer than what is read of it; then the
/// start of the message. `None`: not the engine's JSON.
fn error_message(body: &[u8]) -> Option<String> {
    const LONGEST_ESCAPE: usize = 12;
    if let Ok(response) = serde_json::from_slice::<ErrorResponse>(body) {
        return Some(response.message);
    }
    if !body.starts_with(b"{\"message\":\"") || (body.len() as u64) < ERROR_BODY_LIMIT {
        return None;
    }
    // The cut may be within a character or an escape.
    (0..=LONGEST_ESCAPE).find_map(|dropped| {
        let kept = [&body[..body.len() - dropped], b"\"}"].concat();
        let response = serde_json::from_slice::<ErrorResponse>(&kept);
        response.ok().map(|response| response.message)
    })
}

/// Turns a 404 into Ok, for removals: the object is gone either way.
pub(super) fn ignore_not_found(outcome: Result<Response, Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Status { status: 404, .. }) => Ok(()),
        other => other?.discard_body(),
    }
}
