//! Puts the messages of a container's log together, as they were printed.

/// One stream of a log. Engines split a line of more than 16 KiB into several messages with one time stamp, and some log drivers
/// drop the newline of such a line.
#[derive(Default)]
pub(crate) struct LogLines {
    time: Vec<u8>,
    /// How many messages with this time were taken.
    taken: u64,
    /// The last message continued a line.
    is_continued: bool,
    /// The last message did not end with a newline.
    is_open: bool,
}

impl LogLines {
    /// Takes a message, which is a time stamp, a space and bytes, and passes on the bytes that were printed.
    pub(crate) fn take(&mut self, message: &[u8], pass_on: &mut dyn FnMut(&[u8])) {
        let (time, bytes) = split_time(message);
        self.taken = match self.time == time {
            true => self.taken + 1,
            false => 1,
        };
        let same_line = self.is_open && self.time == time;
        if self.is_open && !same_line {
            pass_on(b"\n");
        }
        self.is_continued = same_line;
        self.is_open = bytes.last() != Some(&b'\n');
        self.time = time.to_vec();
        pass_on(bytes);
    }

    /// To be called after the last message. The log driver drops a long last line's newline; assume there was one. Returns
    /// whether that was assumed.
    pub(crate) fn end(&mut self, pass_on: &mut dyn FnMut(&[u8])) -> bool {
        let is_assumed = self.is_open && self.is_continued;
        if is_assumed {
            pass_on(b"\n");
        }
        self.is_open = false;
        is_assumed
    }

    /// Finds, in another reading of the same log, the messages after the last one that was taken.
    pub(crate) fn later_messages(&self) -> LaterMessages {
        LaterMessages {
            time: self.time.clone(),
            taken: self.taken,
            met: 0,
        }
    }
}

/// Skips the messages of a log that an earlier reading took. It looks for the last of them by its time, since the engine may have
/// removed older ones meanwhile.
pub(crate) struct LaterMessages {
    time: Vec<u8>,
    taken: u64,
    met: u64,
}

impl LaterMessages {
    /// Whether this message comes after those that were taken. To be called with every message, in order.
    pub(crate) fn includes(&mut self, message: &[u8]) -> bool {
        if self.met < self.taken && split_time(message).0 == self.time {
            self.met += 1;
            return false;
        }
        self.taken == 0 || self.met > 0
    }

    /// Whether the log does not have the last message that was taken, so that others may be missing too. To be called at its end.
    pub(crate) fn has_gap(&self) -> bool {
        self.taken > 0 && self.met == 0
    }
}

/// The time of a message, with the space that ends it, and its bytes.
pub(crate) fn split_time(message: &[u8]) -> (&[u8], &[u8]) {
    let split = message.iter().position(|byte| *byte == b' ');
    message.split_at(split.map_or(0, |space| space + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_lines_are_joined_and_their_newlines_restored() {
        let mut lines = LogLines::default();
        let mut printed = Vec::new();
        for message in [
            "1 aaa",
            "1 aaa",
            "1 a",
            "2 short\n",
            "3 bbb",
            "3 b\n",
            "4 tail",
        ] {
            lines.take(message.as_bytes(), &mut |bytes| {
                printed.extend_from_slice(bytes)
            });
        }
        lines.end(&mut |bytes| printed.extend_from_slice(bytes));
        assert_eq!(printed, b"aaaaaaa\nshort\nbbbb\ntail");
    }
    #[test]
    fn a_second_reading_passes_on_only_what_the_first_one_did_not_take() {
        let log = ["1 a", "1 a", "2 b\n", "3 c", "3 c", "3 c"];
        for (first, second, missing) in [
            (&log[..0], &log[..], &log[..]),
            (&log[..3], &log[..], &log[3..]),
            (&log[..4], &log[..], &log[4..]),
            (&log[..6], &log[..], &log[..0]),
            // The engine has removed the beginning.
            (&log[..3], &log[2..], &log[3..]),
        ] {
            let mut lines = LogLines::default();
            for message in first {
                lines.take(message.as_bytes(), &mut |_| {});
            }
            let mut later = lines.later_messages();
            let found: Vec<&str> = second
                .iter()
                .copied()
                .filter(|message| later.includes(message.as_bytes()))
                .collect();
            assert_eq!(found, missing);
            assert!(!later.has_gap());
        }
    }
}
