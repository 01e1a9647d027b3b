//! Collects written bytes as base64 text, in memory that the caller grants piece by piece.

use std::io::{self, Write};

use ::base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use ::base64::write::EncoderWriter;

use super::error::Error;

/// Asked for more bytes of memory before they are allocated; false refuses them. May block.
pub type Room<'a> = dyn FnMut(u64) -> bool + 'a;

const FIRST_BYTES: usize = 16 * 1024;

/// Writes base64 (standard alphabet, padded, one line) into granted memory. Errors: [`Error::NoRoom`] inside an
/// [`io::Error`].
pub(super) struct TextSink<'a>(EncoderWriter<'static, GeneralPurpose, GrantedBytes<'a>>);

struct GrantedBytes<'a> {
    bytes: Vec<u8>,
    room: &'a mut Room<'a>,
}

impl<'a> TextSink<'a> {
    pub(super) fn new(room: &'a mut Room<'a>) -> Self {
        let granted = GrantedBytes {
            bytes: Vec::new(),
            room,
        };
        Self(EncoderWriter::new(granted, &STANDARD))
    }

    /// The text.
    pub(super) fn finish(mut self) -> Result<String, Error> {
        let mut bytes = self.0.finish()?.bytes;
        bytes.shrink_to_fit();
        String::from_utf8(bytes).map_err(|error| Error::Base64(error.to_string()))
    }
}

impl Write for TextSink<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Write for GrantedBytes<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let (capacity, needed) = (self.bytes.capacity(), self.bytes.len() + piece.len());
        if needed > capacity {
            let larger = needed.max(capacity / 2 * 3).max(FIRST_BYTES);
            if !(self.room)((larger - capacity) as u64) {
                return Err(Error::NoRoom.into());
            }
            self.bytes.reserve_exact(larger - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_asked_for_before_it_is_used_and_a_refusal_ends_the_text() {
        let mut granted = 0;
        let mut room = |bytes| {
            granted += bytes;
            granted <= 100_000
        };
        let mut sink = TextSink::new(&mut room);
        sink.write_all(&[7; 30_000]).unwrap();
        let text = TextSink::finish(sink).unwrap();
        assert_eq!(text.len(), 40_000);
        assert!(granted >= 40_000);

        let mut room = |bytes| bytes <= 20_000;
        let mut sink = TextSink::new(&mut room);
        let error = (0..10).find_map(|_| sink.write_all(&[7; 10_000]).err());
        assert!(matches!(Error::from(error.unwrap()), Error::NoRoom));
    }
}
