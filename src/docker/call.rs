//! One call of the engine before it is sent: method, path, body, timeouts and choice of connection. No I/O.
use super::error::{Error, printable};
use serde::Serialize;
use std::io::{self, Read};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Method, Request};

/// Time limit of an ordinary call, from connecting to the last byte of the response.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time without progress while an archive is sent or received.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Which parts of a call have a time limit.
#[derive(Clone, Copy)]
pub(super) enum Timeouts {
    /// The whole call, from connecting to the last byte of the response.
    Total(Duration),
    /// [`CALL_TIMEOUT`] for each step up to the head of the response; no limit for the body.
    UntilHead,
    /// As [`Timeouts::UntilHead`], and this limit for each read of the body.
    UntilHeadThenPerRead(Duration),
    /// [`CALL_TIMEOUT`] for connecting and for sending; no limit for the response.
    UntilSent,
    /// [`STALL_TIMEOUT`] for each read and each write; no limit for the whole.
    PerReadAndWrite,
}

impl Timeouts {
    /// The limit to report when one of them passes.
    pub(super) fn timeout(self) -> Duration {
        match self {
            Self::Total(timeout) => timeout,
            Self::UntilHead | Self::UntilHeadThenPerRead(_) | Self::UntilSent => CALL_TIMEOUT,
            Self::PerReadAndWrite => STALL_TIMEOUT,
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
            Self::UntilHead => config
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_send_body(limit)
                .timeout_recv_response(limit),
            Self::UntilHeadThenPerRead(read_limit) => config
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_send_body(limit)
                .timeout_recv_response(limit)
                .timeout_per_read(Some(read_limit)),
            Self::UntilSent => config
                .timeout_connect(limit)
                .timeout_send_request(limit)
                .timeout_send_body(limit),
            Self::PerReadAndWrite => config
                .timeout_connect(Some(CALL_TIMEOUT))
                .timeout_per_read(limit)
                .timeout_per_write(limit),
        }
        .build()
    }
}

/// Which connection a call uses.
pub(super) enum Connection {
    /// One from the pool. If the engine has closed it meanwhile, the call is repeated once on a new one; so this is for
    /// idempotent calls.
    Pooled,
    /// A new one; the call is never repeated.
    Fresh,
    /// A new one of this agent, so that shutting the agent down ends this call alone; never repeated.
    Separate(Agent),
}

/// The request's body.
pub(super) enum Payload<'a> {
    None,
    Json(Vec<u8>),
    Tar(TarSource<'a>),
}

/// A reader that keeps its own error, because ureq reports errors of the body and of the connection alike.
pub(super) struct TarSource<'a> {
    inner: &'a mut (dyn Read + Send),
    failure: Option<String>,
}

impl Read for TarSource<'_> {
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

/// One call: what to send, over which connection, with which timeouts.
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
    /// An idempotent call without a body, with [`CALL_TIMEOUT`] in total. `name` is the method's name, as errors and
    /// metrics report it.
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

    /// Appends a query parameter; `value` is percent-encoded.
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

    /// Sets a tar as the body. It can be read only once, so the call is never repeated.
    pub(super) fn tar(mut self, source: &'a mut (dyn Read + Send)) -> Self {
        self.payload = Payload::Tar(TarSource {
            inner: source,
            failure: None,
        });
        self.not_idempotent()
    }

    pub(super) fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Never repeated on a connection failure, because the engine may have acted on it already.
    pub(super) fn not_idempotent(mut self) -> Self {
        self.connection = Connection::Fresh;
        self
    }

    pub(super) fn with_agent(mut self, agent: Agent) -> Self {
        self.connection = Connection::Separate(agent);
        self
    }

    /// Sends the path without the `/v1.41` prefix.
    pub(super) fn unversioned(mut self) -> Self {
        self.versioned = false;
        self
    }

    /// Whether the body can be sent a second time.
    pub(super) fn is_replayable(&self) -> bool {
        !matches!(self.payload, Payload::Tar(_))
    }

    /// Takes the error that reading the tar failed with, if it did.
    pub(super) fn take_source_failure(&mut self) -> Option<String> {
        match &mut self.payload {
            Payload::Tar(source) => source.failure.take(),
            _ => None,
        }
    }
}

/// `{prefix}/{name}{suffix}` with the name percent-encoded. A name with an empty, `.` or `..` segment, which could leave
/// the prefix, is refused as a 400.
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

/// Value of the query parameter `filters` for objects that carry all of `labels`.
pub(super) fn label_filter(labels: &[String]) -> String {
    serde_json::json!({ "label": labels }).to_string()
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3) and `keep`.
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
