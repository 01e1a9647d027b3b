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
        let begin = self.taken;
        let count = self.gather();
        if count == 0 {
            self.unread = 0..0;
            return Ok(());
        }
        let symbols = &self.symbols[..count];
        if self.padded {
            return Err(Error::Base64(format!(
                "text after the padding, near character {begin}"
            )));
        }
        self.padded = symbols[count - 1] == b'=';
        let length = STANDARD_PAD_INDIFFERENT
            .decode_slice(symbols, &mut self.decoded)
            .map_err(|_| self.fault(begin, count))?;
        self.unread = 0..length;
        Ok(())
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
