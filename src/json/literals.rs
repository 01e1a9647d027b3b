//! The numbers of a JSON text as they are written in it.

use std::cell::Cell;

/// Finds numbers in their order. Reads the text only as far as it is asked for, and expects it to be JSON up to there.
pub(super) struct Literals<'t> {
    text: &'t [u8],
    /// Behind the last number that was found.
    at: Cell<usize>,
    /// How many numbers follow there that the parser has read.
    behind: Cell<u64>,
}

impl<'t> Literals<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self {
            text,
            at: Cell::new(0),
            behind: Cell::new(0),
        }
    }

    /// The parser has read a number. To be called for each.
    pub(super) fn pass(&self) {
        self.behind.set(self.behind.get() + 1);
    }

    /// The digits of the number that was read last. Empty if it has been asked for already.
    pub(super) fn last(&self) -> &'t str {
        let mut literal: &[u8] = b"";
        for _ in 0..self.behind.take() {
            literal = self.next();
        }
        std::str::from_utf8(literal).unwrap_or_default()
    }

    fn next(&self) -> &'t [u8] {
        let mut at = self.at.get();
        while let Some(byte) = self.text.get(at) {
            match byte {
                b'"' => at = self.end_of_string(at + 1),
                b'-' | b'0'..=b'9' => break,
                _ => at += 1,
            }
        }
        let rest = self.text.get(at..).unwrap_or_default();
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(is_part).count();
        self.at.set(at + length);
        &rest[..length]
    }

    /// Where the text goes on after the string whose content starts at `at`.
    fn end_of_string(&self, mut at: usize) -> usize {
        while let Some(byte) = self.text.get(at) {
            match byte {
                b'"' => return at + 1,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        at
    }
}
