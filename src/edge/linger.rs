//! Closes a connection so that the answer survives: closing with unread bytes would send a RST, and a RST makes
//! many clients drop the 413 they were about to read.

use super::client::Client;
use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

const MAX_DRAINED_BYTES: usize = 1024 * 1024 * 1024;

/// How long a client that has its answer may keep its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without a byte.
    pub(super) idle: Duration,
    /// In all.
    pub(super) total: Duration,
}

impl Patience {
    /// In normal operation.
    pub(super) const NORMAL: Self = Self {
        idle: Duration::from_secs(1),
        total: Duration::from_secs(5),
    };
    /// When the server wants to stop.
    pub(super) const SHORT: Self = Self {
        idle: Duration::from_millis(100),
        total: Duration::from_millis(250),
    };
}

/// Says that nothing more comes, reads what the client still sends until it has closed too, then closes.
pub(super) fn close(client: &Client, patience: Patience) {
    let mut socket = client.socket();
    let deadline = Instant::now() + patience.total;
    if socket.shutdown(Shutdown::Write).is_ok()
        && socket.set_read_timeout(Some(patience.idle)).is_ok()
    {
        let mut scrap = vec![0u8; 16 * 1024];
        let mut drained_bytes = 0;
        while drained_bytes < MAX_DRAINED_BYTES && Instant::now() < deadline {
            match socket.read(&mut scrap) {
                Ok(0) | Err(_) => break,
                Ok(count) => drained_bytes += count,
            }
        }
    }
    client.cut();
}
