//! Why a call of the engine failed, with advice in the text.
use super::host::Host;
use super::socket::DialError;
use crate::metrics::ENGINE_ERRORS;
use crate::metrics::Label::{Number, Word};
use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError};
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Why a call of the engine failed. `call` is the name of the [`super::Client`] method, such as `container_create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The engine cannot be reached.
    Unreachable {
        /// method name
        call: &'static str,
        /// reason and advice
        detail: String,
    },
    /// The client is configured so that no call can succeed: PEM files that cannot be read, an API version that is none or that
    /// the engine refuses.
    Misconfigured {
        /// method name
        call: &'static str,
        /// what is wrong, with the name of the variable
        detail: String,
    },
    /// The engine did not answer within the call's timeout.
    TimedOut {
        /// method name
        call: &'static str,
        /// seconds
        timeout_secs: u64,
    },
    /// The engine answered with an error status, or reported an error within a stream.
    Status {
        /// method name
        call: &'static str,
        /// HTTP status
        status: u16,
        /// the engine's `message`
        message: String,
    },
    /// The response was cut or is not what the Engine API specifies.
    Malformed {
        /// method name
        call: &'static str,
        /// what was wrong
        detail: String,
    },
    /// This process could not have the thread or the descriptor that the call needs. Nothing was sent.
    Exhausted {
        /// method name
        call: &'static str,
        /// the system's error
        detail: String,
    },
    /// The caller's side ended the call: the body to be sent could not be read, or the caller cancelled.
    Source {
        /// method name
        call: &'static str,
        /// the source's error
        detail: String,
    },
}

impl Error {
    /// Whether this is a 404 whose message says that the image does not exist (Docker's or Podman's wording).
    pub fn is_no_such_image(&self) -> bool {
        matches!(self, Self::Status { status: 404, message, .. }
            if message.to_ascii_lowercase().contains("no such image"))
    }

    /// Whether the engine says that a container, volume or image named in the call does not exist, or that the container is
    /// being removed. False for a path that does not exist in a container.
    pub fn is_object_gone(&self) -> bool {
        let Self::Status {
            status, message, ..
        } = self
        else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        match status {
            404 => says(&["no such container", "no such volume", "no such image"]),
            409 => says(&["marked for removal", "is already in progress"]),
            // From an archive call that waited for the removal of its container.
            500 => says(&["no such container", "rwlayer of container"]),
            _ => false,
        }
    }

    /// Whether the engine says of an archive call that the path does not exist in the container. It answers 500 instead of 404 if
    /// a parent of the path is a file.
    pub(super) fn is_about_path(&self) -> bool {
        match self {
            Self::Status { status: 404, .. } => !self.is_object_gone(),
            Self::Status { message, .. } => message.ends_with(": not a directory"),
            _ => false,
        }
    }

    /// Counts the failure in the metrics, expected ones included, such as the 404 for an image that is then pulled.
    pub(super) fn count(&self) {
        let (call, kind) = match self {
            Self::Unreachable { call, .. } => (call, Word("unreachable")),
            Self::Misconfigured { call, .. } => (call, Word("misconfigured")),
            Self::TimedOut { call, .. } => (call, Word("timeout")),
            Self::Status { call, status, .. } => (call, Number(*status)),
            Self::Malformed { call, .. } => (call, Word("malformed")),
            Self::Exhausted { call, .. } => (call, Word("exhausted")),
            Self::Source { call, .. } => (call, Word("source")),
        };
        ENGINE_ERRORS.add([Word(call), kind]);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { call, detail } => {
                write!(f, "{call}: the Docker engine cannot be reached: {detail}")
            }
            Self::Misconfigured { detail, .. } => f.write_str(detail),
            Self::TimedOut { call, timeout_secs } => {
                write!(
                    f,
                    "{call}: the Docker engine did not answer within {timeout_secs} s"
                )
            }
            Self::Status {
                call,
                status,
                message,
            } => {
                write!(f, "{call}: the Docker engine answered {status}: {message}")
            }
            Self::Malformed { call, detail } => {
                write!(
                    f,
                    "{call}: the Docker engine's answer cannot be understood: {detail}"
                )
            }
            Self::Exhausted { call, detail } => {
                write!(f, "{call}: no thread or descriptor: {detail}")
            }
            Self::Source { call, detail } => write!(f, "{call}: ended on our side: {detail}"),
        }
    }
}

impl std::error::Error for Error {}

/// What an error reports besides its cause.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) call: &'static str,
    pub(super) host: &'a Host,
    pub(super) timeout: Duration,
}

impl Context<'_> {
    pub(super) fn unreachable(self, detail: impl Into<String>) -> Error {
        Error::Unreachable {
            call: self.call,
            detail: detail.into(),
        }
    }

    pub(super) fn malformed(self, detail: impl Into<String>) -> Error {
        Error::Malformed {
            call: self.call,
            detail: detail.into(),
        }
    }

    fn timed_out(self) -> Error {
        let whole = self.timeout.as_secs();
        Error::TimedOut {
            call: self.call,
            timeout_secs: whole + u64::from(self.timeout.subsec_nanos() > 0),
        }
    }

    /// The error for a call that got no response.
    pub(super) fn no_response(self, error: ureq::Error) -> Error {
        if let Some(error) = dial_error(&error) {
            return self.dial_failed(error);
        }
        match error {
            ureq::Error::Timeout(_) => self.timed_out(),
            ureq::Error::Io(error) => self.connection_broke(&error),
            ureq::Error::Protocol(_)
            | ureq::Error::Http(_)
            | ureq::Error::LargeResponseHeader(..) => self.malformed(format!(
                "not HTTP ({error}); does the engine at {} speak TLS?",
                self.host
            )),
            other => self.malformed(other.to_string()),
        }
    }

    /// The error for a response whose body broke off.
    pub(super) fn body_failed(self, error: io::Error) -> Error {
        match ureq::Error::from(error) {
            ureq::Error::Timeout(_) => self.timed_out(),
            ureq::Error::Io(error) if is_disconnect(error.kind()) => self.unreachable(format!(
                "{} closed the connection in the middle of an answer",
                self.host
            )),
            error => self.malformed(format!("the answer was cut: {error}")),
        }
    }

    /// The error for a connection that could not be opened.
    pub(super) fn dial_failed(self, error: &DialError) -> Error {
        let host = self.host;
        if let DialError::Resolve(error) | DialError::Connect(error) = error
            && is_our_shortage(error)
        {
            return Error::Exhausted {
                call: self.call,
                detail: error.to_string(),
            };
        }
        self.unreachable(match error {
            DialError::Resolve(error) => {
                format!("the host name in {host} cannot be resolved ({error}): check DOCKER_HOST")
            }
            DialError::Connect(error) => connect_advice(host, error),
            DialError::Tls(error) => tls_advice(host, error),
        })
    }

    /// The error for a connection that broke before the response.
    pub(super) fn connection_broke(self, error: &io::Error) -> Error {
        let host = self.host;
        if error.kind() == ErrorKind::TimedOut {
            self.timed_out()
        } else if tls_error(error).is_some() {
            self.unreachable(tls_advice(host, error))
        } else if is_disconnect(error.kind()) {
            let hint = match host {
                Host::Tls { .. } => "; does it want another client certificate?",
                Host::Unix(_) | Host::Tcp { .. } => "",
            };
            self.unreachable(format!(
                "{host} closed the connection without an answer{hint}"
            ))
        } else {
            self.unreachable(format!("{host}: {error}"))
        }
    }
}

/// The connector's own error, if connecting is what failed.
fn dial_error(error: &ureq::Error) -> Option<&DialError> {
    match error {
        ureq::Error::Other(inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// Whether the peer closed the connection. On a pooled connection it may have done so before this call.
pub(super) fn is_disconnect(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
    )
}

fn connect_advice(host: &Host, error: &io::Error) -> String {
    let unix = matches!(host, Host::Unix(_));
    match error.kind() {
        ErrorKind::NotFound if unix => {
            format!("{host} does not exist: is the engine running? DOCKER_HOST says where to look")
        }
        ErrorKind::PermissionDenied if unix => {
            format!("permission denied on {host}: is this user in the docker group?")
        }
        ErrorKind::ConnectionRefused => {
            format!("nothing listens on {host}: is the engine running, and is DOCKER_HOST right?")
        }
        ErrorKind::TimedOut => {
            format!(
                "{host} does not accept connections in time: does the engine hang, or a firewall drop them?"
            )
        }
        _ => format!("{host}: {error}: check DOCKER_HOST"),
    }
}

/// Whether this process lacks a descriptor or a thread, which says nothing about the engine.
fn is_our_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        code,
        Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM)
    )
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls_advice(host: &Host, error: &io::Error) -> String {
    let Some(tls) = tls_error(error) else {
        let what = match error.kind() {
            ErrorKind::TimedOut => "does not answer the TLS handshake".to_owned(),
            _ => format!("broke off the TLS handshake ({error})"),
        };
        return format!("{host} {what}: does the engine speak TLS on this port?");
    };
    match tls {
        rustls::Error::InvalidCertificate(reason) => certificate_advice(host, reason),
        rustls::Error::InvalidMessage(_) => format!(
            "{host} does not speak TLS ({tls}): use the engine's TLS port, or unset DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
        ),
        rustls::Error::AlertReceived(alert) if is_about_our_certificate(*alert) => format!(
            "{host} refuses our client certificate ({tls}): DOCKER_CERT_PATH must hold a cert.pem and key.pem signed by the engine's CA"
        ),
        other => format!("TLS with {host} failed: {other}"),
    }
}

fn certificate_advice(host: &Host, reason: &CertificateError) -> String {
    use CertificateError::{BadSignature, NotValidForName, NotValidForNameContext, UnknownIssuer};
    match reason {
        UnknownIssuer | BadSignature => {
            format!(
                "the certificate of {host} is not signed by the ca.pem in DOCKER_CERT_PATH ({reason})"
            )
        }
        NotValidForName | NotValidForNameContext { .. } => {
            format!("the certificate of {host} is for another host ({reason}): check DOCKER_HOST")
        }
        _ => format!("the certificate of {host} is not valid: {reason}"),
    }
}

fn is_about_our_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied
            | Alert::HandshakeFailure
    )
}

const PRINTABLE_LIMIT: usize = 2000;

/// Makes foreign text safe for a log line or an error: one line, no control characters, at most [`PRINTABLE_LIMIT`]
/// characters.
pub(super) fn printable(words: &str) -> String {
    let one_line = words.split(|letter: char| letter.is_control() || letter.is_whitespace());
    let mut text = String::new();
    for word in one_line.filter(|word| !word.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        if text.len() > PRINTABLE_LIMIT {
            return text
                .chars()
                .take(PRINTABLE_LIMIT)
                .chain("…".chars())
                .collect();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_gives_one_bounded_line() {
        assert_eq!(printable("a\r\n\x1b[31mb\u{85} \tc"), "a [31mb c");
        assert_eq!(printable("\0"), "");
        let flood = printable(&"é".repeat(100_000));
        assert_eq!(flood.chars().count(), PRINTABLE_LIMIT + 1);
    }

    #[test]
    fn a_missing_object_is_distinguished_from_a_missing_path() {
        let status = |status, message: &str| Error::Status {
            call: "archive_get",
            status,
            message: message.into(),
        };
        for (code, message, is_gone) in [
            (404, "No such container: abc", true),
            (
                404,
                "no container with name or ID \"abc\" found: no such container",
                true,
            ),
            (404, "get abc: no such volume", true),
            (404, "No such image: sha256:abc", true),
            (
                409,
                "container is marked for removal and cannot be started",
                true,
            ),
            (409, "removal of container abc is already in progress", true),
            (500, "RWLayer of container abc is unexpectedly nil", true),
            (404, "Could not find the file /x in container abc", false),
            (409, "Container abc is not running", false),
            (500, "lstat /x: not a directory", false),
        ] {
            assert_eq!(status(code, message).is_object_gone(), is_gone, "{message}");
        }
    }

    #[test]
    fn connection_errors_carry_advice() {
        let unix = Host::Unix("/run/d.sock".into());
        let tcp = Host::Tcp {
            authority: "h:1".into(),
        };
        let cases = [
            (&unix, ErrorKind::NotFound, "is the engine running"),
            (&unix, ErrorKind::PermissionDenied, "docker group"),
            (&unix, ErrorKind::ConnectionRefused, "is the engine running"),
            (&tcp, ErrorKind::ConnectionRefused, "DOCKER_HOST"),
            (&tcp, ErrorKind::TimedOut, "firewall"),
            (&tcp, ErrorKind::HostUnreachable, "DOCKER_HOST"),
        ];
        let context = Context {
            call: "version",
            host: &unix,
            timeout: Duration::from_secs(1),
        };
        for errno in [Errno::MFILE, Errno::NFILE] {
            let error = context.dial_failed(&DialError::Connect(errno.into()));
            assert!(matches!(error, Error::Exhausted { .. }), "{error}");
        }
        for (host, kind, words) in cases {
            let context = Context {
                call: "version",
                host,
                timeout: Duration::from_millis(1500),
            };
            let text = context
                .dial_failed(&DialError::Connect(kind.into()))
                .to_string();
            assert!(
                text.starts_with("version: ") && text.contains(words),
                "{text}"
            );
            assert_eq!(
                context.connection_broke(&ErrorKind::TimedOut.into()),
                Error::TimedOut {
                    call: "version",
                    timeout_secs: 2
                }
            );
        }
    }
}
