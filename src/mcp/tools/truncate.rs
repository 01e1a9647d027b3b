//! Cuts long output to a size, keeping its head and its tail.

use crate::runner::Encoding;

/// Cuts a stream to about `budget` bytes by removing its middle. Returns what is kept, and the number of bytes removed
/// from the output: of base64, decoded bytes.
pub(super) fn head_and_tail(stream: &str, encoding: Encoding, budget: usize) -> (String, u64) {
    if stream.len() <= budget {
        return (stream.to_owned(), 0);
    }
    if encoding == Encoding::Base64 {
        // Whole groups of four, so that head and tail together decode.
        let (head, tail) = (budget / 8 * 4, stream.len() - budget / 8 * 4);
        let tail = tail.next_multiple_of(4).min(stream.len());
        let kept = format!("{}{}", &stream[..head], &stream[tail..]);
        return (kept, (tail - head) as u64 / 4 * 3);
    }
    let head = boundary(stream, budget / 2);
    let tail = boundary(stream, stream.len() - budget / 2);
    let bytes = tail - head;
    let kept = format!(
        "{}\n[… {bytes} bytes cut out here …]\n{}",
        &stream[..head],
        &stream[tail..]
    );
    (kept, bytes as u64)
}

/// The largest character boundary that is not after `place`.
fn boundary(text: &str, mut place: usize) -> usize {
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn truncated_base64_stays_valid_base64() {
        use base64::Engine;
        let engine = base64::engine::general_purpose::STANDARD;
        let stream = engine.encode(vec![b'a'; 2_000_001]);
        let (kept, omitted) = head_and_tail(&stream, Encoding::Base64, 1001);
        assert_eq!(
            engine.decode(kept).unwrap().len() as u64 + omitted,
            2_000_001
        );
    }
}
