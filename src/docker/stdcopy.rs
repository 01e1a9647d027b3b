//! Demultiplexes a container's output: frames with an 8-byte header (`application/vnd.docker.raw-stream`), as moby's
//! `stdcopy` does.
//!
//! [Stream format](https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach)
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::ops::ControlFlow;

/// The output stream that bytes were written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Whether to read on.
pub type Flow = io::Result<ControlFlow<()>>;

const PIECE: usize = 32 * 1024;
const HEADER: usize = 8;
const ENGINE_ERROR_LIMIT: u64 = 4096;

/// Reads frames to the end of the stream and calls `sink` for each piece as it arrives. A frame may come in several
/// pieces, each of at most 32 KiB. Errors: a cut frame, an unknown stream id, an error frame of the engine, and whatever
/// `sink` returns.
pub fn demultiplex(
    source: &mut dyn Read,
    sink: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    demultiplex_until(source, &mut |stream, piece| {
        sink(stream, piece).map(ControlFlow::Continue)
    })
}

/// As [`demultiplex`], but stops reading, wherever that is, when `sink` returns [`ControlFlow::Break`].
pub fn demultiplex_until(
    source: &mut dyn Read,
    sink: &mut dyn FnMut(Stream, &[u8]) -> Flow,
) -> io::Result<()> {
    let mut source = BufReader::with_capacity(PIECE, source);
    while let Some(header) = read_header(&mut source)? {
        let [id, padding @ .., a, b, c, d] = header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let flow = match (id, padding) {
            // By the Engine API, frames of stream 0 (stdin) are written to stdout.
            (0 | 1, [0, 0, 0]) => forward(&mut source, length, Stream::Stdout, sink)?,
            (2, [0, 0, 0]) => forward(&mut source, length, Stream::Stderr, sink)?,
            (3, [0, 0, 0]) => return Err(engine_error(&mut source, length)),
            _ => return Err(malformed("not a frame of a multiplexed stream")),
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// As [`demultiplex`], but calls `sink` once per frame. For logs: there a frame is one message, of at most 16 KiB.
pub fn demultiplex_frames(
    source: &mut dyn Read,
    sink: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    const MAX_FRAME: u32 = 1 << 20;
    let mut source = BufReader::with_capacity(PIECE, source);
    while let Some([id, _, _, _, a, b, c, d]) = read_header(&mut source)? {
        let length = u32::from_be_bytes([a, b, c, d]);
        let stream = match id {
            0 | 1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => return Err(engine_error(&mut source, length)),
            _ => return Err(malformed("not a frame of a multiplexed stream")),
        };
        if length > MAX_FRAME {
            return Err(malformed("a frame too long for a log's message"));
        }
        let mut message = vec![0; length as usize];
        source.read_exact(&mut message)?;
        sink(stream, &message)?;
    }
    Ok(())
}

/// Reads a frame's header; None if the stream ends before it.
fn read_header(source: &mut impl Read) -> io::Result<Option<[u8; HEADER]>> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match source.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(cut()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(header))
}

fn forward(
    source: &mut impl BufRead,
    length: u32,
    stream: Stream,
    sink: &mut dyn FnMut(Stream, &[u8]) -> Flow,
) -> Flow {
    let mut left = length as usize;
    while left > 0 {
        let available = match source.fill_buf() {
            Ok([]) => return Err(cut()),
            Ok(available) => available,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let count = available.len().min(left);
        let flow = sink(stream, &available[..count])?;
        source.consume(count);
        left -= count;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn engine_error(source: &mut impl Read, length: u32) -> io::Error {
    let mut message = Vec::new();
    let limit = u64::from(length).min(ENGINE_ERROR_LIMIT);
    match source.take(limit).read_to_end(&mut message) {
        Ok(_) => io::Error::other(format!(
            "the engine reports: {}",
            super::error::printable(&String::from_utf8_lossy(&message))
        )),
        Err(error) => error,
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn cut() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "the stream was cut within a frame",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(id: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id, 0, 0, 0];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Yields at most a given number of bytes per read, and `Interrupted` before each.
    struct Drip<'a>(&'a [u8], usize, bool);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = self.1.min(buffer.len());
            (&mut self.0).take(count as u64).read(buffer)
        }
    }

    fn collect(source: &mut dyn Read) -> (Vec<u8>, Vec<u8>, io::Result<()>) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let outcome = demultiplex(source, &mut |stream, piece| {
            assert!(piece.len() <= PIECE && !piece.is_empty());
            match stream {
                Stream::Stdout => stdout.extend_from_slice(piece),
                Stream::Stderr => stderr.extend_from_slice(piece),
            }
            Ok(())
        });
        (stdout, stderr, outcome)
    }

    #[test]
    fn frames_are_demultiplexed_for_any_read_size() {
        let wire = [
            frame(1, b"out"),
            frame(2, b""),
            frame(2, b"err"),
            frame(0, b"in"),
            frame(1, b"\xff\x00"),
        ]
        .concat();
        for step in [1, 2, 3, 7, 8, 9, 1000] {
            let (stdout, stderr, outcome) = collect(&mut Drip(&wire, step, false));
            outcome.unwrap();
            assert_eq!(
                (&stdout[..], &stderr[..]),
                (&b"outin\xff\x00"[..], &b"err"[..]),
                "{step}"
            );
        }
        assert!(collect(&mut io::empty()).2.is_ok());
    }

    #[test]
    fn a_large_frame_comes_in_small_pieces() {
        let payload = vec![b'x'; 5_000_000];
        let (stdout, _, outcome) = collect(&mut &frame(1, &payload)[..]);
        outcome.unwrap();
        assert!(stdout == payload);
    }

    #[test]
    fn each_fault_has_its_error_and_earlier_frames_are_delivered() {
        let whole = frame(1, b"before");
        let cases: &[(&[u8], ErrorKind, &str)] = &[
            (&[1, 0, 0], ErrorKind::UnexpectedEof, "cut"),
            (&[1, 0, 0, 0, 0, 0, 0, 9], ErrorKind::UnexpectedEof, "cut"),
            (
                &[1, 0, 0, 0, 0, 0, 0, 9, b'x'],
                ErrorKind::UnexpectedEof,
                "cut",
            ),
            (
                &[2, 0, 0, 0, 255, 255, 255, 255, b'x'],
                ErrorKind::UnexpectedEof,
                "cut",
            ),
            (
                &[4, 0, 0, 0, 0, 0, 0, 1, b'x'],
                ErrorKind::InvalidData,
                "not a frame",
            ),
            (
                &[1, 1, 0, 0, 0, 0, 0, 1, b'x'],
                ErrorKind::InvalidData,
                "not a frame",
            ),
            (
                b"plain text without frames",
                ErrorKind::InvalidData,
                "not a frame",
            ),
            (
                &[3, 0, 0, 0, 0, 0, 0, 4, b'b', 0x1b, b'd', b'\n'],
                ErrorKind::Other,
                "reports: b d",
            ),
            (
                &[3, 0, 0, 0, 255, 255, 255, 255, b'b'],
                ErrorKind::Other,
                "reports: b",
            ),
        ];
        for (bytes, kind, words) in cases {
            let wire = [&whole[..], bytes].concat();
            let (stdout, _, outcome) = collect(&mut &wire[..]);
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), *kind, "{bytes:?}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(stdout.starts_with(b"before"));
        }
    }

    #[test]
    fn reading_stops_where_the_sink_says_so() {
        let wire = [frame(1, b"a"), frame(2, b"end"), vec![9; 20]].concat();
        let mut seen = Vec::new();
        let outcome = demultiplex_until(&mut &wire[..], &mut |stream, piece| {
            seen.extend_from_slice(piece);
            Ok(match stream {
                Stream::Stdout => ControlFlow::Continue(()),
                Stream::Stderr => ControlFlow::Break(()),
            })
        });
        outcome.unwrap();
        assert_eq!(seen, b"aend");
    }

    #[test]
    fn an_error_of_the_sink_is_returned() {
        let wire = frame(1, b"x");
        let full = |_: Stream, _: &[u8]| Err(io::Error::from(ErrorKind::StorageFull));
        let error = demultiplex(&mut &wire[..], &mut { full }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
