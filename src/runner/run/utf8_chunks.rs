//! Re-chunks a stream of bytes so that no chunk ends within a UTF-8 character.

/// Holds back an incomplete character at the end of a piece until the next piece completes it.
#[derive(Debug, Default)]
pub(crate) struct Utf8Chunks {
    held: Vec<u8>,
}

impl Utf8Chunks {
    /// Returns the held bytes and `piece`, without an incomplete character at the end, which is held. May return nothing.
    /// Bytes that are not UTF-8 are not held.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        self.held = bytes.split_off(bytes.len() - incomplete_tail(&bytes));
        bytes
    }

    /// The bytes of a character that was never completed.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.held
    }
}

/// Number of bytes at the end that more bytes could complete to a character: at most 3.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    let Some(lead) = (start..bytes.len())
        .rev()
        .find(|&i| bytes[i] & 0b1100_0000 != 0b1000_0000)
    else {
        return 0;
    };
    // `error_len` is `None` where the input ends within a character.
    match std::str::from_utf8(&bytes[lead..]) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => bytes.len() - lead,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chunk_ends_within_a_character() {
        let text = "aé€😀z";
        for size in 1..=text.len() {
            let mut chunks = Utf8Chunks::default();
            let mut passed = String::new();
            for piece in text.as_bytes().chunks(size) {
                let piece = String::from_utf8(chunks.push(piece));
                assert!(piece.is_ok(), "{size}");
                passed += &piece.unwrap_or_default();
            }
            assert_eq!(
                (passed.as_str(), chunks.finish().len()),
                (text, 0),
                "{size}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_all_pass_in_order() {
        let bytes = b"\xff\x80\xf0\x9f\x98a\xe2\x82\xc3";
        for size in 1..=bytes.len() {
            let mut chunks = Utf8Chunks::default();
            let mut passed = Vec::new();
            for piece in bytes.chunks(size) {
                passed.extend(chunks.push(piece));
                assert!(chunks.held.len() <= 3, "{size}");
            }
            passed.extend(chunks.finish());
            assert_eq!(passed, bytes, "{size}");
        }
    }
}
