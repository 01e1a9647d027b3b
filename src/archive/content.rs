//! The stream of a tar while an entry's content is read: the stored bytes, their padding, and the zeros between them if
//! the entry is a sparse file.

use std::io::{self, BufRead, Write};

use super::error::Error;
use super::header::BLOCK;
use super::lookahead::Lookahead;
use super::name;
use super::sparse::{Layout, Piece};

/// The stream, and how much of it belongs to the current entry.
pub(super) struct Content<R> {
    pub(super) stream: Lookahead<R>,
    /// Stored bytes that have not been read.
    stored: u64,
    /// Bytes of padding after them.
    padding: u64,
    /// Where the stored bytes belong, if the entry is a sparse file that has not been read.
    layout: Option<Layout>,
    /// The entry's name, for messages.
    name: Vec<u8>,
}

impl<R: BufRead> Content<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream: Lookahead::new(stream),
            stored: 0,
            padding: 0,
            layout: None,
            name: Vec::new(),
        }
    }

    /// Names the entry whose content comes next.
    pub(super) fn set_name(&mut self, name: &[u8]) {
        self.name = name.to_vec();
    }

    /// Expects `size` stored bytes, and their padding.
    pub(super) fn expect_stored(&mut self, size: u64) {
        self.stored = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Sets where the stored bytes belong.
    pub(super) fn set_layout(&mut self, layout: Layout) {
        self.layout = Some(layout);
    }

    /// Stored bytes that have not been read.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Writes the whole unread content to `sink`.
    pub(super) fn copy(&mut self, sink: &mut dyn Write) -> Result<(), Error> {
        match self.layout.take() {
            None => self.copy_stored(self.stored, sink)?,
            Some(layout) => {
                for piece in layout.pieces() {
                    match piece {
                        Piece::Hole(length) => write_zeros(sink, length)?,
                        Piece::Data(length) => self.copy_stored(length, sink)?,
                    }
                }
            }
        }
        self.skip()
    }

    /// Reads to the end of the entry.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        self.layout = None;
        self.copy_stored(self.stored, &mut io::sink())?;
        while self.padding > 0 {
            let length = self.next_chunk(self.padding)?.len();
            self.stream.consume(length);
            self.padding -= length as u64;
        }
        Ok(())
    }

    /// Whether the unread content begins with these few bytes, or ends before it could differ from them.
    pub(super) fn begins_like(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let length = usize::try_from(self.stored).map_or(bytes.len(), |all| all.min(bytes.len()));
        Ok(self.layout.is_none() && self.stream.peek(length)? == &bytes[..length])
    }

    /// Reads one block of a sparse file's map that lies between the header and the expected content.
    pub(super) fn block(&mut self) -> Result<[u8; BLOCK], Error> {
        let block = self.stream.peek(BLOCK)?.first_chunk().copied();
        let block = block.ok_or_else(|| self.cut_short())?;
        self.stream.consume(BLOCK);
        Ok(block)
    }

    /// Takes a block out of the expected content. Returns false if there is not that much.
    pub(super) fn shrink(&mut self) -> bool {
        match self.stored.checked_sub(BLOCK as u64) {
            Some(rest) => {
                self.stored = rest;
                true
            }
            None => false,
        }
    }

    /// Appends the position in the archive to a message.
    pub(super) fn with_position(&self, what: &str) -> String {
        if self.name.is_empty() {
            return format!("{what}, before the first entry");
        }
        format!("{what}, after `{}`", name::for_display(&self.name))
    }

    fn copy_stored(&mut self, length: u64, sink: &mut dyn Write) -> Result<(), Error> {
        let mut missing = length;
        while missing > 0 {
            let chunk = self.next_chunk(missing)?;
            let length = chunk.len();
            sink.write_all(chunk)?;
            self.stream.consume(length);
            missing -= length as u64;
            self.stored -= length as u64;
        }
        Ok(())
    }

    /// Buffered bytes, 1 to `max`. Error: the stream has ended.
    fn next_chunk(&mut self, max: u64) -> Result<&[u8], Error> {
        if self.stream.fill_buf()?.is_empty() {
            return Err(self.cut_short());
        }
        let chunk = self.stream.fill_buf()?;
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Ok(&chunk[..chunk.len().min(max)])
    }

    fn cut_short(&self) -> Error {
        Error::Tar(match self.name.is_empty() {
            true => self.with_position("it is cut short"),
            false => format!(
                "it is cut short in or after `{}`",
                name::for_display(&self.name)
            ),
        })
    }
}

fn write_zeros(sink: &mut dyn Write, length: u64) -> io::Result<()> {
    const ZEROS: [u8; 8192] = [0; 8192];
    let mut missing = length;
    while missing > 0 {
        let length = missing.min(ZEROS.len() as u64);
        sink.write_all(&ZEROS[..length as usize])?;
        missing -= length;
    }
    Ok(())
}
