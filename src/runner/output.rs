//! Keeps a bounded part of an endless stream: its first and its last half.

use super::Encoding;
use crate::archive;
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
        let mut kept = self.head;
        let (front, back) = self.tail.as_slices();
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
