//! The stream of JSON objects that pulls and imports answer with, read one by one.
use super::call::STALL_TIMEOUT;
use super::error::printable;
use super::response::EngineStream;
use super::{Error, PullProgress, null_as_default};
use serde::Deserialize;
use std::io::Read;

/// Longer than any message of an engine.
const MESSAGE_LIMIT: usize = 1 << 20;
const PIECE: usize = 16 * 1024;

/// Reads messages; one that reports an error ends the stream as `Error::Status`.
pub(super) struct Messages<R = EngineStream> {
    call: &'static str,
    source: R,
    // What has arrived and is not yet a whole message.
    pending: Vec<u8>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(flatten)]
    progress: PullProgress,
    #[serde(default)]
    error: Option<String>,
    #[serde(default, rename = "errorDetail", deserialize_with = "null_as_default")]
    error_detail: ErrorDetail,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    code: Option<u16>,
    message: Option<String>,
}

impl<R: Read> Messages<R> {
    pub(super) fn new(call: &'static str, source: R) -> Self {
        Self {
            call,
            source,
            pending: Vec::new(),
        }
    }

    /// The next message, or None at the end.
    pub(super) fn next(&mut self) -> Result<Option<PullProgress>, Error> {
        loop {
            if let Some(message) = self.take()? {
                return self.judge(message).map(Some);
            }
            if !self.fill()? {
                return match self.pending.trim_ascii() {
                    [] => Ok(None),
                    _ => Err(self.malformed("the answer ends within a message")),
                };
            }
        }
    }

    /// A whole message out of what is pending, if there is one.
    fn take(&mut self) -> Result<Option<Message>, Error> {
        let mut values = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Message>();
        let parsed = values.next();
        let used = values.byte_offset();
        match parsed {
            Some(Ok(message)) => {
                self.pending.drain(..used);
                Ok(Some(message))
            }
            Some(Err(error)) if !error.is_eof() => {
                Err(self.malformed(&format!("not a message: {error}")))
            }
            _ if self.pending.len() > MESSAGE_LIMIT => Err(self.malformed("a message is too long")),
            _ => Ok(None),
        }
    }

    fn fill(&mut self) -> Result<bool, Error> {
        let mut piece = [0; PIECE];
        let count = self
            .source
            .read(&mut piece)
            .map_err(|error| self.broken(&error))?;
        self.pending.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    fn judge(&self, message: Message) -> Result<PullProgress, Error> {
        let detail = message.error_detail;
        match detail.message.or(message.error) {
            None => Ok(message.progress),
            Some(words) => Err(Error::Status {
                call: self.call,
                // The head said 200 before the engine knew.
                status: detail
                    .code
                    .filter(|code| (400..600).contains(code))
                    .unwrap_or(500),
                message: printable(&words),
            }),
        }
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::TimedOut => Error::TimedOut {
                call: self.call,
                timeout_secs: STALL_TIMEOUT.as_secs(),
            },
            _ => self.malformed(&error.to_string()),
        }
    }

    fn malformed(&self, detail: &str) -> Error {
        Error::Malformed {
            call: self.call,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Drip<'a>(&'a [u8], u64);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            (&mut self.0).take(self.1).read(buffer)
        }
    }

    fn read(wire: &[u8], step: u64) -> (Vec<String>, Option<Error>) {
        let mut messages = Messages::new("image_pull", Drip(wire, step));
        let mut seen = Vec::new();
        loop {
            match messages.next() {
                Ok(Some(message)) => seen.push(message.status),
                Ok(None) => return (seen, None),
                Err(error) => return (seen, Some(error)),
            }
        }
    }

    #[test]
    fn messages_are_read_one_by_one_however_they_arrive() {
        let wire = "{\"status\":\"Pulling\",\"id\":\"3\"}\r\n{\"status\":\"é\",\"progressDetail\":{\"current\":1,\"total\":2},\"x\":null}\n{\"status\":\"Done\"}\r\n";
        for step in [1, 2, 7, 1000] {
            let (seen, error) = read(wire.as_bytes(), step);
            assert_eq!(seen, ["Pulling", "é", "Done"]);
            assert_eq!(error, None);
        }
    }

    #[test]
    fn errors_in_the_stream_and_broken_streams_are_reported() {
        let status = |status, message: &str| Error::Status {
            call: "image_pull",
            status,
            message: message.into(),
        };
        let good = "{\"status\":\"ok\"}\r\n";
        let refused =
            "{\"errorDetail\":{\"code\":401,\"message\":\"denied\\nhere\"},\"error\":\"denied\"}";
        let (seen, error) = read(format!("{good}{refused}").as_bytes(), 5);
        assert_eq!((seen.len(), error), (1, Some(status(401, "denied here"))));
        let (_, error) = read(b"{\"error\":\"no space left\"}\n", 5);
        assert_eq!(error, Some(status(500, "no space left")));
        for broken in ["{\"status\":\"cu", "<html>", "[]", "nul"] {
            let (seen, error) = read(format!("{good}{broken}").as_bytes(), 4);
            assert_eq!(seen.len(), 1);
            assert!(
                matches!(error, Some(Error::Malformed { .. })),
                "{broken}: {error:?}"
            );
        }
    }

    #[test]
    fn an_endless_message_is_given_up() {
        let wire = format!("{{\"status\":\"{}", "x".repeat(2 * MESSAGE_LIMIT));
        let (_, error) = read(wire.as_bytes(), 100_000);
        assert!(error.unwrap().to_string().contains("too long"));
    }
}
