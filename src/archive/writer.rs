//! Plain tar, written one entry after another in the GNU format, which Go's archive/tar reads as GNU tar does: names of
//! any length and bytes, sizes and owners of any magnitude.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::UidGid;
use super::reader::Kind;

const BLOCK: usize = 512;
/// What fits in a header's own name and link fields.
const SHORT: usize = 100;
/// What GNU tar calls the entry that holds the name of the next one.
const LONG: &[u8] = b"././@LongLink";

/// What is written before an entry's content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: Kind,
    pub(super) target: &'a [u8],
    pub(super) mode: u32,
    pub(super) owner: UidGid,
    pub(super) mtime: u64,
    pub(super) size: u64,
}

/// Writes a tar. It keeps no account of content: `head` is followed by exactly its `size` bytes, then `end_content`.
pub(super) struct TarWriter<W> {
    stream: W,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream }
    }

    /// Where content goes.
    pub(super) fn content(&mut self) -> &mut W {
        &mut self.stream
    }

    /// Writes an entry up to its content.
    pub(super) fn head(&mut self, head: &Head<'_>) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type(head.kind));
        header.set_mode(head.mode);
        header.set_uid(head.owner.uid);
        header.set_gid(head.owner.gid);
        header.set_mtime(head.mtime);
        header.set_size(head.size);
        if head.target.len() > SHORT {
            self.long_text(EntryType::GNULongLink, head.target)?;
        }
        if head.name.len() > SHORT {
            self.long_text(EntryType::GNULongName, head.name)?;
        }
        let fields = header.as_old_mut();
        copy_start(&mut fields.name, head.name);
        copy_start(&mut fields.linkname, head.target);
        header.set_cksum();
        self.stream.write_all(header.as_bytes())
    }

    /// Pads the content that was written.
    pub(super) fn end_content(&mut self, size: u64) -> io::Result<()> {
        let padding = size.wrapping_neg() % BLOCK as u64;
        self.stream.write_all(&[0; BLOCK][..padding as usize])
    }

    /// Writes the end mark.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.stream.write_all(&[0; 2 * BLOCK])?;
        Ok(self.stream)
    }

    fn long_text(&mut self, entry_type: EntryType, text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let size = text.len() as u64 + 1;
        copy_start(&mut header.as_old_mut().name, LONG);
        header.set_entry_type(entry_type);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.stream.write_all(header.as_bytes())?;
        self.stream.write_all(text)?;
        self.stream.write_all(&[0])?;
        self.end_content(size)
    }
}

fn copy_start(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn entry_type(kind: Kind) -> EntryType {
    match kind {
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::Hardlink => EntryType::Link,
        Kind::File | Kind::Other(_) => EntryType::Regular,
    }
}
