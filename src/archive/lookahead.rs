//! A buffered stream with a look at the bytes that come next, however the buffer happens to be filled.

use std::io::{self, BufRead};

/// A stream of which bytes can be seen before they are read. Errors of the underlying stream are returned unchanged.
pub(super) struct Lookahead<R> {
    stream: R,
    /// Bytes that have been taken from the stream and not been read.
    ahead: Vec<u8>,
}

impl<R: BufRead> Lookahead<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// The next `count` bytes, which stay unread; fewer only if the stream ends. Holds them in memory.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.ahead.len() < count {
            let chunk = fill_buf(&mut self.stream)?;
            let length = chunk.len().min(count - self.ahead.len());
            if length == 0 {
                break;
            }
            self.ahead.extend_from_slice(&chunk[..length]);
            self.stream.consume(length);
        }
        Ok(&self.ahead[..self.ahead.len().min(count)])
    }

    /// Some of the next bytes, which stay unread; none only if the stream has ended.
    pub(super) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead.is_empty() {
            return fill_buf(&mut self.stream);
        }
        Ok(&self.ahead)
    }

    /// Marks as read the first `length` of the bytes that `peek` or `fill_buf` returned.
    pub(super) fn consume(&mut self, length: usize) {
        if self.ahead.is_empty() {
            return self.stream.consume(length);
        }
        self.ahead.drain(..length);
    }
}

/// `BufRead::fill_buf`, repeated after `Interrupted`.
fn fill_buf(stream: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match stream.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The buffer is filled; this call only returns it, with a borrow that outlives the loop.
    stream.fill_buf()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn what_was_looked_at_is_read_once_and_in_order() {
        for capacity in [1, 2, 3, 100] {
            let mut stream = Lookahead::new(BufReader::with_capacity(capacity, &b"abcdefgh"[..]));
            assert_eq!(stream.peek(3).unwrap(), b"abc");
            assert_eq!(stream.peek(2).unwrap(), b"ab");
            stream.consume(1);
            assert_eq!(stream.peek(4).unwrap(), b"bcde");
            let mut rest = Vec::new();
            while !stream.fill_buf().unwrap().is_empty() {
                rest.push(stream.fill_buf().unwrap()[0]);
                stream.consume(1);
            }
            assert_eq!(rest, b"bcdefgh");
            assert_eq!(stream.peek(1).unwrap(), b"");
        }
    }
}
