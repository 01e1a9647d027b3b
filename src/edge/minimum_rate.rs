//! A limit on the total time spent waiting for a peer. A stall deadline alone would let a peer send one byte per deadline
//! for ever.

use std::io;
use std::time::Duration;

const MIN_BYTES_PER_SEC: u64 = 4 * 1024;

/// Adds up the time spent waiting for a peer. The time between calls, which the server itself takes, does not count.
#[derive(Debug)]
pub(super) struct MinimumRate {
    /// How long the peer may make the server wait beyond what the minimum rate allows.
    grace: Duration,
    waited: Duration,
    moved_bytes: u64,
}

impl MinimumRate {
    /// For a peer that may stall for `stall_timeout` at a time.
    pub(super) fn new(stall_timeout: Duration) -> Self {
        Self {
            grace: stall_timeout * 2,
            waited: Duration::ZERO,
            moved_bytes: 0,
        }
    }

    /// Records one call that moved bytes. Errors: `TimedOut` if the peer is too slow in all.
    pub(super) fn record(&mut self, bytes: usize, waited: Duration) -> io::Result<()> {
        self.moved_bytes += bytes as u64;
        self.waited += waited;
        let earned = Duration::from_millis(self.moved_bytes / (MIN_BYTES_PER_SEC / 1_000));
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
    fn a_peer_below_the_minimum_rate_times_out_and_a_steady_one_does_not() {
        let stall_timeout = Duration::from_secs(30);
        let mut slow = MinimumRate::new(stall_timeout);
        let calls = (0..10).take_while(|_| slow.record(1, Duration::from_secs(29)).is_ok());
        assert_eq!(calls.count(), 2);
        let mut steady = MinimumRate::new(stall_timeout);
        assert!((0..100_000).all(|_| steady.record(16 * 1024, Duration::from_secs(2)).is_ok()));
    }
}
