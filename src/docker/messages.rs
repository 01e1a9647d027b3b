//! Reads the JSON messages that `POST /images/create` streams (moby's `jsonmessage`).
use super::call::STALL_TIMEOUT;
use super::error::{Error, printable};
use super::response::BodyStream;
use super::types::{PullProgress, null_as_default};
use serde::Deserialize;
use std::io::Read;

/// Longest message, in bytes; far longer than any that an engine sends.
const MESSAGE_LIMIT: usize = 1 << 20;
const PIECE: usize = 16 * 1024;

/// Reads messages one by one. A message that reports an error ends the stream with [`Error::Status`].
pub(super) struct Messages<R = BodyStream> {
    call: &'static str,
    source: R,
    // Bytes that have arrived and are not yet a complete message.
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

    /// Blocks for the next message; None at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<PullProgress>, Error> {
        loop {
            if let Some(message) = self.take_pending()? {
                return self.progress_or_error(message).map(Some);
            }
            if !self.fill()? {
                return match self.pending.trim_ascii() {
                    [] => Ok(None),
                    _ => Err(self.malformed("the answer ends within a message")),
                };
            }
        }
    }

    /// Takes the first message from `pending`, if it is complete.
    fn take_pending(&mut self) -> Result<Option<Message>, Error> {
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

    /// Reads more bytes; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, Error> {
        let mut piece = [0; PIECE];
        let count = self
            .source
            .read(&mut piece)
            .map_err(|error| self.read_error(&error))?;
        self.pending.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    fn progress_or_error(&self, message: Message) -> Result<PullProgress, Error> {
        let detail = message.error_detail;
        match detail.message.or(message.error) {
            None => Ok(message.progress),
            Some(text) => Err(Error::Status {
                call: self.call,
                // The response's own status is 200, sent before the error happened.
                status: detail
                    .code
                    .filter(|code| (400..600).contains(code))
                    .unwrap_or(500),
                message: printable(&text),
            }),
        }
    }

    fn read_error(&self, error: &std::io::Error) -> Error {
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

    /// Yields at most a given number of bytes per read.
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
    fn messages_are_split_correctly_for_any_read_size() {
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
    fn a_message_over_the_limit_is_an_error() {
        let wire = format!("{{\"status\":\"{}", "x".repeat(2 * MESSAGE_LIMIT));
        let (_, error) = read(wire.as_bytes(), 100_000);
        assert!(error.unwrap().to_string().contains("too long"));
    }
}
