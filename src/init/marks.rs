//! Finds the init's marks in an output stream and takes them out. Everything else passes unchanged, and at once: only bytes that
//! agree with the beginning of a mark wait for those that follow. Pure.

use super::protocol::{MARK_START, MOST_MARK_BYTES, Mark, START_DIGITS};

/// Reads one stream. Holds at most one mark's bytes.
pub struct MarkFilter {
    /// What every mark of this run begins with.
    beginning: Vec<u8>,
    /// What follows in the last mark. The first one does not have it.
    secret: Vec<u8>,
    /// Whether nothing of the stream was read yet. The first mark is only there.
    is_at_start: bool,
    /// The beginning of what may be a mark.
    held: Vec<u8>,
}

/// What is at one place of a stream.
enum Found {
    /// No mark begins here.
    Output,
    /// A mark of this length.
    Mark(Mark, usize),
    /// What follows decides.
    Undecided,
}

impl MarkFilter {
    /// A filter for marks with this nonce.
    pub fn new(nonce: &str) -> Self {
        let digits = nonce.as_bytes();
        let (public, secret) = digits.split_at(START_DIGITS.min(digits.len()));
        let mut beginning = vec![MARK_START];
        beginning.extend(public);
        Self {
            beginning,
            secret: secret.to_vec(),
            is_at_start: true,
            held: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream. Passes on what is output, and returns the last mark among them.
    pub fn push(&mut self, piece: &[u8], pass_on: &mut dyn FnMut(&[u8])) -> Option<Mark> {
        if self.held.is_empty() {
            return self.scan(piece, pass_on);
        }
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend(piece);
        self.scan(&bytes, pass_on)
    }

    /// Drops what waits: the stream broke, and comes again from its beginning.
    pub fn forget(&mut self) {
        self.held.clear();
        self.is_at_start = true;
    }

    /// To be called at the end of the stream: passes on what waits.
    pub fn finish(&mut self, pass_on: &mut dyn FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            pass_on(&held);
        }
    }

    fn scan(&mut self, bytes: &[u8], pass_on: &mut dyn FnMut(&[u8])) -> Option<Mark> {
        let mut last = None;
        // What is before `passed` was passed on or taken out; no mark begins before `at`.
        let (mut passed, mut at) = (0, 0);
        while let Some(place) = bytes[at..].iter().position(|byte| *byte == MARK_START) {
            at += place;
            match self.look(&bytes[at..], self.is_at_start && at == 0) {
                Found::Output => at += 1,
                Found::Mark(mark, length) => {
                    if passed < at {
                        pass_on(&bytes[passed..at]);
                    }
                    at += length;
                    passed = at;
                    last = Some(mark);
                }
                Found::Undecided => {
                    self.held = bytes[at..].to_vec();
                    break;
                }
            }
        }
        let end = bytes.len() - self.held.len();
        self.is_at_start &= end == 0;
        if passed < end {
            pass_on(&bytes[passed..end]);
        }
        last
    }

    fn look(&self, bytes: &[u8], is_at_start: bool) -> Found {
        let common = bytes.len().min(self.beginning.len());
        if bytes[..common] != self.beginning[..common] {
            return Found::Output;
        }
        let line = &bytes[..bytes.len().min(MOST_MARK_BYTES)];
        match line.iter().position(|byte| *byte == b'\n') {
            None if bytes.len() < MOST_MARK_BYTES => Found::Undecided,
            None => Found::Output,
            Some(end) => match self.parse(&line[common..end]) {
                Some(Mark::Started) if !is_at_start => Found::Output,
                Some(mark) => Found::Mark(mark, end + 1),
                None => Found::Output,
            },
        }
    }

    /// The mark whose beginning was read. `None`: these bytes are not one.
    fn parse(&self, rest: &[u8]) -> Option<Mark> {
        let (json, has_secret) = match rest.strip_prefix(&self.secret[..]) {
            Some(json) => (json, true),
            None => (rest, false),
        };
        let mark: Mark = serde_json::from_slice(json).ok()?;
        (mark.is_possible() && (has_secret || mark == Mark::Started)).then_some(mark)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::protocol::{End, Fate, Used};
    use super::*;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn end() -> Mark {
        Mark::Ended(End {
            fate: Fate::Exited(3),
            is_timeout: false,
            is_settled: true,
            used: Used::default(),
        })
    }

    /// Filters a stream that arrives in pieces of this size.
    fn filter(stream: &[u8], size: usize) -> (Vec<u8>, Vec<Mark>) {
        let mut filter = MarkFilter::new(NONCE);
        let (mut output, mut marks) = (Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            marks.extend(filter.push(piece, &mut |bytes| output.extend_from_slice(bytes)));
            assert!(filter.held.len() <= MOST_MARK_BYTES);
        }
        filter.finish(&mut |bytes| output.extend_from_slice(bytes));
        (output, marks)
    }

    #[test]
    fn marks_are_taken_out_wherever_the_stream_is_cut() {
        let stream = [
            &Mark::Started.encode(NONCE)[..],
            b"some \x1e output",
            &end().encode(NONCE),
        ]
        .concat();
        for size in 1..=stream.len() {
            let (output, marks) = filter(&stream, size);
            assert_eq!(output, b"some \x1e output", "{size}");
            assert_eq!(marks.last(), Some(&end()), "{size}");
        }
    }

    #[test]
    fn the_mark_of_the_start_does_not_help_to_make_one_of_the_end() {
        let started = Mark::Started.encode(NONCE);
        assert!(
            !started
                .windows(20)
                .any(|part| NONCE.contains(&*String::from_utf8_lossy(part)))
        );
        let json = serde_json::to_vec(&end()).unwrap();
        let forged = [&started[..=START_DIGITS], &json, b"\n"].concat();
        // A mark of the start counts only at the beginning of a stream; after that it is output.
        let stream = [&started[..], b"x", &started, &forged].concat();
        for size in 1..=stream.len() {
            let (output, marks) = filter(&stream, size);
            assert_eq!(output, stream[started.len()..], "{size}");
            assert_eq!(marks, [Mark::Started], "{size}");
        }
    }

    #[test]
    fn what_no_init_can_say_is_output() {
        for fate in [
            Fate::Exited(-1),
            Fate::Exited(256),
            Fate::Signalled(0),
            Fate::Signalled(-1),
            Fate::Signalled(65),
            Fate::Signalled(i32::MAX),
        ] {
            let Mark::Ended(end) = end() else { return };
            let forged = Mark::Ended(End { fate, ..end }).encode(NONCE);
            assert_eq!(filter(&forged, 7), (forged.clone(), Vec::new()));
        }
    }

    #[test]
    fn output_that_only_resembles_a_mark_passes_unchanged() {
        let foreign = end().encode("ffffffffffffffffffffffffffffffff");
        let mut cut = end().encode(NONCE);
        cut.pop();
        let own = [b"\x1e", NONCE.as_bytes()].concat();
        let broken = [&own[..], b"{}\n"].concat();
        let endless = [&own[..], &[b'x'; 3 * MOST_MARK_BYTES]].concat();
        let starts = [MARK_START; 5000];
        let twice = [&own[..20], &own[..30]].concat();
        for stream in [
            &foreign[..],
            &cut,
            &own,
            &broken,
            &endless,
            &starts,
            &twice,
            b"",
        ] {
            for size in [1, 2, 3, 7, 33, 34, 1000, 100_000] {
                assert_eq!(filter(stream, size), (stream.to_vec(), Vec::new()));
            }
        }
    }

    #[test]
    fn a_mark_within_what_resembles_one_is_found() {
        let own = [b"\x1e", NONCE.as_bytes()].concat();
        let stream = [&own[..], &own[..10], &end().encode(NONCE)].concat();
        for size in 1..stream.len() {
            let (output, marks) = filter(&stream, size);
            assert_eq!(marks, [end()], "{size}");
            assert_eq!(output, [&own[..], &own[..10]].concat());
        }
    }

    #[test]
    fn output_is_never_held_back_unless_it_resembles_a_mark() {
        let mut filter = MarkFilter::new(NONCE);
        for piece in [&b"prompt> "[..], b"\x1ex", b"\x1e0124", b"0123"] {
            let mut passed = 0;
            filter.push(piece, &mut |bytes| passed += bytes.len());
            assert_eq!(passed, piece.len());
        }
    }
}
