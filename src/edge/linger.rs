//! Closes a connection so that the client can read the response. Closing a socket with unread bytes sends a RST, and on a
//! RST many clients discard the 413 that they were about to read.

use super::client::Client;
use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

const MAX_DRAINED_BYTES: usize = 1024 * 1024 * 1024;

/// How long to wait for a client, after its response, to close its side.
#[derive(Clone, Copy, Debug)]
pub(super) struct LingerTimeouts {
    /// Without a byte from the client.
    pub(super) idle: Duration,
    /// In all.
    pub(super) total: Duration,
}

impl LingerTimeouts {
    /// In normal operation.
    pub(super) const NORMAL: Self = Self {
        idle: Duration::from_secs(1),
        total: Duration::from_secs(5),
    };
    /// While the server is stopping.
    pub(super) const STOPPING: Self = Self {
        idle: Duration::from_millis(100),
        total: Duration::from_millis(250),
    };
}

/// Sends a FIN, discards what the client still sends until it closes too or a timeout passes, then closes.
pub(super) fn close(client: &Client, timeouts: LingerTimeouts) {
    let mut socket = client.socket();
    let deadline = Instant::now() + timeouts.total;
    if socket.shutdown(Shutdown::Write).is_ok()
        && socket.set_read_timeout(Some(timeouts.idle)).is_ok()
    {
        let mut discarded = vec![0u8; 16 * 1024];
        let mut drained_bytes = 0;
        while drained_bytes < MAX_DRAINED_BYTES && Instant::now() < deadline {
            match socket.read(&mut discarded) {
                Ok(0) | Err(_) => break,
                Ok(count) => drained_bytes += count,
            }
        }
    }
    client.shut_down();
}
