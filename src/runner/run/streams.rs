//! A container's two output streams: kept for the result within the run's limit, and passed to the sink as they come.

use crate::docker::container::Attached;
use crate::docker::stdcopy::{Stream, demultiplex, demultiplex_frames};
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::Encoding;
use crate::runner::run::log_lines::LogLines;
use crate::runner::run::output::{Capture, Captured};
use crate::runner::run::result::{Event, Sink};
use crate::runner::run::utf8_chunks::Utf8Chunks;

/// Both streams of one container.
pub(crate) struct OutputStreams<'a> {
    stdout: Tap<'a>,
    stderr: Tap<'a>,
}

/// What is kept of both streams.
pub(crate) struct CapturedOutput {
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}

impl<'a> OutputStreams<'a> {
    /// Streams of which nothing was read yet.
    pub(crate) fn new(spec: &RunSpec, sink: &'a dyn Sink) -> Self {
        Self {
            stdout: Tap::new(spec, Event::Stdout, sink),
            stderr: Tap::new(spec, Event::Stderr, sink),
        }
    }

    /// Reads an attach stream to its end, past every limit: an unread stream would block the container.
    pub(crate) fn read_attached(&mut self, mut output: Attached) -> Result<(), Error> {
        let outcome = demultiplex(&mut output.stream, &mut |stream, piece| {
            match stream {
                Stream::Stdout => self.stdout.push(piece),
                Stream::Stderr => self.stderr.push(piece),
            }
            Ok(())
        });
        self.end();
        outcome.map_err(|error| Error::Engine(format!("the container's output was cut: {error}")))
    }

    /// Reads a log to its end, which comes when the container ends, and restores the bytes that were printed.
    pub(crate) fn read_log(&mut self, mut log: Attached) -> Result<(), Error> {
        let (mut stdout_lines, mut stderr_lines) = (LogLines::default(), LogLines::default());
        let outcome = demultiplex_frames(&mut log.stream, &mut |stream, message| {
            let (tap, lines) = match stream {
                Stream::Stdout => (&mut self.stdout, &mut stdout_lines),
                Stream::Stderr => (&mut self.stderr, &mut stderr_lines),
            };
            lines.take(message, &mut |bytes| tap.push(bytes));
            Ok(())
        });
        stdout_lines.end(&mut |bytes| self.stdout.push(bytes));
        stderr_lines.end(&mut |bytes| self.stderr.push(bytes));
        self.end();
        outcome.map_err(|error| Error::Engine(format!("the container's log was cut: {error}")))
    }

    /// What is kept of both.
    pub(crate) fn finish(self, encoding: Encoding) -> CapturedOutput {
        CapturedOutput {
            stdout: self.stdout.capture.finish(encoding),
            stderr: self.stderr.capture.finish(encoding),
        }
    }

    fn end(&mut self) {
        self.stdout.end();
        self.stderr.end();
    }
}

/// One stream.
struct Tap<'a> {
    capture: Capture,
    /// `None`: the sink gets bytes, which may be cut anywhere.
    chunks: Option<Utf8Chunks>,
    event: fn(Vec<u8>) -> Event,
    sink: &'a dyn Sink,
}

impl<'a> Tap<'a> {
    fn new(spec: &RunSpec, event: fn(Vec<u8>) -> Event, sink: &'a dyn Sink) -> Self {
        Self {
            capture: Capture::new(spec.output_bytes),
            chunks: (spec.output_encoding == Encoding::Utf8).then(Utf8Chunks::default),
            event,
            sink,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.capture.push(piece);
        let complete = match &mut self.chunks {
            Some(chunks) => chunks.push(piece),
            None => piece.to_vec(),
        };
        self.send(complete);
    }

    fn end(&mut self) {
        let held = self.chunks.take().map(Utf8Chunks::finish);
        self.send(held.unwrap_or_default());
    }

    fn send(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.sink.event((self.event)(bytes));
        }
    }
}
