//! Base64 text, both ways. Reading takes the standard and the URL-safe alphabet, padding or none, and white space
//! anywhere, and decodes block by block, so that a large archive is never held decoded.

use std::io::{self, BufRead, Read};

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};

use super::Error;

/// Symbols decoded at a time; a multiple of four, so that a block ends between two groups.
const BLOCK_SYMBOLS: usize = 64 * 1024;

/// What a byte of the text stands for: itself in the standard alphabet, or nothing when it is white space.
const SYMBOLS: [u8; 256] = symbols();
const WHITE_SPACE: u8 = 0;

const fn symbols() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => WHITE_SPACE,
            b'-' => b'+',
            b'_' => b'/',
            // a NUL in the text must not pass for white space
            0 => b'!',
            other => other,
        };
        byte += 1;
    }
    table
}

/// Decodes base64: standard or URL-safe alphabet, padding optional, white space ignored.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, Error> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    Base64Reader::new(text).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// Encodes base64: standard alphabet, padded, one line.
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes that a base64 text stands for, as a reader.
pub(super) struct Base64Reader<'a> {
    text: &'a [u8],
    /// How much of the text was taken.
    taken: usize,
    symbols: Box<[u8]>,
    decoded: Box<[u8]>,
    /// The part of `decoded` not yet read.
    unread: std::ops::Range<usize>,
    /// Padding was seen: nothing but white space may follow.
    padded: bool,
}

impl<'a> Base64Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let symbols = BLOCK_SYMBOLS.min(text.len().next_multiple_of(4));
        Self {
            text: text.as_bytes(),
            taken: 0,
            symbols: vec![0; symbols].into(),
            decoded: vec![0; symbols / 4 * 3].into(),
            unread: 0..0,
            padded: false,
        }
    }

    /// Decodes the next block. At the end of the text nothing is unread afterwards.
    fn decode_block(&mut self) -> Result<(), Error> {
        if self.decode_plain() {
            return Ok(());
        }
        let begin = self.taken;
        let count = self.gather();
        let symbols = &self.symbols[..count];
        if self.padded && count > 0 {
            return Err(Error::Base64(format!(
                "text after the padding, near character {begin}"
            )));
        }
        let length = STANDARD_PAD_INDIFFERENT
            .decode_slice(symbols, &mut self.decoded)
            .map_err(|_| self.fault(begin, count))?;
        self.padded |= symbols.ends_with(b"=");
        self.unread = 0..length;
        Ok(())
    }

    /// Decodes a block straight from the text, three times as fast, if it is in the standard alphabet without white
    /// space. Elsewhere this fails within a line, so trying costs nothing.
    fn decode_plain(&mut self) -> bool {
        let rest = &self.text[self.taken..];
        let block = &rest[..rest.len().min(self.symbols.len())];
        if self.padded || block.is_empty() {
            return false;
        }
        let Ok(length) = STANDARD_PAD_INDIFFERENT.decode_slice(block, &mut self.decoded) else {
            return false;
        };
        self.padded = block.ends_with(b"=");
        self.taken += block.len();
        self.unread = 0..length;
        true
    }

    /// Moves symbols from the text, without its white space, until the block is full or the text ends.
    fn gather(&mut self) -> usize {
        let mut count = 0;
        while count < self.symbols.len() && self.taken < self.text.len() {
            let room = self.symbols.len() - count;
            let chunk = &self.text[self.taken..self.text.len().min(self.taken + room)];
            for &byte in chunk {
                let symbol = SYMBOLS[usize::from(byte)];
                self.symbols[count] = symbol;
                count += usize::from(symbol != WHITE_SPACE);
            }
            self.taken += chunk.len();
        }
        count
    }

    /// Says where the block that begins at `begin` is wrong, without repeating any of it.
    fn fault(&self, begin: usize, count: usize) -> Error {
        let stray = self.text[begin..self.taken].iter().position(|&byte| {
            let symbol = SYMBOLS[usize::from(byte)];
            !(symbol == WHITE_SPACE || symbol.is_ascii_alphanumeric() || b"+/=".contains(&symbol))
        });
        Error::Base64(match stray {
            Some(offset) => format!("character {} is not of its alphabet", begin + offset + 1),
            None if self.symbols[..count.saturating_sub(2)].contains(&b'=') => {
                format!("padding in the middle, after character {begin}")
            }
            None => "it ends in the middle of a group (cut short?)".to_owned(),
        })
    }
}

impl BufRead for Base64Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() {
            self.decode_block()?;
        }
        Ok(&self.decoded[self.unread.clone()])
    }

    fn consume(&mut self, amount: usize) {
        self.unread.start = self.unread.end.min(self.unread.start + amount);
    }
}

impl Read for Base64Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_same_bytes_is_read() {
        let bytes = [0xfb, 0xef, 0xff, 0x00];
        for text in [
            "++//AA==",
            "--__AA==",
            "++//AA",
            "-+_/AA=",
            " ++\r\n//\tA\x0cA=\n=\n",
            "\n++//AA== \n",
        ] {
            assert_eq!(decode_base64(text).unwrap(), bytes, "{text:?}");
        }
        assert_eq!(decode_base64("").unwrap(), b"");
        assert_eq!(decode_base64(" \n").unwrap(), b"");
    }

    #[test]
    fn faults_name_the_place_but_not_the_text() {
        let cases = [
            ("QUJD\nsecret!", "character 12 is not"),
            ("data:x;base64,QUJD", "character 5 is not"),
            ("QUJD\0QUI", "character 5 is not"),
            ("Q", "cut short"),
            ("QUJDQ", "cut short"),
            ("QR==", "cut short"),
            ("QQ==QUJD", "padding in the middle"),
            ("QQ=\n=QUJD", "padding in the middle"),
            ("=", "cut short"),
            ("äöü", "character 1 is not"),
        ];
        for (text, fault) in cases {
            let error = decode_base64(text).unwrap_err();
            assert!(
                matches!(&error, Error::Base64(why) if why.contains(fault)),
                "{text:?}: {error}"
            );
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn blocks_meet_without_a_seam() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let text = encode_base64(&bytes);
        assert_eq!(decode_base64(&text).unwrap(), bytes);
        for width in [1, 76, 65_535, 65_536, 65_537] {
            let lines: Vec<_> = text
                .as_bytes()
                .chunks(width)
                .map(|line| str::from_utf8(line).unwrap())
                .collect();
            assert_eq!(
                decode_base64(&lines.join("\r\n")).unwrap(),
                bytes,
                "lines of {width}"
            );
        }
        let padded_block = format!("{}==", &text[..BLOCK_SYMBOLS - 2]);
        let error = decode_base64(&(padded_block + "QUJD")).unwrap_err();
        assert!(
            matches!(error, Error::Base64(_)),
            "padding at the end of a block hides what follows"
        );
    }
}
