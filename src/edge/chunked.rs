//! Decodes a chunked body (RFC 9112 §7.1), strictly and within limits, from any buffered reader.

use super::body_error::BodyError;
use std::io::{self, BufRead};

/// Longest chunk-size line, extensions included.
const MAX_LINE_BYTES: usize = 256;
/// Most bytes of chunk extensions and trailers, which are discarded.
const MAX_OVERHEAD_BYTES: usize = 16 * 1024;

/// A decoder and its position in the body.
#[derive(Debug)]
pub(super) struct Chunked {
    stage: Stage,
    left_in_chunk: u64,
    total_bytes: u64,
    overhead_bytes: usize,
    limit_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Size,
    Data,
    Ended,
}

impl Chunked {
    /// A body of at most `limit_bytes` once decoded.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            stage: Stage::Size,
            left_in_chunk: 0,
            total_bytes: 0,
            overhead_bytes: 0,
            limit_bytes,
        }
    }

    /// Whether the last chunk and the trailers have been read.
    pub(super) fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Reads decoded bytes. Returns 0 at the end of the body.
    pub(super) fn read(&mut self, source: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
        if self.stage == Stage::Size {
            self.next_chunk(source)?;
        }
        if self.stage == Stage::Ended || into.is_empty() {
            return Ok(0);
        }
        let most =
            usize::try_from(self.left_in_chunk).map_or(into.len(), |left| left.min(into.len()));
        let count = source.read(&mut into[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left_in_chunk -= count as u64;
        if self.left_in_chunk == 0 {
            self.end_of_chunk(source)?;
        }
        Ok(count)
    }

    fn next_chunk(&mut self, source: &mut impl BufRead) -> io::Result<()> {
        let line = read_line(source)?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        self.count_overhead(line.len() - digits)?;
        let extension_is_fine = matches!(line.get(digits), None | Some(b';'));
        // With at most 15 digits, adding a size to a total below the limit cannot overflow.
        if !(1..=15).contains(&digits) || !extension_is_fine {
            return Err(malformed("a chunk size is not a hexadecimal number"));
        }
        let size = line[..digits].iter().fold(0u64, |size, &digit| {
            size << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or(0))
        });
        if size == 0 {
            return self.skip_trailers(source);
        }
        if size > self.limit_bytes.saturating_sub(self.total_bytes) {
            let limit_bytes = self.limit_bytes;
            return Err(BodyError::TooLarge { limit_bytes }.into());
        }
        self.total_bytes += size;
        self.left_in_chunk = size;
        self.stage = Stage::Data;
        Ok(())
    }

    fn end_of_chunk(&mut self, source: &mut impl BufRead) -> io::Result<()> {
        let mut end = [0u8; 2];
        source.read_exact(&mut end)?;
        if end != *b"\r\n" {
            return Err(malformed("a chunk is longer than its size says"));
        }
        self.stage = Stage::Size;
        Ok(())
    }

    fn skip_trailers(&mut self, source: &mut impl BufRead) -> io::Result<()> {
        loop {
            let line = read_line(source)?;
            if line.is_empty() {
                self.stage = Stage::Ended;
                return Ok(());
            }
            let name = line.split(|byte| *byte == b':').next();
            let has_name = name.is_some_and(|name| name.len() < line.len() && is_field_name(name));
            if !has_name {
                return Err(malformed("a trailer is not a header field"));
            }
            self.count_overhead(line.len())?;
        }
    }

    fn count_overhead(&mut self, bytes: usize) -> io::Result<()> {
        self.overhead_bytes += bytes;
        if self.overhead_bytes > MAX_OVERHEAD_BYTES {
            return Err(malformed("too many chunk extensions or trailers"));
        }
        Ok(())
    }
}

/// Reads one line. Returns it without its CRLF.
fn read_line(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0u8; 1];
        source.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' if line.last() == Some(&b'\r') => {
                line.pop();
                return Ok(line);
            }
            b'\t' | b'\r' | 0x20..=0x7e if line.last() != Some(&b'\r') => line.push(byte[0]),
            _ => {
                return Err(malformed(
                    "a line between chunks has a byte that HTTP does not allow there",
                ));
            }
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(malformed("a line between chunks is too long"));
        }
    }
}

/// Whether this is the name of a header field (RFC 9110 §5.1), a token.
fn is_field_name(name: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token_byte)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    fn decode(encoded: &[u8], limit: u64, buffer: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut source = BufReader::with_capacity(3, Cursor::new(encoded.to_vec()));
        let mut chunked = Chunked::new(limit);
        let (mut whole, mut piece) = (Vec::new(), vec![0u8; buffer]);
        loop {
            match chunked.read(&mut source, &mut piece)? {
                0 => break,
                count => whole.extend_from_slice(&piece[..count]),
            }
        }
        assert!(chunked.has_ended());
        let mut rest = Vec::new();
        io::Read::read_to_end(&mut source, &mut rest)?;
        Ok((whole, rest))
    }

    #[test]
    fn chunks_are_decoded_whatever_the_size_of_the_buffer() {
        let encoded =
            b"4\r\nWiki\r\n0005;ext=1\r\npedia\r\nA\r\n in chunks\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        for buffer in [1, 2, 7, 100] {
            let (whole, rest) = decode(encoded, 19, buffer).unwrap();
            assert_eq!(whole, b"Wikipedia in chunks");
            assert_eq!(rest, b"NEXT");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for encoded in [
            &b"4\nWiki\r\n0\r\n\r\n"[..],
            b"4\r\nWiki\n0\r\n\r\n",
            b"4\r\nWikiX\r\n0\r\n\r\n",
            b"5\r\nWiki\r\n0\r\n\r\n",
            b"-4\r\nWiki\r\n0\r\n\r\n",
            b"+4\r\nWiki\r\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b" 4\r\nWiki\r\n0\r\n\r\n",
            b"4 \r\nWiki\r\n0\r\n\r\n",
            b"\r\nWiki\r\n0\r\n\r\n",
            b"g\r\nWiki\r\n0\r\n\r\n",
            b"4;a\0\r\nWiki\r\n0\r\n\r\n",
            b"4;a\rb\r\nWiki\r\n0\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"0\r\n A: folded\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\n\r\n",
        ] {
            let error = decode(encoded, 1000, 64).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{encoded:?}");
        }
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let encoded = b"4\r\nWiki\r\n0\r\n\r\n";
        for cut in 0..encoded.len() {
            let error = decode(&encoded[..cut], 1000, 64).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[test]
    fn a_chunk_over_the_limit_is_refused_before_its_data_arrives() {
        for encoded in [&b"5\r\n"[..], b"fffffffffffffff\r\n", b"3\r\nabc\r\n2\r\n"] {
            let error = decode(encoded, 4, 64).unwrap_err();
            let error = BodyError::from(error);
            assert!(matches!(error, BodyError::TooLarge { limit_bytes: 4 }));
        }
        let overflow = decode(b"ffffffffffffffff1\r\n", 4, 64).unwrap_err();
        assert_eq!(overflow.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn extensions_and_trailers_are_limited() {
        let extension = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(100);
        let line = format!("1;{}\r\nx\r\n", "e".repeat(300));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(10_000));
        for encoded in [extension, line, trailers] {
            let error = decode(encoded.as_bytes(), 1000, 64).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
