//! How long a peer may keep us waiting in all: a stall deadline alone lets one byte per deadline go on for ever.

use std::io;
use std::time::Duration;

/// A peer slower than this is cut off once its grace is used up.
const SLOWEST_BYTES_PER_SEC: u64 = 4 * 1024;

/// Adds up the time spent waiting for a peer. Time that we ourselves take between calls does not count against it.
#[derive(Debug)]
pub(super) struct MinimumRate {
    grace: Duration,
    waited: Duration,
    moved_bytes: u64,
}

impl MinimumRate {
    /// A peer that may stall for `stall` at a time.
    pub(super) fn new(stall: Duration) -> Self {
        Self {
            grace: stall * 2,
            waited: Duration::ZERO,
            moved_bytes: 0,
        }
    }

    /// Notes one call that moved bytes. Errors: `TimedOut` when the peer is too slow overall.
    pub(super) fn note(&mut self, bytes: usize, waited: Duration) -> io::Result<()> {
        self.moved_bytes += bytes as u64;
        self.waited += waited;
        let earned = Duration::from_millis(self.moved_bytes / (SLOWEST_BYTES_PER_SEC / 1_000));
        if self.waited > self.grace + earned {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_drip_ends_and_a_steady_stream_does_not() {
        let stall = Duration::from_secs(30);
        let mut drip = MinimumRate::new(stall);
        let drips = (0..10).take_while(|_| drip.note(1, Duration::from_secs(29)).is_ok());
        assert_eq!(drips.count(), 2);
        let mut steady = MinimumRate::new(stall);
        assert!((0..100_000).all(|_| steady.note(16 * 1024, Duration::from_secs(2)).is_ok()));
    }
}
