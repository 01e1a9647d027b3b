//! One call of the engine before it is made: method, path, body, and how long it may take. No I/O.
use super::Error;
use super::client::CALL_TIMEOUT;
use super::error::printable;
use serde::Serialize;
use std::io::{self, Read};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Method, Request};

/// How long an archive may stand still.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a call may take.
#[derive(Clone, Copy)]
pub(super) enum Timeouts {
    /// From connecting to the last byte of the answer.
    Total(Duration),
    /// Each step to the head of the answer gets [`CALL_TIMEOUT`]; the body may take for ever.
    Head,
    /// As [`Timeouts::Head`], and no single read may take longer than this.
    Paced(Duration),
    /// Only connecting and sending are bounded.
    Patient,
    /// No single read or write may stand still for longer than [`STALL_TIMEOUT`].
    Stall,
}

impl Timeouts {
    pub(super) fn timeout(self) -> Duration {
        match self {
            Self::Total(timeout) => timeout,
            Self::Head | Self::Paced(_) | Self::Patient => CALL_TIMEOUT,
            Self::Stall => STALL_TIMEOUT,
        }
    }

    pub(super) fn apply<S: ureq::AsSendBody>(
        self,
        agent: &Agent,
        request: Request<S>,
    ) -> Request<S> {
        let limit = Some(self.timeout());
        let config = agent.configure_request(request);
        match self {
            Self::Total(_) => config.timeout_global(limit),
            Self::Head => config
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_send_body(limit)
                .timeout_recv_response(limit),
            Self::Paced(read_limit) => config
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_send_body(limit)
                .timeout_recv_response(limit)
                .timeout_per_read(Some(read_limit)),
            Self::Patient => config
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_send_body(limit),
            Self::Stall => config
                .timeout_connect(Some(CALL_TIMEOUT))
                .timeout_per_read(limit)
                .timeout_per_write(limit),
        }
        .build()
    }
}

pub(super) enum Connection {
    /// One from the pool; should it turn out to be closed, once more on a new one. For calls that may be repeated.
    Pooled,
    /// A new one, and one attempt.
    Fresh,
    Separate(Agent),
}

pub(super) enum Payload<'a> {
    None,
    Json(Vec<u8>),
    Tar(Source<'a>),
}

/// Remembers the source's own error, which ureq would not tell from the connection's.
pub(super) struct Source<'a> {
    inner: &'a mut (dyn Read + Send),
    failure: Option<String>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error.to_string());
                    return Err(error);
                }
                Ok(count) => return Ok(count),
            }
        }
    }
}

/// One call: what to send, over which connection, and how long it may take.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Payload<'a>,
    pub(super) timeouts: Timeouts,
    pub(super) connection: Connection,
    pub(super) versioned: bool,
}

impl<'a> Call<'a> {
    /// A call that may be repeated; `name` is the method's name.
    pub(super) fn new(name: &'static str, method: Method, path: String) -> Self {
        Self {
            name,
            method,
            path,
            query: String::new(),
            headers: Vec::new(),
            payload: Payload::None,
            timeouts: Timeouts::Total(CALL_TIMEOUT),
            connection: Connection::Pooled,
            versioned: true,
        }
    }

    pub(super) fn query(mut self, key: &str, value: &str) -> Self {
        self.query
            .push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(key);
        self.query.push('=');
        self.query.push_str(&encode(value, b""));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn json(mut self, value: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(value).map_err(|error| Error::Source {
            call: self.name,
            detail: error.to_string(),
        })?;
        self.payload = Payload::Json(json);
        Ok(self)
    }

    /// A body that can be read only once.
    pub(super) fn tar(mut self, source: &'a mut (dyn Read + Send)) -> Self {
        self.payload = Payload::Tar(Source {
            inner: source,
            failure: None,
        });
        self.once()
    }

    pub(super) fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Never repeated by itself, because doing it twice is not the same as doing it once.
    pub(super) fn once(mut self) -> Self {
        self.connection = Connection::Fresh;
        self
    }

    pub(super) fn separate(mut self, agent: Agent) -> Self {
        self.connection = Connection::Separate(agent);
        self
    }

    pub(super) fn unversioned(mut self) -> Self {
        self.versioned = false;
        self
    }

    pub(super) fn is_replayable(&self) -> bool {
        !matches!(self.payload, Payload::Tar(_))
    }

    pub(super) fn source_failure(&mut self) -> Option<String> {
        match &mut self.payload {
            Payload::Tar(source) => source.failure.take(),
            _ => None,
        }
    }
}

/// `{prefix}/{name}{suffix}` with the name made safe: dots that would climb out of the prefix are refused here.
pub(super) fn path(
    call: &'static str,
    prefix: &str,
    name: &str,
    suffix: &str,
) -> Result<String, Error> {
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::Status {
            call,
            status: 400,
            message: format!("not a valid name: {:?}", printable(name)),
        });
    }
    Ok(format!("{prefix}/{}{suffix}", encode(name, b"/:@")))
}

/// The value of `filters` that asks for all of `labels`.
pub(super) fn label_filter(labels: &[String]) -> String {
    serde_json::json!({ "label": labels }).to_string()
}

/// Percent-encodes all but unreserved characters and `keep`.
fn encode(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_prefix() {
        let cases = [
            ("alpine", Some("/images/alpine/json")),
            (
                "reg:5000/a/b@sha256:0a",
                Some("/images/reg:5000/a/b@sha256:0a/json"),
            ),
            ("a?b#c d%2e\n", Some("/images/a%3Fb%23c%20d%252e%0A/json")),
            ("é", Some("/images/%C3%A9/json")),
            ("", None),
            ("..", None),
            ("../containers/x", None),
            ("a/./b", None),
            ("a//b", None),
        ];
        for (name, expected) in cases {
            let made = path("image_inspect", "/images", name, "/json");
            assert_eq!(made.ok().as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn query_values_cannot_add_parameters() {
        let call = Call::new("x", Method::GET, "/x".into())
            .query("a", "1&b=2")
            .query("path", "/é +");
        assert_eq!(call.query, "?a=1%26b%3D2&path=%2F%C3%A9%20%2B");
    }
}
