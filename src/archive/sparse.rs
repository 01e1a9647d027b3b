//! Maps of sparse files: which parts of a file are stored, in all forms that tars use. Refuses a map that contradicts
//! itself, the file's size or the number of stored bytes. Holds at most [`MAX_REGIONS`] parts in memory.
//!
//! | form | where the map is |
//! |---|---|
//! | GNU (type `S`), star | the header, and blocks after it |
//! | GNU PAX 0.0, 0.1 | the extended header |
//! | GNU PAX 1.0 | in front of the content, as decimal numbers, one a line |

use super::header::{BLOCK, Dialect, Header, Number, number};

/// Most parts of a sparse file that are stored; 1 MiB of memory.
const MAX_REGIONS: u64 = 1 << 16;
/// Size of an offset and a length in a header, 12 bytes each.
const FIELDS: usize = 24;
/// Number of offsets and lengths in a header, and in each block after it.
const IN_HEADER: usize = 4;
const IN_BLOCK: usize = 21;

const MALFORMED: &str = "is a sparse file with a malformed map";
const TOO_MANY: &str = "is a sparse file with more than 65536 parts";

/// A part of a file that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    offset: u64,
    length: u64,
}

/// A part of a file, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Zeros, of which nothing is stored.
    Hole(u64),
    /// Stored bytes.
    Data(u64),
}

/// A map that is being read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    regions: Vec<Region>,
    /// An offset whose length has not been read.
    offset: Option<u64>,
    /// Size of the whole file, if the map states it.
    size: Option<u64>,
}

/// A map that agrees with the content.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) size: u64,
    regions: Vec<Region>,
}

impl Map {
    /// An empty map of a file of this size.
    pub(super) fn of_size(size: Option<u64>) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// The map, of a file of this size.
    pub(super) fn with_size(self, size: Option<u64>) -> Self {
        Self { size, ..self }
    }

    /// Adds an offset or a length, whose turn it is. Error: the rule that the map breaks.
    pub(super) fn push(&mut self, number: u64) -> Result<(), &'static str> {
        let Some(offset) = self.offset.take() else {
            self.offset = Some(number);
            return Ok(());
        };
        if self.regions.len() as u64 >= MAX_REGIONS {
            return Err(TOO_MANY);
        }
        let region = Region {
            offset,
            length: number,
        };
        self.regions.push(region);
        Ok(())
    }

    /// Whether an offset has been added whose length has not.
    pub(super) fn expects_length(&self) -> bool {
        self.offset.is_some()
    }

    /// Number of parts.
    pub(super) fn len(&self) -> u64 {
        self.regions.len() as u64
    }

    /// Checks the map against the number of bytes that are stored. Error: the rule that it breaks.
    pub(super) fn layout(self, stored: u64) -> Result<Layout, &'static str> {
        let mut end = 0_u64;
        let mut total = 0_u64;
        for region in &self.regions {
            if region.offset < end {
                return Err("is a sparse file whose parts overlap or are out of order");
            }
            end = region.offset.checked_add(region.length).ok_or(MALFORMED)?;
            // Cannot overflow: no more than `end`.
            total += region.length;
        }
        let size = self.size.unwrap_or(end);
        if end > size {
            return Err("is a sparse file whose parts go beyond its size");
        }
        if self.offset.is_some() || total != stored {
            return Err("is a sparse file whose map does not fit its content");
        }
        Ok(Layout {
            size,
            regions: self.regions,
        })
    }
}

impl Layout {
    /// The pieces of the file, in order; some may be empty.
    pub(super) fn pieces(self) -> impl Iterator<Item = Piece> {
        let end = self
            .regions
            .last()
            .map_or(0, |last| last.offset + last.length);
        let mut position = 0;
        let stored = self.regions.into_iter().flat_map(move |region| {
            let hole = region.offset - position;
            position = region.offset + region.length;
            [Piece::Hole(hole), Piece::Data(region.length)]
        });
        stored.chain([Piece::Hole(self.size - end)])
    }
}

/// The map in a header of type `S`, and whether blocks with more of it follow.
pub(super) fn in_header(header: &Header) -> Result<(Map, MoreBlocks), &'static str> {
    let (fields, more, size) = match header.dialect() {
        Dialect::Gnu => (386, 482, 483),
        Dialect::Star => (356, 355, 452),
        Dialect::Old | Dialect::Posix => return Err("is a sparse file of an unknown form"),
    };
    let Number::Value(size) = header.number(size, 12) else {
        return Err("is a sparse file with an unreadable size");
    };
    let mut map = Map::of_size(Some(size));
    push_fields(&mut map, header.bytes(fields, IN_HEADER * FIELDS))?;
    Ok((map, more_blocks(header.bytes(more, 1))))
}

/// Whether a block with more of the map follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MoreBlocks {
    Yes,
    No,
}

/// Adds the part of a map that is in a block after the header.
pub(super) fn push_block(map: &mut Map, block: &[u8; BLOCK]) -> Result<MoreBlocks, &'static str> {
    push_fields(map, &block[..IN_BLOCK * FIELDS])?;
    Ok(more_blocks(&block[IN_BLOCK * FIELDS..][..1]))
}

fn more_blocks(flag: &[u8]) -> MoreBlocks {
    match flag {
        [0 | b'0' | b' '] => MoreBlocks::No,
        _ => MoreBlocks::Yes,
    }
}

fn push_fields(map: &mut Map, fields: &[u8]) -> Result<(), &'static str> {
    for pair in fields.chunks_exact(FIELDS) {
        let (offset, length) = pair.split_at(FIELDS / 2);
        match (number(offset), number(length)) {
            (Number::Value(offset), Number::Value(length)) => {
                map.push(offset)?;
                map.push(length)?;
            }
            // The unused rest of the block.
            (Number::Absent, _) | (_, Number::Absent) => return Ok(()),
            _ => return Err(MALFORMED),
        }
    }
    Ok(())
}

/// Reads the map of PAX format 1.0, which is padded to whole blocks: the number of parts, then an offset and a length for
/// each.
pub(super) struct TextMap {
    map: Map,
    /// Number of offsets and lengths that have not been read; `None` before the number of parts has been.
    missing: Option<u64>,
    /// The digits of the current line.
    line: Vec<u8>,
}

impl TextMap {
    pub(super) fn new(map: Map) -> Self {
        Self {
            map,
            missing: None,
            line: Vec::new(),
        }
    }

    /// Reads a block. Returns the map at its end, else the rest of it.
    pub(super) fn read(mut self, block: &[u8]) -> Result<TextMapState, &'static str> {
        for &byte in block {
            match byte {
                b'\n' => self.end_line()?,
                // More digits than any 64-bit number has are refused at the line's end.
                _ if self.line.len() <= 20 => self.line.push(byte),
                _ => return Err(MALFORMED),
            }
            if self.missing == Some(0) {
                return Ok(TextMapState::Complete(self.map));
            }
        }
        Ok(TextMapState::Incomplete(self))
    }

    fn end_line(&mut self) -> Result<(), &'static str> {
        let value = decimal(&self.line).ok_or(MALFORMED)?;
        self.line.clear();
        self.missing = Some(match self.missing {
            None if value > MAX_REGIONS => return Err(TOO_MANY),
            None => 2 * value,
            Some(missing) => {
                self.map.push(value)?;
                missing - 1
            }
        });
        Ok(())
    }
}

pub(super) enum TextMapState {
    Incomplete(TextMap),
    Complete(Map),
}

/// Parses digits; no sign and no space.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}
