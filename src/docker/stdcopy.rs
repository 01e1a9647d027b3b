//! Demultiplexes a container's output (`application/vnd.docker.raw-stream`, 8-byte frame heads).
use std::io::{self, Read};

/// Which stream a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Reads frames to the end of the stream; `sink` gets each piece as it arrives (a frame may come in several
/// pieces; nothing larger than 32 KiB is held). A cut frame, an unknown stream id or an engine error frame is an error.
pub fn demultiplex(
    source: &mut dyn Read,
    sink: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let _ = (source, sink);
    unimplemented!()
}
