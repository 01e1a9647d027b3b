//! Reads tar entries, one after another, from any stream. Checks the format, not names or kinds of entries.
//!
//! Replaces the iterator of the `tar` crate, which buffers long names and extended headers of any size and loses PAX values
//! that contain newlines.

use std::io::{self, BufRead, Write};

use tar::{EntryType, Header};

use super::error::Error;
use super::{name, pax};

/// Buffer size of streams that are read or written.
pub(super) const BUFFER: usize = 128 * 1024;

const BLOCK: usize = 512;
/// Longest long name or extended header (the limit of Go's archive/tar).
const MAX_METADATA: u64 = 1 << 20;
/// All long names, extended headers and padding together may take as many bytes as content, but at least this many.
const MIN_METADATA_LIMIT: u64 = 16 << 20;
/// Most zeros after the end-of-archive marker; GNU tar pads to 10 KiB.
const MAX_PADDING: u64 = 16 << 20;
/// Latest time that fits into a header in plain octal: in the year 2242.
const MAX_MTIME: u64 = 0o777_7777_7777;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
    Symlink,
    Hardlink,
    /// A kind that is never copied, by its name in messages.
    Other(&'static str),
}

impl EntryKind {
    fn has_no_content(self) -> bool {
        matches!(self, Self::Directory | Self::Symlink | Self::Hardlink)
    }
}

/// An entry as it is in the archive. Names are not checked or normalised.
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
    /// Bytes of content.
    pub(super) size: u64,
}

/// Reads a tar. Errors of the underlying stream are returned unchanged.
pub(super) struct TarReader<R> {
    stream: R,
    /// Bytes of the current entry's content that have not been read.
    content: u64,
    /// Bytes of padding after that content.
    padding: u64,
    /// Bytes of long names, extended headers and padding so far.
    metadata: u64,
    metadata_limit: u64,
    /// The current entry's name, for messages.
    current: Vec<u8>,
    /// Whether a valid header has been read.
    has_header: bool,
}

/// The long names and the extended header that precede an entry.
#[derive(Default)]
struct Metadata {
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    pax: Option<pax::Overrides>,
}

impl Metadata {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_target.is_none() && self.pax.is_none()
    }
}

impl<R: BufRead> TarReader<R> {
    /// A reader for an archive with at most `content_limit` bytes of content. The caller enforces that limit; the reader
    /// derives its limit for long names and extended headers from it.
    pub(super) fn new(stream: R, content_limit: u64) -> Self {
        Self {
            stream,
            content: 0,
            padding: 0,
            metadata: 0,
            metadata_limit: content_limit.max(MIN_METADATA_LIMIT),
            current: Vec::new(),
            has_header: false,
        }
    }

    /// As [`TarReader::new`], for one archive of several that share a limit. `metadata` is what the earlier ones used.
    pub(super) fn continuing(stream: R, content_limit: u64, metadata: u64) -> Self {
        Self {
            metadata,
            ..Self::new(stream, content_limit)
        }
    }

    /// Bytes of long names, extended headers and padding so far.
    pub(super) fn metadata(&self) -> u64 {
        self.metadata
    }

    /// The next entry. Skips unread content of the previous one. `None` once the stream has been read to its end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.copy_content(&mut io::sink())?;
        let mut metadata = Metadata::default();
        loop {
            let header = match self.header()? {
                Some(header) => header,
                None if metadata.is_empty() => return Ok(None),
                None => {
                    return Err(Error::Tar(
                        "it describes an entry that does not come".to_owned(),
                    ));
                }
            };
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.long_name(&header)?;
                    set_once(&mut metadata.long_name, name)?;
                }
                EntryType::GNULongLink => {
                    let target = self.long_name(&header)?;
                    set_once(&mut metadata.long_target, target)?;
                }
                EntryType::XHeader => {
                    let overrides = self.extended_header(&header)?;
                    set_once(&mut metadata.pax, overrides)?;
                }
                EntryType::XGlobalHeader => {
                    if self.extended_header(&header)?.rename_or_resize() {
                        return Err(Error::Tar(
                            "a global header renames or resizes entries".to_owned(),
                        ));
                    }
                }
                _ => return self.entry(&header, metadata).map(Some),
            }
        }
    }

    /// Writes the unread content of the current entry to `sink`.
    pub(super) fn copy_content(&mut self, sink: &mut dyn Write) -> Result<(), Error> {
        while self.content > 0 {
            let chunk = self.next_chunk(self.content)?;
            let length = chunk.len();
            sink.write_all(chunk)?;
            self.stream.consume(length);
            self.content -= length as u64;
        }
        while self.padding > 0 {
            let length = self.next_chunk(self.padding)?.len();
            self.stream.consume(length);
            self.padding -= length as u64;
        }
        Ok(())
    }

    /// Buffered bytes, 1 to `max`, of the current entry. Error: the stream has ended.
    fn next_chunk(&mut self, max: u64) -> Result<&[u8], Error> {
        let chunk = fill_buf(&mut self.stream)?;
        if chunk.is_empty() {
            return Err(Error::Tar(format!(
                "it is cut short inside `{}`",
                name::for_display(&self.current)
            )));
        }
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Ok(&chunk[..chunk.len().min(max)])
    }

    /// The next header, its checksum verified. `None` at the end of the archive, after checking that nothing follows.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            let chunk = fill_buf(&mut self.stream)?;
            let length = chunk.len().min(BLOCK - filled);
            if length == 0 {
                break;
            }
            block[filled..filled + length].copy_from_slice(&chunk[..length]);
            self.stream.consume(length);
            filled += length;
        }
        match filled {
            0 if self.has_header => return Ok(None),
            0 => {
                return Err(Error::Tar(
                    "there is nothing in it, not even an end mark".to_owned(),
                ));
            }
            BLOCK => {}
            _ => return Err(Error::Tar(self.with_position("it is cut short"))),
        }
        if block.iter().all(|&byte| byte == 0) {
            return self.expect_only_zeros().map(|()| None);
        }
        self.verify_checksum(&header)?;
        self.has_header = true;
        Ok(Some(header))
    }

    fn verify_checksum(&self, header: &Header) -> Result<(), Error> {
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|&byte| u32::from(byte))
            .sum();
        match header.cksum() {
            Ok(stated) if stated == sum + 8 * u32::from(b' ') => Ok(()),
            _ if self.has_header => Err(Error::Tar(self.with_position("it has a broken header"))),
            _ => Err(Error::Tar("it does not begin as a tar does".to_owned())),
        }
    }

    /// Reads to the end of the stream. Anything but zeros after the end-of-archive marker is an error, because a second
    /// archive there would be ignored silently.
    fn expect_only_zeros(&mut self) -> Result<(), Error> {
        let mut zeros = 0;
        loop {
            let rest = fill_buf(&mut self.stream)?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|&byte| byte != 0) {
                return Err(Error::Tar("something follows its end mark".to_owned()));
            }
            let length = rest.len();
            zeros += length as u64;
            self.metadata = self.metadata.saturating_add(length as u64);
            if zeros > MAX_PADDING || self.metadata > self.metadata_limit + MAX_PADDING {
                return Err(Error::TooLarge(
                    "more than 16 MiB of zeros after the archive's end".to_owned(),
                ));
            }
            self.stream.consume(length);
        }
    }

    /// Reads the content of an entry that holds a long name or an extended header.
    fn metadata_content(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header
            .entry_size()
            .map_err(|_| Error::Tar(self.with_position("it has an unreadable size")))?;
        self.metadata = self
            .metadata
            .saturating_add(size)
            .saturating_add(BLOCK as u64);
        if size > MAX_METADATA || self.metadata > self.metadata_limit {
            return Err(Error::TooLarge(
                self.with_position("the names or extended headers of the archive"),
            ));
        }
        let mut content = Vec::new();
        self.expect_content(size);
        self.copy_content(&mut content)?;
        Ok(content)
    }

    /// A long name or link target, without the NUL bytes at its end.
    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut text = self.metadata_content(header)?;
        let length = text
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        text.truncate(length);
        Ok(text)
    }

    fn extended_header(&mut self, header: &Header) -> Result<pax::Overrides, Error> {
        let records = self.metadata_content(header)?;
        pax::parse(&records)
            .ok_or_else(|| Error::Tar(self.with_position("it has a malformed extended header")))
    }

    fn expect_content(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn entry(&mut self, header: &Header, metadata: Metadata) -> Result<Entry, Error> {
        let pax = metadata.pax.unwrap_or_default();
        let target = gnu_or_pax(metadata.long_target, pax.linkpath.clone())?;
        let name = gnu_or_pax(metadata.long_name, pax.path.clone())?;
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let entry = build_entry(header, &pax, name, target)?;
        self.current.clone_from(&entry.name);
        self.expect_content(entry.size);
        Ok(entry)
    }

    /// Appends the position in the archive to a message.
    fn with_position(&self, what: &str) -> String {
        if self.current.is_empty() {
            return format!("{what}, before the first entry");
        }
        format!("{what}, after `{}`", name::for_display(&self.current))
    }
}

/// Builds an entry from its header and its metadata. `target` is a link target that replaces the header's.
fn build_entry(
    header: &Header,
    pax: &pax::Overrides,
    name: Vec<u8>,
    target: Option<Vec<u8>>,
) -> Result<Entry, Error> {
    let unreadable = |what: &str| Error::entry(&name, format!("has an unreadable {what}"));
    let kind = match kind(header.entry_type(), &name) {
        EntryKind::File if pax.sparse => EntryKind::Other("sparse file"),
        kind => kind,
    };
    let size = match pax.size {
        Some(size) => size,
        None => header.entry_size().map_err(|_| unreadable("size"))?,
    };
    // Tar readers disagree on whether content follows such a header, so content is an error.
    if size > 0 && kind.has_no_content() {
        let rule = "is a directory or a link, yet has content";
        return Err(Error::entry(&name, rule));
    }
    let target = match kind {
        EntryKind::Symlink | EntryKind::Hardlink => {
            target.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned())
        }
        _ => Vec::new(),
    };
    let mtime = pax.mtime.or(header.mtime().ok());
    Ok(Entry {
        kind,
        target,
        mode: header.mode().map_err(|_| unreadable("mode"))? & 0o7777,
        uid: pax.uid.or(header.uid().ok()).unwrap_or(0),
        gid: pax.gid.or(header.gid().ok()).unwrap_or(0),
        mtime: mtime.filter(|&mtime| mtime <= MAX_MTIME).unwrap_or(0),
        size,
        name,
    })
}

/// `BufRead::fill_buf`, repeated after `Interrupted`.
fn fill_buf(stream: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match stream.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The buffer is filled; this call only returns it, with a borrow that outlives the loop.
    stream.fill_buf()
}

fn set_once<T>(field: &mut Option<T>, value: T) -> Result<(), Error> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Tar("it describes one entry twice".to_owned())),
    }
}

/// A value given in GNU's or in PAX's form. Both at once are an error, because tar readers disagree on which one counts.
fn gnu_or_pax(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(Error::Tar("it names one entry twice".to_owned())),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn kind(entry_type: EntryType, name: &[u8]) -> EntryKind {
    match entry_type {
        // In pre-POSIX tars a directory is a regular file whose name ends in a slash; Go's reader accepts it too.
        EntryType::Regular if name.ends_with(b"/") => EntryKind::Directory,
        EntryType::Regular => EntryKind::File,
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink,
        EntryType::Link => EntryKind::Hardlink,
        EntryType::Char => EntryKind::Other("character device"),
        EntryType::Block => EntryKind::Other("block device"),
        EntryType::Fifo => EntryKind::Other("FIFO"),
        EntryType::GNUSparse => EntryKind::Other("sparse file"),
        EntryType::Continuous => EntryKind::Other("contiguous file"),
        _ => EntryKind::Other("entry of an unknown type"),
    }
}
