//! Tar entries, read one after another from any stream. The crate's own iterator is not used: it holds long names and
//! extended headers of any size, and loses PAX values with newlines. Nothing is judged here but the format itself.

use std::io::{self, BufRead, Write};

use tar::{EntryType, Header};

use super::{Error, pax};

/// Bytes taken from below at once.
pub(super) const BUFFER: usize = 128 * 1024;

const BLOCK: usize = 512;
/// Longest single long name or extended header (as Go's archive/tar has it).
const MAX_DESCRIPTION: u64 = 1 << 20;
/// All long names and extended headers may take as much as content may, and this much in any case.
const MIN_DESCRIBE_LIMIT: u64 = 16 << 20;
/// Most zeros after the end of an archive; GNU tar pads to 10 KiB.
const MAX_PADDING: u64 = 16 << 20;
/// Latest time that a header holds in plain octal: the year 2242.
const MAX_MTIME: u64 = 0o777_7777_7777;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    /// Something that we never pass on, by its name.
    Other(&'static str),
}

/// An entry as the archive has it, unchecked.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Where a link points; empty for everything else.
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    /// Bytes of content that follow.
    pub(super) size: u64,
}

/// Reads a tar; errors of the stream below pass through as they are.
pub(super) struct TarReader<R> {
    stream: R,
    /// Content of the current entry not yet read, and the padding behind it.
    content: u64,
    padding: u64,
    /// Bytes of long names and extended headers so far, and their limit.
    described: u64,
    describe_limit: u64,
    /// The current entry's name, for messages.
    current: Vec<u8>,
    begun: bool,
}

/// What stood before an entry to describe it.
#[derive(Default)]
struct Description {
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    pax: Option<pax::Overrides>,
}

impl Description {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_target.is_none() && self.pax.is_none()
    }
}

impl<R: BufRead> TarReader<R> {
    /// A reader for an archive that may hold `content_limit` bytes. The caller bounds content; names are bounded here.
    pub(super) fn new(stream: R, content_limit: u64) -> Self {
        Self {
            stream,
            content: 0,
            padding: 0,
            described: 0,
            describe_limit: content_limit.max(MIN_DESCRIBE_LIMIT),
            current: Vec::new(),
            begun: false,
        }
    }

    /// The next entry; what is left of the one before is skipped. `None` once the whole stream was read to its end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.copy_content(&mut io::sink())?;
        let mut description = Description::default();
        loop {
            let header = match self.header()? {
                Some(header) => header,
                None if description.is_empty() => return Ok(None),
                None => {
                    return Err(Error::Tar(
                        "it describes an entry that does not come".to_owned(),
                    ));
                }
            };
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.long_text(&header)?;
                    once(&mut description.long_name, name)?;
                }
                EntryType::GNULongLink => {
                    let target = self.long_text(&header)?;
                    once(&mut description.long_target, target)?;
                }
                EntryType::XHeader => {
                    let overrides = self.extended_header(&header)?;
                    once(&mut description.pax, overrides)?;
                }
                EntryType::XGlobalHeader => {
                    if self.extended_header(&header)?.change_meaning() {
                        return Err(Error::Tar(
                            "a global header renames or resizes entries".to_owned(),
                        ));
                    }
                }
                _ => return self.entry(&header, description).map(Some),
            }
        }
    }

    /// Writes what is left of the current entry's content to `sink`.
    pub(super) fn copy_content(&mut self, sink: &mut dyn Write) -> Result<(), Error> {
        while self.content > 0 {
            let part = self.part(self.content)?;
            let length = part.len();
            sink.write_all(part).map_err(Error::Io)?;
            self.stream.consume(length);
            self.content -= length as u64;
        }
        while self.padding > 0 {
            let length = self.part(self.padding)?.len();
            self.stream.consume(length);
            self.padding -= length as u64;
        }
        Ok(())
    }

    /// Some of the next `most` bytes, which have to come.
    fn part(&mut self, most: u64) -> Result<&[u8], Error> {
        let part = fill(&mut self.stream)?;
        if part.is_empty() {
            return Err(Error::Tar(format!(
                "it is cut short inside `{}`",
                super::name::shown(&self.current)
            )));
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(&part[..part.len().min(most)])
    }

    /// The next header. `None` at the end, which is then proven to be one.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            let part = fill(&mut self.stream)?;
            let length = part.len().min(BLOCK - filled);
            if length == 0 {
                break;
            }
            block[filled..filled + length].copy_from_slice(&part[..length]);
            self.stream.consume(length);
            filled += length;
        }
        match filled {
            0 if self.begun => return Ok(None),
            0 => {
                return Err(Error::Tar(
                    "there is nothing in it, not even an end mark".to_owned(),
                ));
            }
            BLOCK => {}
            _ => return Err(Error::Tar(self.place("it is cut short"))),
        }
        if block.iter().all(|&byte| byte == 0) {
            return self.rest_is_zero().map(|()| None);
        }
        self.prove(&header)?;
        self.begun = true;
        Ok(Some(header))
    }

    fn prove(&self, header: &Header) -> Result<(), Error> {
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|&byte| u32::from(byte))
            .sum();
        match header.cksum() {
            Ok(stated) if stated == sum + 8 * u32::from(b' ') => Ok(()),
            _ if self.begun => Err(Error::Tar(self.place("it has a broken header"))),
            _ => Err(Error::Tar("it does not begin as a tar does".to_owned())),
        }
    }

    /// Everything after the end mark must be zero: a second archive there would be lost silently.
    fn rest_is_zero(&mut self) -> Result<(), Error> {
        let mut zeros = 0;
        loop {
            let rest = fill(&mut self.stream)?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|&byte| byte != 0) {
                return Err(Error::Tar("something follows its end mark".to_owned()));
            }
            let length = rest.len();
            zeros += length as u64;
            if zeros > MAX_PADDING {
                return Err(Error::TooLarge(
                    "more than 16 MiB of zeros after the archive's end".to_owned(),
                ));
            }
            self.stream.consume(length);
        }
    }

    /// The content of an entry that describes the next one.
    fn description(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header
            .entry_size()
            .map_err(|_| Error::Tar(self.place("it has an unreadable size")))?;
        self.described = self
            .described
            .saturating_add(size)
            .saturating_add(BLOCK as u64);
        if size > MAX_DESCRIPTION || self.described > self.describe_limit {
            return Err(Error::TooLarge(
                self.place("the names or extended headers of the archive"),
            ));
        }
        let mut content = Vec::new();
        self.expect_content(size);
        self.copy_content(&mut content)?;
        Ok(content)
    }

    fn long_text(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut text = self.description(header)?;
        let length = text
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        text.truncate(length);
        Ok(text)
    }

    fn extended_header(&mut self, header: &Header) -> Result<pax::Overrides, Error> {
        let records = self.description(header)?;
        pax::parse(&records)
            .ok_or_else(|| Error::Tar(self.place("it has a malformed extended header")))
    }

    fn expect_content(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn entry(&mut self, header: &Header, description: Description) -> Result<Entry, Error> {
        let pax = description.pax.unwrap_or_default();
        let target = one_of(description.long_target, pax.linkpath.clone())?;
        let name = one_of(description.long_name, pax.path.clone())?;
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let entry = compose(header, &pax, name, target)?;
        self.current.clone_from(&entry.name);
        self.expect_content(entry.size);
        Ok(entry)
    }

    /// Adds to a message after which entry it was.
    fn place(&self, what: &str) -> String {
        if self.current.is_empty() {
            return format!("{what}, before the first entry");
        }
        format!("{what}, after `{}`", super::name::shown(&self.current))
    }
}

/// An entry from its header and what stood before it.
fn compose(
    header: &Header,
    pax: &pax::Overrides,
    name: Vec<u8>,
    target: Option<Vec<u8>>,
) -> Result<Entry, Error> {
    let unreadable = |what: &str| Error::entry(&name, format!("has an unreadable {what}"));
    let kind = match kind(header.entry_type(), &name) {
        Kind::File if pax.sparse => Kind::Other("sparse file"),
        kind => kind,
    };
    let size = match pax.size {
        Some(size) => size,
        None => header.entry_size().map_err(|_| unreadable("size"))?,
    };
    // readers disagree on whether content follows such a header, so there must be none
    if size > 0 && matches!(kind, Kind::Directory | Kind::Symlink | Kind::Hardlink) {
        return Err(Error::entry(
            &name,
            "is a directory or a link, yet has content",
        ));
    }
    let target = match kind {
        Kind::Symlink | Kind::Hardlink => {
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

/// `fill_buf` that is not disturbed by signals.
fn fill(stream: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match stream.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // the buffer is filled: this only borrows it for longer than the loop could
    stream.fill_buf()
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Tar("it describes one entry twice".to_owned())),
    }
}

/// GNU's and PAX's way to say the same: an entry uses one, or readers disagree on its name.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(Error::Tar("it names one entry twice".to_owned())),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn kind(entry_type: EntryType, name: &[u8]) -> Kind {
    match entry_type {
        // before POSIX a directory was a file whose name ends in a slash, and Go still reads it so
        EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Char => Kind::Other("character device"),
        EntryType::Block => Kind::Other("block device"),
        EntryType::Fifo => Kind::Other("FIFO"),
        EntryType::GNUSparse => Kind::Other("sparse file"),
        EntryType::Continuous => Kind::Other("contiguous file"),
        _ => Kind::Other("entry of an unknown type"),
    }
}
