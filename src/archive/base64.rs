//! Base64 encoding and decoding. Decoding accepts the standard and the URL-safe alphabet, with or without padding, and white
//! space anywhere. It works block by block, so that a large archive is never held decoded.

use std::io::{self, BufRead, Read};

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};

use super::error::Error;

/// Symbols decoded at a time; a multiple of four, so that a block ends between two groups.
const BLOCK_SYMBOLS: usize = 64 * 1024;

/// For each byte of the text, its symbol in the standard alphabet, or [`WHITE_SPACE`]. Bytes outside the alphabet map to
/// themselves.
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
            // A NUL in the text must not be taken for WHITE_SPACE.
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

/// Reads the bytes that a base64 text encodes.
pub(super) struct Base64Reader<'a> {
    text: &'a [u8],
    /// Bytes of the text that have been consumed.
    taken: usize,
    symbols: Box<[u8]>,
    decoded: Box<[u8]>,
    /// The part of `decoded` that has not been read.
    unread: std::ops::Range<usize>,
    /// Whether padding has been seen; only white space may follow it.
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

    /// Decodes the next block. At the end of the text, leaves `unread` empty.
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

    /// Decodes a block directly from the text if it is in the standard alphabet without white space, which is three times
    /// as fast. Returns false otherwise, within the first line of a wrapped text, so that trying is cheap.
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

    /// Copies symbols without white space from the text until the block is full or the text ends; returns their number.
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

    /// The error for the block that begins at `begin`: names the position of the fault, does not quote the text.
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
            None => "it does not end as base64 does (cut short?)".to_owned(),
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
    fn both_alphabets_white_space_and_missing_padding_are_accepted() {
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
    fn errors_name_the_position_but_do_not_quote_the_text() {
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
    fn texts_longer_than_a_block_are_decoded() {
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
