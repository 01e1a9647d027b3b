//! Writes an event whose JSON may be very large while it is serialized, so that it is never held as text.

use crate::http::StreamWriter;
use serde::Serialize;
use std::io::{self, BufWriter, Write};

const PIECE_BYTES: usize = 64 * 1024;

/// An event that is not serialized yet.
pub(super) struct LargeEvent<'a, T> {
    pub(super) name: &'static str,
    /// Serializes as a JSON object with members.
    pub(super) object: &'a T,
    /// What the client may resume after.
    pub(super) id: Option<&'a str>,
}

impl<T: Serialize> LargeEvent<'_, T> {
    /// Writes a server-sent event. Errors: the client has left, or reads too slowly.
    pub(super) fn write_sse(&self, writer: &mut StreamWriter<'_>) -> io::Result<()> {
        let mut pieces = Pieces::buffered(writer);
        if let Some(id) = self.id {
            writeln!(pieces, "id: {id}")?;
        }
        write!(pieces, "event: {}\ndata: ", self.name)?;
        serde_json::to_writer(&mut pieces, self.object)?;
        pieces.write_all(b"\n\n")?;
        pieces.flush()
    }

    /// Writes a line of NDJSON. Errors: likewise.
    pub(super) fn write_line(&self, writer: &mut StreamWriter<'_>) -> io::Result<()> {
        let mut pieces = Pieces::buffered(writer);
        write!(pieces, "{{\"event\":\"{}\",", self.name)?;
        if let Some(id) = self.id {
            write!(pieces, "\"event_id\":\"{id}\",")?;
        }
        let members = WithoutFirstByte {
            inner: &mut pieces,
            is_first: true,
        };
        serde_json::to_writer(members, self.object)?;
        pieces.write_all(b"\n")?;
        pieces.flush()
    }
}

/// Sends each write as one piece.
struct Pieces<'a, 'w>(&'a mut StreamWriter<'w>);

impl<'a, 'w> Pieces<'a, 'w> {
    fn buffered(writer: &'a mut StreamWriter<'w>) -> BufWriter<Self> {
        BufWriter::with_capacity(PIECE_BYTES, Self(writer))
    }
}

impl Write for Pieces<'_, '_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.send(piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leaves out the brace that opens the object.
struct WithoutFirstByte<W> {
    inner: W,
    is_first: bool,
}

impl<W: Write> Write for WithoutFirstByte<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.is_first) && !piece.is_empty() {
            self.inner.write_all(&piece[1..])?;
            return Ok(piece.len());
        }
        self.inner.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_large_event_has_the_same_bytes_as_a_small_one() {
        let object = json!({"a": "x".repeat(200_000), "b": [1]});
        let members = &object.to_string()[1..];
        for (id, sse, line) in [
            (
                None,
                format!("event: result\ndata: {object}\n\n"),
                format!("{{\"event\":\"result\",{members}\n"),
            ),
            (
                Some("7"),
                format!("id: 7\nevent: result\ndata: {object}\n\n"),
                format!("{{\"event\":\"result\",\"event_id\":\"7\",{members}\n"),
            ),
        ] {
            let event = LargeEvent {
                name: "result",
                object: &object,
                id,
            };
            let (mut as_sse, mut as_line) = (Vec::new(), Vec::new());
            event
                .write_sse(&mut StreamWriter::new(&mut as_sse))
                .unwrap();
            event
                .write_line(&mut StreamWriter::new(&mut as_line))
                .unwrap();
            assert!(as_sse == sse.as_bytes() && as_line == line.as_bytes());
        }
    }
}
