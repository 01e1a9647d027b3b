//! Keeps a bounded part of an output stream of any length: its first and its last bytes, half the limit each.

use crate::archive;
use crate::runner::request::types::Encoding;
use std::collections::VecDeque;

/// Collects one stream. Holds at most the limit in memory.
#[derive(Debug)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_bytes: usize,
    tail_bytes: usize,
    total: u64,
}

/// A collected stream, encoded for the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) text: String,
    /// Number of bytes left out between the two halves; `None`: nothing was left out.
    pub(crate) omitted_bytes: Option<u64>,
}

impl Capture {
    /// A capture of at most `limit_bytes`.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let head_bytes = limit - limit / 2;
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            head_bytes,
            tail_bytes: limit / 2,
            total: 0,
        }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.total += piece.len() as u64;
        let (first, rest) = piece.split_at(piece.len().min(self.head_bytes - self.head.len()));
        if self.head.len() + first.len() > self.head.capacity() {
            let wanted = (2 * self.head.capacity()).clamp(first.len(), self.head_bytes);
            self.head
                .reserve_exact(wanted.max(self.head.len() + first.len()) - self.head.len());
        }
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.tail_bytes)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.tail_bytes);
        self.tail.drain(..surplus);
        if self.tail.len() + rest.len() > self.tail.capacity() {
            let wanted = (2 * self.tail.capacity()).clamp(rest.len(), self.tail_bytes);
            self.tail
                .reserve_exact(wanted.max(self.tail.len() + rest.len()) - self.tail.len());
        }
        self.tail.extend(rest);
    }

    /// How many bytes were pushed.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many of the first of these bytes equal those that were pushed from `position` on. Bytes that were left out equal any.
    pub(crate) fn count_same(&self, position: u64, bytes: &[u8]) -> usize {
        let tail_from = self.total - self.tail.len() as u64;
        let is_same = |(offset, byte): (u64, &u8)| {
            let position = position + offset;
            let index = |from: u64| usize::try_from(position - from).unwrap_or(usize::MAX);
            match () {
                () if position >= self.total => false,
                () if position < self.head.len() as u64 => self.head[index(0)] == *byte,
                () if position >= tail_from => self.tail[index(tail_from)] == *byte,
                () => true,
            }
        };
        (0..).zip(bytes).take_while(|each| is_same(*each)).count()
    }

    pub(crate) fn finish(self, encoding: Encoding) -> Captured {
        let (mut kept, mut tail) = (self.head, self.tail);
        let is_cut = self.total > (kept.len() + tail.len()) as u64;
        if is_cut && encoding == Encoding::Utf8 {
            // Otherwise parts of two different characters could join to one that was never printed.
            kept.truncate(kept.len() - incomplete_tail(&kept));
            let orphans = tail
                .iter()
                .take(3)
                .take_while(|byte| is_continuation(**byte));
            let orphans = orphans.count();
            tail.drain(..orphans);
        }
        kept.reserve_exact(tail.len());
        let (front, back) = tail.as_slices();
        kept.extend_from_slice(front);
        kept.extend_from_slice(back);
        let omitted = self.total - kept.len() as u64;
        let text = match encoding {
            Encoding::Base64 => archive::encode_base64(&kept),
            Encoding::Utf8 => lossy(kept),
        };
        Captured {
            text,
            omitted_bytes: (omitted > 0).then_some(omitted),
        }
    }
}

/// Number of bytes at the end that begin a UTF-8 character but do not complete it.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let lead = bytes
        .iter()
        .rev()
        .take(3)
        .position(|byte| !is_continuation(*byte));
    let Some(after_lead) = lead else {
        return 0;
    };
    let needed = match bytes[bytes.len() - 1 - after_lead] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    if after_lead + 1 < needed {
        after_lead + 1
    } else {
        0
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// As `String::from_utf8_lossy`, but without a copy when the bytes are valid UTF-8, the usual case.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_limit_the_first_and_last_halves_are_kept() {
        for chunk in [1, 2, 3, 7, 26] {
            let mut capture = Capture::new(5);
            for piece in b"abcdefghijklmnopqrstuvwxyz".chunks(chunk) {
                capture.push(piece);
            }
            let captured = capture.finish(Encoding::Utf8);
            assert_eq!(
                captured,
                Captured {
                    text: "abcyz".into(),
                    omitted_bytes: Some(21)
                },
                "{chunk}"
            );
        }
    }

    #[test]
    fn a_character_at_the_cut_is_kept_complete_or_left_out() {
        let mut capture = Capture::new(8);
        // Kept: the first and the last four of 13 bytes, each cutting a character.
        capture.push("aé€bb€é".as_bytes());
        let captured = capture.finish(Encoding::Utf8);
        assert_eq!(captured.text, "aéé");
        assert_eq!(captured.omitted_bytes, Some(8));
    }

    #[test]
    fn up_to_the_limit_nothing_is_omitted() {
        let mut capture = Capture::new(6);
        capture.push(b"ab\xff");
        capture.push(b"def");
        assert_eq!(
            capture.finish(Encoding::Utf8),
            Captured {
                text: "ab\u{fffd}def".into(),
                omitted_bytes: None
            }
        );
    }

    #[test]
    fn what_was_pushed_is_recognised_when_it_comes_again() {
        let mut capture = Capture::new(6);
        capture.push(b"abcdefghij");
        for (position, bytes, same) in [
            (0, &b"abcdefghij"[..], 10),
            (0, b"abcdefghijk", 10),
            (2, b"cXXXXhi", 7),
            (0, b"abX", 2),
            (8, b"iX", 1),
            (10, b"k", 0),
            (3, b"", 0),
        ] {
            assert_eq!(capture.count_same(position, bytes), same, "{bytes:?}");
        }
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing() {
        let mut capture = Capture::new(0);
        capture.push(b"abc");
        assert_eq!(
            capture.finish(Encoding::Base64),
            Captured {
                text: String::new(),
                omitted_bytes: Some(3)
            }
        );
    }
}
