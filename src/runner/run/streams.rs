//! A container's two output streams: kept for the result within the run's limit, and passed to the sink as they come.

use crate::cancel::Cancel;
use crate::docker::container::Attached;
use crate::docker::stdcopy::{Stream, demultiplex_frames, demultiplex_until};
use crate::init::marks::MarkFilter;
use crate::init::protocol::{End, Fate, Mark};
use crate::runner::error::Error;
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::Encoding;
use crate::runner::run::log_lines::{LaterMessages, LogLines};
use crate::runner::run::output::{Capture, Captured};
use crate::runner::run::result::{Event, Sink};
use crate::runner::run::utf8_chunks::Utf8Chunks;
use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

/// Both streams of one container.
pub(crate) struct OutputStreams<'a> {
    stdout: Tap<'a>,
    stderr: Tap<'a>,
}

/// What is kept of both streams.
pub(crate) struct CapturedOutput {
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
    /// What the container's own PID 1 of this service said of the end.
    pub(crate) end: Option<End>,
}

impl<'a> OutputStreams<'a> {
    /// Streams of which nothing was read yet. `nonce` is that of the marks of the container's PID 1, if that is this service's.
    pub(crate) fn new(spec: &RunSpec, nonce: Option<&str>, sink: &'a dyn Sink) -> Self {
        let start = StartEvent {
            sink,
            sent: Cancel::default(),
            is_marked: Rc::default(),
            has_output: Rc::default(),
        };
        let tap = |event| Tap {
            marks: nonce.map(MarkFilter::new),
            ..Tap::new(spec, event, start.clone())
        };
        Self {
            stdout: tap(Event::Stdout),
            stderr: tap(Event::Stderr),
        }
    }

    /// Sends [`Event::Started`]. For a container whose PID 1 does not say when it starts the command, or that started long ago.
    pub(crate) fn announce_start(&self) {
        self.stdout.start.send();
    }

    /// Whether PID 1 has said on both streams that the command has ended and that nothing changes any more.
    fn has_settled(&self) -> bool {
        let is_settled = |tap: &Tap<'_>| tap.end.as_ref().is_some_and(|end| end.is_settled);
        is_settled(&self.stdout) && is_settled(&self.stderr)
    }

    /// Fires when the command begins, as far as is seen here.
    pub(crate) fn begun(&self) -> Cancel {
        self.stdout.start.sent.clone()
    }

    /// Whether PID 1 has said that it begins the command, or that it has ended; or whether the command has printed something.
    pub(crate) fn has_begun(&self) -> bool {
        self.stdout.start.sent.is_fired() || self.end_mark().is_some()
    }

    /// Names of the streams on which PID 1 is to say that the command has ended, and has not.
    pub(crate) fn without_end_mark(&self) -> Vec<&'static str> {
        let taps = [("stdout", &self.stdout), ("stderr", &self.stderr)];
        let endless = taps
            .into_iter()
            .filter(|(_, tap)| tap.marks.is_some() && tap.end.is_none());
        endless.map(|(name, _)| name).collect()
    }

    /// What PID 1 said of the end, on either stream.
    pub(crate) fn end_mark(&self) -> Option<&End> {
        self.stdout.end.as_ref().or(self.stderr.end.as_ref())
    }

    /// Reads an attach stream to its end, past every limit: an unread stream would block the container. That end may come from PID 1,
    /// before the engine's.
    pub(crate) fn read_attached(&mut self, mut output: Attached) -> Result<(), Error> {
        demultiplex_until(&mut output.stream, &mut |stream, piece| {
            match stream {
                Stream::Stdout => self.stdout.push(piece),
                Stream::Stderr => self.stderr.push(piece),
            }
            // A mark of one stream can come before output of the other.
            Ok(match self.has_settled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })
        .map_err(|error| Error::Engine(format!("the container's output was cut: {error}")))
    }

    /// Reads a log to its end and restores the bytes that were printed. Called again with the same log, it continues after the
    /// last message that it read before. `seen` is called with every message of the log, with its time.
    pub(crate) fn read_log(
        &mut self,
        mut log: Attached,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<LogEnd, Error> {
        let (mut stdout, mut stderr) = (self.stdout.later_messages(), self.stderr.later_messages());
        demultiplex_frames(&mut log.stream, &mut |stream, message| {
            seen(message);
            match stream {
                Stream::Stdout => self.stdout.take(message, &mut stdout),
                Stream::Stderr => self.stderr.take(message, &mut stderr),
            }
            Ok(())
        })
        .map_err(|error| Error::Engine(format!("the container's log was cut: {error}")))?;
        Ok(match stdout.has_gap() || stderr.has_gap() {
            true => LogEnd::Gap,
            false => LogEnd::Complete,
        })
    }

    /// To be called when an attach stream broke, before the log is read: the log begins with what was read already, which is then
    /// skipped.
    pub(crate) fn expect_repetition(&mut self) {
        for tap in [&mut self.stdout, &mut self.stderr] {
            tap.repeated = Some(0);
            if let Some(marks) = &mut tap.marks {
                marks.forget();
            }
        }
    }

    /// How much was read, and recognised as read before. Grows while more comes.
    pub(crate) fn position(&self) -> u64 {
        let position = |tap: &Tap<'_>| tap.capture.total() + tap.repeated.unwrap_or(0);
        position(&self.stdout) + position(&self.stderr)
    }

    /// Whether a log did not repeat what was read before it, so that what was printed in between may be missing.
    pub(crate) fn is_torn(&self) -> bool {
        self.stdout.is_torn || self.stderr.is_torn
    }

    /// Ends both streams. Returns the names of those whose last newline is not in the log and was assumed.
    pub(crate) fn end(&mut self) -> Vec<&'static str> {
        let taps = [("stdout", &mut self.stdout), ("stderr", &mut self.stderr)];
        let ended = taps
            .into_iter()
            .filter_map(|(name, tap)| tap.end().then_some(name));
        ended.collect()
    }

    /// What is kept of both, once they have ended. They are empty after that.
    pub(crate) fn finish(&mut self, encoding: Encoding) -> CapturedOutput {
        self.end();
        let end = self.end_mark().cloned();
        let finish = |tap: &mut Tap<'_>| {
            std::mem::replace(&mut tap.capture, Capture::new(0)).finish(encoding)
        };
        CapturedOutput {
            stdout: finish(&mut self.stdout),
            stderr: finish(&mut self.stderr),
            end,
        }
    }
}

/// Whether a reading of a log continued where the one before had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogEnd {
    Complete,
    /// The engine has removed the message where the one before ended; others may be missing too.
    Gap,
}

/// One stream.
struct Tap<'a> {
    capture: Capture,
    /// `None`: the sink gets bytes, which may be cut anywhere.
    chunks: Option<Utf8Chunks>,
    /// Empty for an attached stream.
    lines: LogLines,
    /// How much of what was read before has come again, while it may still come again.
    repeated: Option<u64>,
    /// What was read before did not come again in full.
    is_torn: bool,
    /// Takes out what PID 1 says. `None`: PID 1 is the command.
    marks: Option<MarkFilter>,
    /// What it said of the end.
    end: Option<End>,
    event: fn(Vec<u8>) -> Event,
    start: StartEvent<'a>,
}

/// Sends [`Event::Started`] once, before all output.
#[derive(Clone)]
struct StartEvent<'a> {
    sink: &'a dyn Sink,
    /// Fires when it was sent.
    sent: Cancel,
    /// Whether PID 1 has said that it begins the command.
    is_marked: Rc<Cell<bool>>,
    /// Whether the command has printed something.
    has_output: Rc<Cell<bool>>,
}

impl StartEvent<'_> {
    fn send(&self) {
        if !self.sent.is_fired() {
            self.sent.fire();
            self.sink.event(Event::Started);
        }
    }

    /// Whether this end agrees with what came before it. A command that has printed something was started.
    fn allows(&self, fate: &Fate) -> bool {
        match fate {
            Fate::NotStarted(_) if self.has_output.get() => false,
            fate => !self.is_marked.get() || fate.may_follow_start(),
        }
    }
}

impl<'a> Tap<'a> {
    fn new(spec: &RunSpec, event: fn(Vec<u8>) -> Event, start: StartEvent<'a>) -> Self {
        Self {
            marks: None,
            end: None,
            capture: Capture::new(spec.output_bytes),
            chunks: (spec.output_encoding == Encoding::Utf8).then(Utf8Chunks::default),
            lines: LogLines::default(),
            repeated: None,
            is_torn: false,
            event,
            start,
        }
    }

    /// Takes bytes of the stream.
    fn push(&mut self, piece: &[u8]) {
        let Some(mut marks) = self.marks.take() else {
            return self.push_output(piece);
        };
        let mark = marks.push(piece, &mut |bytes| self.push_output(bytes));
        self.marks = Some(marks);
        match mark {
            Some(Mark::Started) => {
                self.start.is_marked.set(true);
                self.start.send();
            }
            Some(Mark::Ended(end)) if self.start.allows(&end.fate) => {
                if !matches!(end.fate, Fate::NotStarted(_)) {
                    self.start.send();
                }
                self.end = Some(end);
            }
            Some(Mark::Ended(_)) | None => {}
        }
    }

    fn push_output(&mut self, piece: &[u8]) {
        self.start.has_output.set(true);
        let piece = self.skip_repeated(piece);
        self.capture.push(piece);
        let complete = match &mut self.chunks {
            Some(chunks) => chunks.push(piece),
            None => piece.to_vec(),
        };
        self.send(complete);
    }

    fn skip_repeated<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let Some(position) = self.repeated else {
            return piece;
        };
        let same = self.capture.count_same(position, piece);
        let position = position + same as u64;
        let is_complete = position == self.capture.total();
        let may_go_on = same == piece.len() && !is_complete;
        self.repeated = may_go_on.then_some(position);
        self.is_torn |= same < piece.len() && !is_complete;
        &piece[same..]
    }

    fn later_messages(&self) -> LaterMessages {
        self.lines.later_messages()
    }

    /// Takes a message of a log, unless an earlier reading has had it.
    fn take(&mut self, message: &[u8], later: &mut LaterMessages) {
        if later.includes(message) {
            let mut lines = std::mem::take(&mut self.lines);
            lines.take(message, &mut |bytes| self.push(bytes));
            self.lines = lines;
        }
    }

    /// Ends the stream. Returns whether its last newline is assumed.
    fn end(&mut self) -> bool {
        let mut lines = std::mem::take(&mut self.lines);
        let is_assumed = lines.end(&mut |bytes| self.push(bytes));
        if let Some(mut marks) = self.marks.take() {
            marks.finish(&mut |bytes| self.push_output(bytes));
            self.marks = Some(marks);
        }
        let held = self.chunks.take().map(Utf8Chunks::finish);
        self.send(held.unwrap_or_default());
        // The newline of the last mark is no output.
        is_assumed && self.end.is_none()
    }

    fn send(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.start.send();
            self.start.sink.event((self.event)(bytes));
        }
    }
}
