//! A bounded in-memory pipe: one thread packs an archive while another sends it to the engine.

use std::io::{self, Read, Write};

/// A new pipe. Writing blocks while four chunks wait to be read.
pub(crate) fn pipe() -> (PipeReader, PipeWriter) {
    let (sender, receiver) = crossbeam_channel::bounded(4);
    (
        PipeReader {
            receiver,
            chunk: io::Cursor::new(Vec::new()),
        },
        PipeWriter {
            sender: Some(sender),
            buffer: Vec::with_capacity(PIPE_CHUNK_BYTES),
        },
    )
}

const PIPE_CHUNK_BYTES: usize = 256 * 1024;

/// `Err`: the packer failed. A closed channel is the end of the stream.
type Chunk = Result<Vec<u8>, String>;

/// The end that the engine call reads.
pub(crate) struct PipeReader {
    receiver: crossbeam_channel::Receiver<Chunk>,
    chunk: io::Cursor<Vec<u8>>,
}

/// The end that the packer writes to. Dropping it without [`PipeWriter::close`] loses what is buffered.
pub(crate) struct PipeWriter {
    sender: Option<crossbeam_channel::Sender<Chunk>>,
    buffer: Vec<u8>,
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.chunk.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.receiver.recv() {
                Ok(Ok(chunk)) => self.chunk = io::Cursor::new(chunk),
                Ok(Err(fault)) => return Err(io::Error::other(fault)),
                Err(_) => return Ok(0),
            }
        }
    }
}

impl PipeWriter {
    fn pass_on(&mut self, chunk: Chunk) -> io::Result<()> {
        let sender = self.sender.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        sender
            .send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends what is buffered, and ends the stream.
    pub(crate) fn close(mut self) {
        let rest = std::mem::take(&mut self.buffer);
        let _ = self.pass_on(Ok(rest));
    }

    /// Makes the reader's next read fail, so that the engine does not take the archive for a complete one.
    pub(crate) fn fail(mut self, fault: &str) {
        let _ = self.pass_on(Err(fault.to_owned()));
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Never more than a chunk, however much is written at once.
        let room = PIPE_CHUNK_BYTES - self.buffer.len();
        let bytes = &bytes[..bytes.len().min(room)];
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() == PIPE_CHUNK_BYTES {
            let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIPE_CHUNK_BYTES));
            self.pass_on(Ok(full))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
