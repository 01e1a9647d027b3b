//! An entry of a tar as its header and its metadata describe it. Names are not checked or normalised.

use super::error::Error;
use super::header::{Header, Number};
use super::pax::{self, SparseRecords};

/// Latest time that fits into a header in plain octal: in the year 2242.
const MAX_MTIME: u64 = 0o777_7777_7777;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
    Symlink,
    Hardlink,
    /// A hard link that comes with the file's content.
    HardlinkWithContent,
    /// A kind that is never copied, by its name in messages.
    Other(&'static str),
}

/// An entry as it is in the archive.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryKind,
    /// Target of a link; empty for other kinds.
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    /// Bytes of content, holes of a sparse file included.
    pub(super) size: u64,
}

/// The long names and the extended header that precede an entry.
#[derive(Default)]
pub(super) struct Metadata {
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    pax: Option<pax::Overrides>,
}

/// What precedes an entry's content, put together.
pub(super) struct Description {
    pub(super) name: Vec<u8>,
    target: Vec<u8>,
    /// Size in the header or the extended header; `None` if it is unreadable.
    pub(super) size: Option<u64>,
    pub(super) sparse: Option<SparseRecords>,
    pax: pax::Overrides,
}

impl Metadata {
    pub(super) fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_target.is_none() && self.pax.is_none()
    }

    pub(super) fn set_long_name(&mut self, name: Vec<u8>) -> Result<(), Error> {
        set_once(&mut self.long_name, name)
    }

    pub(super) fn set_long_target(&mut self, target: Vec<u8>) -> Result<(), Error> {
        set_once(&mut self.long_target, target)
    }

    pub(super) fn set_pax(&mut self, overrides: pax::Overrides) -> Result<(), Error> {
        set_once(&mut self.pax, overrides)
    }

    /// Puts the metadata and the header that follows it together.
    pub(super) fn describe(self, header: &Header) -> Result<Description, Error> {
        let mut pax = self.pax.unwrap_or_default();
        let target = gnu_or_pax(self.long_target, pax.linkpath.take())?;
        let name = gnu_or_pax(self.long_name, pax.path.take())?;
        let mut sparse = pax.sparse.take();
        let sparse_name = sparse.as_mut().and_then(|sparse| sparse.name.take());
        Ok(Description {
            name: sparse_name.or(name).unwrap_or_else(|| header.name()),
            target: target.unwrap_or_else(|| header.target().to_vec()),
            size: pax.size.or_else(|| readable_size(header)),
            sparse,
            pax,
        })
    }
}

impl Description {
    /// Whether the content is the rest of a file that began in an earlier volume of a multi-volume archive.
    pub(super) fn is_continuation(&self) -> bool {
        self.pax.is_continuation
    }

    pub(super) fn kind(&self, header: &Header) -> EntryKind {
        match header.type_flag() {
            // In pre-POSIX tars a directory is a regular file whose name ends in a slash; Go's reader accepts it too.
            0 | b'0' | b'7' if self.name.ends_with(b"/") => EntryKind::Directory,
            // `7` is a contiguous file, which is a regular one where contiguous ones do not exist.
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::Hardlink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Other("character device"),
            b'4' => EntryKind::Other("block device"),
            // `D` is GNU tar's for a directory of an incremental backup; its content lists names.
            b'5' | b'D' => EntryKind::Directory,
            b'6' => EntryKind::Other("FIFO"),
            _ => EntryKind::Other("file of an unknown type"),
        }
    }

    /// The entry. Owners and times that are blank or unreadable become 0, such a mode that of new files and directories.
    pub(super) fn entry(self, header: &Header, kind: EntryKind, size: u64) -> Entry {
        let is_link = matches!(
            kind,
            EntryKind::Symlink | EntryKind::Hardlink | EntryKind::HardlinkWithContent
        );
        let mode = match (header.mode(), kind) {
            (Number::Value(mode), _) => (mode & 0o7777) as u32,
            (_, EntryKind::Directory) => 0o755,
            _ => 0o644,
        };
        let mtime = self.pax.mtime.or(value(header.mtime()));
        Entry {
            kind,
            mode,
            target: if is_link { self.target } else { Vec::new() },
            uid: self.pax.uid.or(value(header.uid())).unwrap_or(0),
            gid: self.pax.gid.or(value(header.gid())).unwrap_or(0),
            mtime: mtime.filter(|&mtime| mtime <= MAX_MTIME).unwrap_or(0),
            size,
            name: self.name,
        }
    }
}

/// The size in a header; a blank one is 0. `None`: it is unreadable.
pub(super) fn readable_size(header: &Header) -> Option<u64> {
    match header.size() {
        Number::Absent => Some(0),
        size => value(size),
    }
}

fn value(number: Number) -> Option<u64> {
    match number {
        Number::Value(value) => Some(value),
        Number::Absent | Number::Negative | Number::Unreadable => None,
    }
}

/// Two values for one entry are an error unless they are equal, because tar readers disagree on which one counts.
fn set_once<T: PartialEq>(field: &mut Option<T>, value: T) -> Result<(), Error> {
    match field {
        Some(known) if *known != value => Err(Error::Tar(
            "it describes one entry twice, differently".to_owned(),
        )),
        _ => {
            *field = Some(value);
            Ok(())
        }
    }
}

/// A value given in GNU's or in PAX's form, or in both.
fn gnu_or_pax(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => Err(Error::Tar(
            "it names one entry twice, differently".to_owned(),
        )),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}
