//! Cuts a stream of bytes into pieces that never end within a character.

/// Holds back the beginning of a character until the rest of it has come.
#[derive(Debug, Default)]
pub(crate) struct Utf8Chunks {
    held: Vec<u8>,
}

impl Utf8Chunks {
    /// What can be passed on now; empty while a character is incomplete. Bytes that are not UTF-8 pass at once.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        self.held = bytes.split_off(bytes.len() - incomplete_tail(&bytes));
        bytes
    }

    /// What never became a character.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.held
    }
}

/// How many bytes at the end may still become a character: at most 3.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    let Some(lead) = (start..bytes.len())
        .rev()
        .find(|&i| bytes[i] & 0b1100_0000 != 0b1000_0000)
    else {
        return 0;
    };
    // `None`: more bytes could complete what stands there.
    match std::str::from_utf8(&bytes[lead..]) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => bytes.len() - lead,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_the_stream_is_cut_no_piece_ends_within_a_character() {
        let text = "aé€😀z";
        for size in 1..=text.len() {
            let mut whole = Utf8Chunks::default();
            let mut passed = String::new();
            for piece in text.as_bytes().chunks(size) {
                let piece = String::from_utf8(whole.push(piece));
                assert!(piece.is_ok(), "{size}");
                passed += &piece.unwrap_or_default();
            }
            assert_eq!((passed.as_str(), whole.finish().len()), (text, 0), "{size}");
        }
    }

    #[test]
    fn bytes_that_are_no_characters_all_pass_in_order() {
        let bytes = b"\xff\x80\xf0\x9f\x98a\xe2\x82\xc3";
        for size in 1..=bytes.len() {
            let mut whole = Utf8Chunks::default();
            let mut passed = Vec::new();
            for piece in bytes.chunks(size) {
                passed.extend(whole.push(piece));
                assert!(whole.held.len() <= 3, "{size}");
            }
            passed.extend(whole.finish());
            assert_eq!(passed, bytes, "{size}");
        }
    }
}
