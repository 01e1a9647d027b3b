//! Writes plain tar, entry by entry, in the GNU format, which Go's archive/tar reads. It allows names of any length and
//! bytes, and sizes and ids of any magnitude.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::entry::EntryKind;

const BLOCK: usize = 512;
/// Length of a header's own name and link fields.
const SHORT_NAME: usize = 100;
/// Name that GNU tar gives to the entry that holds a long name of the next one.
const LONG_LINK: &[u8] = b"././@LongLink";

/// Numeric owner of the entries that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UidGid {
    /// Numeric user.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
}

/// The fields of an entry's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryHeader<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: EntryKind,
    pub(super) target: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid_gid: UidGid,
    pub(super) mtime: u64,
    pub(super) size: u64,
}

/// An entry that was written, as far as it can be found again where the tar was extracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEntry {
    /// Its name in the tar.
    pub name: Vec<u8>,
    /// Size and modification time, in seconds since 1970, if it is a file.
    pub file: Option<FileStamp>,
}

/// What identifies the version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes of content.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u64,
}

/// Writes a tar. Does not check content: after `write_header` the caller writes exactly `size` bytes to `content`, then
/// calls `pad_content`.
pub(super) struct TarWriter<W> {
    stream: W,
    last: Option<LastEntry>,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, last: None }
    }

    /// The last entry so far that is no directory.
    pub(super) fn last_entry(&self) -> Option<LastEntry> {
        self.last.clone()
    }

    /// The stream to write an entry's content to.
    pub(super) fn content(&mut self) -> &mut W {
        &mut self.stream
    }

    /// Writes an entry's header, preceded by entries for a long name or target.
    pub(super) fn write_header(&mut self, entry: &EntryHeader<'_>) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry_type(entry.kind));
        header.set_mode(entry.mode);
        header.set_uid(entry.uid_gid.uid);
        header.set_gid(entry.uid_gid.gid);
        header.set_mtime(entry.mtime);
        header.set_size(entry.size);
        if entry.target.len() > SHORT_NAME {
            self.write_long_name(EntryType::GNULongLink, entry.target)?;
        }
        if entry.name.len() > SHORT_NAME {
            self.write_long_name(EntryType::GNULongName, entry.name)?;
        }
        if entry.kind != EntryKind::Directory {
            self.note(entry);
        }
        let fields = header.as_old_mut();
        copy_prefix(&mut fields.name, entry.name);
        copy_prefix(&mut fields.linkname, entry.target);
        header.set_cksum();
        self.stream.write_all(header.as_bytes())
    }

    fn note(&mut self, entry: &EntryHeader<'_>) {
        let stamp = FileStamp {
            size: entry.size,
            mtime: entry.mtime,
        };
        let last = self.last.get_or_insert_with(|| LastEntry {
            name: Vec::new(),
            file: None,
        });
        last.name.clear();
        last.name.extend_from_slice(entry.name);
        last.file = (entry.kind == EntryKind::File).then_some(stamp);
    }

    /// Pads content of `size` bytes to a full block.
    pub(super) fn pad_content(&mut self, size: u64) -> io::Result<()> {
        let padding = size.wrapping_neg() % BLOCK as u64;
        self.stream.write_all(&[0; BLOCK][..padding as usize])
    }

    /// Writes the end-of-archive marker.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.stream.write_all(&[0; 2 * BLOCK])?;
        Ok(self.stream)
    }

    fn write_long_name(&mut self, entry_type: EntryType, text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let size = text.len() as u64 + 1;
        copy_prefix(&mut header.as_old_mut().name, LONG_LINK);
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
        self.pad_content(size)
    }
}

fn copy_prefix(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn entry_type(kind: EntryKind) -> EntryType {
    match kind {
        EntryKind::Directory => EntryType::Directory,
        EntryKind::Symlink => EntryType::Symlink,
        EntryKind::Hardlink => EntryType::Link,
        EntryKind::File | EntryKind::HardlinkWithContent | EntryKind::Other(_) => {
            EntryType::Regular
        }
    }
}
