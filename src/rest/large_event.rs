//! Writes an event whose JSON may be very large while it is serialized, so that it is never held as text.

use super::stream::Delivery;
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
    /// Writes the event as `delivery` frames it. Errors: the client has left, or reads too slowly.
    pub(super) fn write(
        &self,
        delivery: Delivery,
        writer: &mut StreamWriter<'_>,
    ) -> io::Result<()> {
        let mut pieces = BufWriter::with_capacity(PIECE_BYTES, Pieces(writer));
        match delivery {
            Delivery::Sse => self.write_sse(&mut pieces)?,
            Delivery::Json | Delivery::Ndjson => self.write_line(&mut pieces)?,
        }
        pieces.flush()
    }

    fn write_sse(&self, pieces: &mut impl Write) -> io::Result<()> {
        if let Some(id) = self.id {
            writeln!(pieces, "id: {id}")?;
        }
        write!(pieces, "event: {}\ndata: ", self.name)?;
        serde_json::to_writer(&mut *pieces, self.object)?;
        pieces.write_all(b"\n\n")
    }

    fn write_line(&self, pieces: &mut impl Write) -> io::Result<()> {
        write!(pieces, "{{\"event\":\"{}\",", self.name)?;
        if let Some(id) = self.id {
            write!(pieces, "\"event_id\":\"{id}\",")?;
        }
        let members = WithoutFirstByte {
            inner: &mut *pieces,
            is_first: true,
        };
        serde_json::to_writer(members, self.object)?;
        pieces.write_all(b"\n")
    }
}

/// Sends each write as one piece.
struct Pieces<'a, 'w>(&'a mut StreamWriter<'w>);

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
        for (delivery, id, expected) in [
            (
                Delivery::Sse,
                None,
                format!("event: result\ndata: {object}\n\n"),
            ),
            (
                Delivery::Sse,
                Some("7"),
                format!("id: 7\nevent: result\ndata: {object}\n\n"),
            ),
            (
                Delivery::Ndjson,
                None,
                format!("{{\"event\":\"result\",{}\n", &object.to_string()[1..]),
            ),
            (
                Delivery::Ndjson,
                Some("7"),
                format!(
                    "{{\"event\":\"result\",\"event_id\":\"7\",{}\n",
                    &object.to_string()[1..]
                ),
            ),
        ] {
            let event = LargeEvent {
                name: "result",
                object: &object,
                id,
            };
            let mut written = Vec::new();
            event
                .write(delivery, &mut StreamWriter::new(&mut written))
                .unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}
