//! Reads tar entries, one after another, from any stream. Checks the format, not names or kinds of entries. Accepts what
//! the tars of GNU, libarchive, Go, Python, Node, busybox, star and old Unixes write; where those disagree about what an
//! archive means, the error says so.
//!
//! Replaces the iterator of the `tar` crate, which buffers long names and extended headers of any size and loses PAX values
//! that contain newlines.

use std::io::{BufRead, Write};

use super::content::Content;
use super::entry::{Description, Entry, EntryKind, Metadata, readable_size};
use super::error::Error;
use super::header::{BLOCK, Header};
use super::pax::{self, MapPlace};
use super::sparse::{self, Layout, Map, MoreBlocks, TextMap, TextMapState};

/// Buffer size of streams that are read or written.
pub(super) const BUFFER: usize = 128 * 1024;

/// Longest long name or extended header (the limit of Go's archive/tar).
const MAX_METADATA: u64 = 1 << 20;
/// All long names, extended headers, informational entries, sparse maps and padding together may take as many bytes as
/// content, but at least this many.
const MIN_METADATA_LIMIT: u64 = 16 << 20;
/// Size of the end mark: two blocks of zeros.
const END_MARK: u64 = 2 * BLOCK as u64;
/// Most bytes of the end mark and after it; GNU tar pads to 10 KiB.
const MAX_PADDING: u64 = 16 << 20;
/// The name that Solaris gives to an extended attribute, so that other tars write it there.
const ATTRIBUTE_NAME: &[u8] = b"/dev/null";

/// Reads a tar. Errors of the underlying stream are returned unchanged.
pub(super) struct TarReader<R> {
    content: Content<R>,
    /// Bytes of long names, extended headers, informational entries, sparse maps and padding so far.
    metadata: u64,
    metadata_limit: u64,
    /// Whether a valid header has been read.
    has_header: bool,
    /// Whether it was guessed that a link has no content, because zeros follow it.
    is_end_doubtful: bool,
    /// Whether the last entry was the header of a Solaris extended attribute.
    is_attribute_next: bool,
}

impl<R: BufRead> TarReader<R> {
    /// A reader for an archive with at most `content_limit` bytes of content. The caller enforces that limit; the reader
    /// derives its limit for long names and extended headers from it.
    pub(super) fn new(stream: R, content_limit: u64) -> Self {
        Self {
            content: Content::new(stream),
            metadata: 0,
            metadata_limit: content_limit.max(MIN_METADATA_LIMIT),
            has_header: false,
            is_end_doubtful: false,
            is_attribute_next: false,
        }
    }

    /// As [`TarReader::new`], for one archive of several that share a limit. `metadata` is what the earlier ones used.
    pub(super) fn continuing(stream: R, content_limit: u64, metadata: u64) -> Self {
        Self {
            metadata,
            ..Self::new(stream, content_limit)
        }
    }

    /// Bytes of long names, extended headers, informational entries, sparse maps and padding so far.
    pub(super) fn metadata(&self) -> u64 {
        self.metadata
    }

    /// The next entry. Skips unread content of the previous one. `None` once the stream has been read to its end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut metadata = Metadata::default();
        loop {
            self.content.skip()?;
            let header = match self.header()? {
                Some(header) => header,
                None if metadata.is_empty() => return Ok(None),
                None => {
                    return Err(Error::Tar(
                        "it describes an entry that does not come".to_owned(),
                    ));
                }
            };
            if self.take_metadata(&header, &mut metadata)? {
                continue;
            }
            if let Some(entry) = self.entry(&header, std::mem::take(&mut metadata))? {
                return Ok(Some(entry));
            }
        }
    }

    /// Writes the unread content of the current entry to `sink`.
    pub(super) fn copy_content(&mut self, sink: &mut dyn Write) -> Result<(), Error> {
        self.content.copy(sink)
    }

    /// Whether the unread content of the current entry begins with these few bytes, or ends before it could differ from them.
    pub(super) fn content_begins_like(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        self.content.begins_like(bytes)
    }

    /// The next header. `None` at the end of the archive, after reading all that follows.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let block = self.content.stream.peek(BLOCK)?;
        if block.is_empty() {
            return match self.has_header {
                true => Ok(None),
                false => Err(Error::Tar(
                    "there is nothing in it, not even an end mark".to_owned(),
                )),
            };
        }
        if is_zero(block) {
            return self.read_padding().map(|()| None);
        }
        let Some(block) = block.first_chunk() else {
            return Err(Error::Tar(self.content.with_position("it is cut short")));
        };
        let header = Header::parse(block);
        self.content.stream.consume(BLOCK);
        match header {
            Some(header) => {
                self.has_header = true;
                Ok(Some(header))
            }
            None if self.has_header => Err(Error::Tar(
                self.content.with_position("it has a broken header"),
            )),
            None => Err(Error::Tar("it does not begin as a tar does".to_owned())),
        }
    }

    /// Reads to the end of the stream, and ignores what follows the zeros of the end mark, as tars do: remains of other data in
    /// the last record, or another archive. Error: a single block of zeros precedes an entry, or the zeros may be content, so
    /// that tars disagree about where the archive ends.
    fn read_padding(&mut self) -> Result<(), Error> {
        let mut length = 0;
        let mut are_all_zeros = true;
        loop {
            let block = match self.content.stream.peek(BLOCK).map_err(Error::from) {
                Err(Error::AfterGzip) if length >= END_MARK => return Ok(()),
                block => block?,
            };
            if block.is_empty() {
                return Ok(());
            }
            if are_all_zeros && !is_zero(block) {
                are_all_zeros = false;
                let is_entry = block.first_chunk().and_then(Header::parse).is_some();
                if self.is_end_doubtful || (is_entry && length < END_MARK) {
                    return Err(Error::Tar(self.content.with_position(
                        "it is not clear where it ends: something follows zeros that are no end mark",
                    )));
                }
            }
            let read = block.len();
            self.content.stream.consume(read);
            length += read as u64;
            self.metadata = self.metadata.saturating_add(read as u64);
            if length > MAX_PADDING || self.metadata > self.metadata_limit + MAX_PADDING {
                return Err(Error::TooLarge(
                    "more than 16 MiB of zeros or other bytes after the archive's end".to_owned(),
                ));
            }
        }
    }

    /// Reads the content of an entry that is about other entries. Returns false if the entry is not of that kind.
    fn take_metadata(&mut self, header: &Header, metadata: &mut Metadata) -> Result<bool, Error> {
        match header.type_flag() {
            b'L' => {
                let name = self.long_name(header)?;
                metadata.set_long_name(name)?;
            }
            b'K' => {
                let target = self.long_name(header)?;
                metadata.set_long_target(target)?;
            }
            // Solaris' tar writes `X` where POSIX has `x`.
            b'x' | b'X' => {
                let overrides = self.extended_header(header)?;
                metadata.set_pax(overrides)?;
            }
            b'g' => {
                if self.extended_header(header)?.rename_or_resize() {
                    return Err(Error::Tar(
                        "a global header renames or resizes entries".to_owned(),
                    ));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Counts bytes that are read but are no content.
    fn count_metadata(&mut self, bytes: u64) -> Result<(), Error> {
        self.metadata = self.metadata.saturating_add(bytes);
        match self.metadata > self.metadata_limit {
            true => Err(self.too_much_metadata()),
            false => Ok(()),
        }
    }

    fn too_much_metadata(&self) -> Error {
        Error::TooLarge(
            self.content
                .with_position("the names or extended headers of the archive"),
        )
    }

    /// Reads the content of an entry that holds a long name or an extended header.
    fn metadata_content(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = readable_size(header)
            .ok_or_else(|| Error::Tar(self.content.with_position("it has an unreadable size")))?;
        self.count_metadata(size.saturating_add(BLOCK as u64))?;
        if size > MAX_METADATA {
            return Err(self.too_much_metadata());
        }
        let mut content = Vec::new();
        self.content.expect_stored(size);
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
        pax::parse(&records).ok_or_else(|| {
            Error::Tar(
                self.content
                    .with_position("it has a malformed extended header"),
            )
        })
    }

    /// The entry of a header. `None`: it is informational; its content has been skipped.
    fn entry(&mut self, header: &Header, metadata: Metadata) -> Result<Option<Entry>, Error> {
        let mut description = metadata.describe(header)?;
        self.content.set_name(&description.name);
        if self.skip_informational(header, &description)? {
            return Ok(None);
        }
        let kind = description.kind(header);
        let content = self.stored_content(header, &description)?;
        let kind = match kind {
            EntryKind::Hardlink if content > 0 => EntryKind::HardlinkWithContent,
            kind => kind,
        };
        self.content.expect_stored(content);
        let layout = match kind {
            EntryKind::File => self.layout(header, &mut description)?,
            _ => None,
        };
        let size = layout.as_ref().map_or(content, |layout| layout.size);
        if let Some(layout) = layout {
            self.content.set_layout(layout);
        }
        Ok(Some(description.entry(header, kind, size)))
    }

    /// Skips an entry that is no file: a volume label, the rest of another volume's file, or, in forms of single tars, long
    /// names, access control lists, extended attributes and inodes. Returns false if the entry is not of that kind.
    fn skip_informational(
        &mut self,
        header: &Header,
        description: &Description,
    ) -> Result<bool, Error> {
        let is_attribute = std::mem::take(&mut self.is_attribute_next)
            && description.name.starts_with(ATTRIBUTE_NAME);
        let content = match header.type_flag() {
            // A label has no content, whatever its size.
            b'V' => {
                let size = description.size.unwrap_or(0);
                match self.does_content_follow(size)? {
                    true => size,
                    false => 0,
                }
            }
            b'A' | b'E' | b'I' | b'M' | b'N' => self.readable(description)?,
            _ if is_attribute || description.is_continuation() => self.readable(description)?,
            _ => return Ok(false),
        };
        self.is_attribute_next = header.type_flag() == b'E';
        self.skip(content)?;
        Ok(true)
    }

    /// Skips content that belongs to no file.
    fn skip(&mut self, content: u64) -> Result<(), Error> {
        self.count_metadata(content.saturating_add(BLOCK as u64))?;
        self.content.expect_stored(content);
        self.content.skip()
    }

    /// Number of bytes that follow a header as the entry's content.
    fn stored_content(&mut self, header: &Header, description: &Description) -> Result<u64, Error> {
        match (description.kind(header), header.type_flag()) {
            (EntryKind::Directory, b'D') => {
                let names = self.readable(description)?;
                self.skip(names).map(|()| 0)
            }
            // The size of these has no meaning (POSIX, pax, "ustar Interchange Format").
            (EntryKind::Directory, b'5') | (EntryKind::Symlink, _) | (_, b'3' | b'4' | b'6') => {
                Ok(0)
            }
            (kind @ (EntryKind::Directory | EntryKind::Hardlink), _) => {
                let size = description.size.unwrap_or(0);
                match (self.does_content_follow(size)?, kind) {
                    (false, _) => Ok(0),
                    (true, EntryKind::Hardlink) => Ok(size),
                    (true, _) => Err(Error::entry(
                        &description.name,
                        "is a directory, yet has content",
                    )),
                }
            }
            _ => self.readable(description),
        }
    }

    fn readable(&self, description: &Description) -> Result<u64, Error> {
        let unreadable = || Error::entry(&description.name, "has an unreadable size");
        description.size.ok_or_else(unreadable)
    }

    /// Whether content follows a header that states a size, where some writers mean by it the size of something else: if
    /// neither a header nor the archive's end follows.
    fn does_content_follow(&mut self, size: u64) -> Result<bool, Error> {
        if size == 0 {
            return Ok(false);
        }
        let next = self.content.stream.peek(BLOCK)?;
        if is_zero(next) {
            self.is_end_doubtful = true;
            return Ok(false);
        }
        Ok(next.first_chunk().and_then(Header::parse).is_none())
    }

    /// The layout of a file if it is a sparse one. Reads its map, which precedes its content.
    fn layout(
        &mut self,
        header: &Header,
        description: &mut Description,
    ) -> Result<Option<Layout>, Error> {
        let refuse = |rule| Error::entry(&description.name, rule);
        let map = match (header.type_flag(), description.sparse.take()) {
            (b'S', _) => self.map_after_header(header, &refuse)?,
            (_, None) => return Ok(None),
            (_, Some(records)) => match records.map_place().map_err(refuse)? {
                MapPlace::Here(map) => map,
                MapPlace::InContent(map) => self.map_in_content(map, &refuse)?,
            },
        };
        map.layout(self.content.stored()).map(Some).map_err(refuse)
    }

    fn map_after_header(&mut self, header: &Header, refuse: Refuse<'_>) -> Result<Map, Error> {
        let (mut map, mut more) = sparse::in_header(header).map_err(refuse)?;
        while more == MoreBlocks::Yes {
            let block = self.map_block()?;
            more = sparse::push_block(&mut map, &block).map_err(refuse)?;
        }
        Ok(map)
    }

    fn map_in_content(&mut self, map: Map, refuse: Refuse<'_>) -> Result<Map, Error> {
        let mut text = TextMap::new(map);
        loop {
            if !self.content.shrink() {
                return Err(refuse(
                    "is a sparse file whose map is longer than its content",
                ));
            }
            match text.read(&self.map_block()?).map_err(refuse)? {
                TextMapState::Complete(map) => return Ok(map),
                TextMapState::Incomplete(rest) => text = rest,
            }
        }
    }

    fn map_block(&mut self) -> Result<[u8; BLOCK], Error> {
        self.count_metadata(BLOCK as u64)?;
        self.content.block()
    }
}

/// Makes an error of the current entry out of the rule that it breaks.
type Refuse<'a> = &'a dyn Fn(&'static str) -> Error;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}
