//! Puts the messages of a container's log together, as they were printed.

/// One stream of a log. Engines split a line of more than 16 KiB into several messages with one time stamp, and some log drivers
/// drop the newline of such a line.
#[derive(Default)]
pub(crate) struct LogLines {
    time: Vec<u8>,
    /// The last message continued a line.
    is_continued: bool,
    /// The last message did not end with a newline.
    is_open: bool,
}

impl LogLines {
    /// Takes a message, which is a time stamp, a space and bytes, and passes on the bytes that were printed.
    pub(crate) fn take(&mut self, message: &[u8], pass_on: &mut dyn FnMut(&[u8])) {
        let split = message.iter().position(|byte| *byte == b' ');
        let (time, bytes) = message.split_at(split.map_or(0, |space| space + 1));
        let same_line = self.is_open && self.time == time;
        if self.is_open && !same_line {
            pass_on(b"\n");
        }
        self.is_continued = same_line;
        self.is_open = bytes.last() != Some(&b'\n');
        self.time = time.to_vec();
        pass_on(bytes);
    }

    /// To be called after the last message. The log driver drops a long last line's newline; assume there was one.
    pub(crate) fn end(&mut self, pass_on: &mut dyn FnMut(&[u8])) {
        if self.is_open && self.is_continued {
            pass_on(b"\n");
        }
    }
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
}
