//! What travels: base64 tar.gz outside, plain tar to and from the engine. Bytes only: it opens no file and no
//! socket, and never unpacks to a disk.

use std::io::{self, Read, Write};

/// Bounds of an unpacked archive; beyond one of them it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

/// Who owns what is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Numeric user.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
}

/// Why content was refused; the text names the entry and the rule, never the bytes.
#[derive(Debug)]
pub enum Error {
    /// Not base64.
    Base64(String),
    /// Not gzip, cut, or trailing rubbish; says what it looks like instead (xz, zstd, plain tar, …).
    Gzip(String),
    /// Not a tar, or a broken one.
    Tar(String),
    /// An entry that is not allowed.
    Entry {
        /// The entry's name, shortened and escaped.
        name: String,
        /// The rule it breaks.
        rule: String,
    },
    /// Larger than a limit.
    TooLarge(String),
    /// Reading or writing on the other side failed.
    Io(io::Error),
}

/// What a checked archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub entries: u64,
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// The single top-level directory that all entries share, when names are plain `dir/…` (not `./…`).
    pub shared_top: Option<String>,
}

/// Decodes base64: standard or URL-safe alphabet, padding optional, white space ignored.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, Error> {
    let _ = text;
    unimplemented!()
}

/// Encodes base64: standard alphabet, padded, one line.
pub fn encode_base64(bytes: &[u8]) -> String {
    let _ = bytes;
    unimplemented!()
}

/// Reads a base64 tar.gz through once, holding nothing, and applies every check of SECURITY.md's "archives in".
pub fn check_targz(base64: &str, limits: Limits) -> Result<Summary, Error> {
    let _ = (base64, limits);
    unimplemented!()
}

/// Writes engine tars: items under chosen names, one after another, all owned by one owner.
pub struct Packer<W: Write> {
    #[allow(dead_code)]
    writer: W,
}

#[allow(unused_variables)]
impl<W: Write> Packer<W> {
    /// A packer that writes plain tar to `writer`.
    pub fn new(writer: W, owner: Owner) -> Self {
        Self { writer }
    }
    /// A directory entry.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<(), Error> {
        unimplemented!()
    }
    /// A file entry.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        unimplemented!()
    }
    /// Every entry of a base64 tar.gz below `name` (with the first `strip_components` of each name dropped), mode bits kept
    /// without setuid/setgid, streamed: decoded, gunzipped, checked and written entry by entry.
    pub fn targz(
        &mut self,
        name: &str,
        base64: &str,
        strip_components: usize,
        limits: Limits,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    /// Ends the archive.
    pub fn finish(self) -> Result<W, Error> {
        unimplemented!()
    }
}

/// Re-packs a directory as the engine gives it (`GET archive`, entries `base/…`) as base64 tar.gz with entries `./…`,
/// postable again. `limit_bytes` bounds the sum of unpacked sizes: beyond it `Error::TooLarge`.
pub fn collect_directory(engine_tar: &mut dyn Read, limit_bytes: u64) -> Result<String, Error> {
    let _ = (engine_tar, limit_bytes);
    unimplemented!()
}

/// What an engine tar of a single path turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Collected {
    /// A regular file's bytes.
    File(Vec<u8>),
    /// Something else: `directory`, `symbolic link`, `fifo`, …
    Other(&'static str),
}

/// Takes the single file out of an engine tar.
pub fn collect_file(engine_tar: &mut dyn Read, limit_bytes: u64) -> Result<Collected, Error> {
    let _ = (engine_tar, limit_bytes);
    unimplemented!()
}
