//! A container's output on a connection of its own, which may be left unread for long and be looked at meanwhile.
use super::call::path;
use super::client::Client;
use super::container::Attached;
use super::error::Error;
use super::socket::Stream;
use super::stdin::{Hijacked, hijack};
use std::io::{Cursor, Read};

const CALL: &str = "container_attach";

/// The output of a container that is not expected to print anything yet. It has no time limit; dropping it closes the connection.
pub struct ParkedOutput {
    stream: Stream,
    /// What came with the head of the response.
    received: Vec<u8>,
}

impl ParkedOutput {
    /// Whether the container has printed nothing and its output has not ended, as far as the engine has passed that on. Never
    /// blocks.
    pub fn is_untouched(&mut self) -> bool {
        self.received.is_empty() && self.stream.is_quiet()
    }
}

impl From<ParkedOutput> for Attached {
    fn from(output: ParkedOutput) -> Self {
        Self {
            stream: Box::new(Cursor::new(output.received).chain(output.stream)),
        }
    }
}

impl Client {
    /// As [`Client::container_attach`], on a connection that may be left unread for long.
    pub fn container_attach_parked(&self, id: &str) -> Result<ParkedOutput, Error> {
        let version = self.api_version(CALL)?;
        let query = "/attach?stream=1&stdout=1&stderr=1";
        let path = path(CALL, "/containers", id, query)?;
        let target = format!("/v{version}{path}");
        let Hijacked { stream, received } = hijack(self.endpoint(), CALL, &target)?;
        Ok(ParkedOutput { stream, received })
    }
}
