//! Keeps a bounded part of an endless stream: its first and its last half.

use crate::archive;
use crate::runner::request::types::Encoding;
use std::collections::VecDeque;

/// What is kept of one stream.
#[derive(Debug)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_bytes: usize,
    tail_bytes: usize,
    total: u64,
}

/// A stream as it is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) text: String,
    pub(crate) omitted_bytes: Option<u64>,
}

impl Capture {
    /// Keeps at most `limit_bytes`.
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
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.tail_bytes)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.tail_bytes);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    pub(crate) fn finish(self, encoding: Encoding) -> Captured {
        let (mut kept, mut tail) = (self.head, self.tail);
        let is_cut = self.total > (kept.len() + tail.len()) as u64;
        if is_cut && encoding == Encoding::Utf8 {
            // The halves of two different characters could make a third one that was never printed.
            kept.truncate(kept.len() - cut_character(&kept));
            let stray = tail
                .iter()
                .take(3)
                .take_while(|byte| is_continuation(**byte));
            let stray = stray.count();
            tail.drain(..stray);
        }
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

/// How many bytes at the end are the beginning of a character whose rest is missing.
fn cut_character(bytes: &[u8]) -> usize {
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

/// Valid UTF-8, the usual case, is not copied.
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
    fn a_character_is_kept_whole_or_left_out() {
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
    fn a_limit_of_nothing_keeps_nothing() {
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
