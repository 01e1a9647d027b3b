//! What a container leaves behind, on its way out: the engine's tar of a path becomes a file's bytes or a tar.gz that
//! can be sent in again. Names and targets are the container's and pass through as bytes; no list of them is kept.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufReader, Read};

use ::base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use ::base64::write::EncoderStringWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::reader::{BUFFER, Entry, Kind, TarReader};
use super::writer::{Head, TarWriter};
use super::{Error, MAX_ENTRIES, UidGid, name};

/// Most entries named in [`CollectedDirectory::skipped`].
const MAX_SKIPPED_NAMES: usize = 50;
/// Most bytes taken at once for a file of a stated size.
const MAX_RESERVE: u64 = 64 << 20;

/// A directory that a container left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectedDirectory {
    /// Base64 of the tar.gz.
    pub content: String,
    /// Number of entries in it.
    pub entries: u64,
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// What is not in it, and why: devices, FIFOs and the like, named for people. The last one counts those that are
    /// not named.
    pub skipped: Vec<String>,
}

/// What an engine tar of a single path turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Collected {
    /// A regular file's bytes.
    File(Vec<u8>),
    /// Something else: `directory`, `symbolic link`, `fifo`, …
    Other(&'static str),
}

/// Takes the single file out of an engine tar. Of anything else than a file no content is read.
pub fn collect_file(engine_tar: &mut dyn Read, limit_bytes: u64) -> Result<Collected, Error> {
    let mut source = reader(engine_tar, limit_bytes);
    let entry = first_entry(&mut source)?;
    if entry.kind != Kind::File {
        return Ok(Collected::Other(word(entry.kind)));
    }
    if entry.size > limit_bytes {
        return Err(Error::TooLarge(format!(
            "the file has more than {limit_bytes} bytes"
        )));
    }
    let mut content = Vec::with_capacity(usize::try_from(entry.size.min(MAX_RESERVE)).unwrap_or(0));
    source.copy_content(&mut content)?;
    match source.next_entry()? {
        None => Ok(Collected::File(content)),
        Some(_) => Err(Error::Tar(
            "more than one entry where a file was asked for".to_owned(),
        )),
    }
}

/// Re-packs a directory as the engine gives it (`GET archive`, entries `base/…`) as base64 tar.gz with entries `./…`,
/// postable again. `limit_bytes` bounds the sum of unpacked sizes and [`MAX_ENTRIES`] their number: beyond them
/// `Error::TooLarge`. Something else than a directory is `Error::Entry`.
pub fn collect_directory(
    engine_tar: &mut dyn Read,
    limit_bytes: u64,
) -> Result<CollectedDirectory, Error> {
    let mut source = reader(engine_tar, limit_bytes);
    let first = first_entry(&mut source)?;
    if first.kind != Kind::Directory {
        return Err(Error::entry(
            &first.name,
            format!("is a {}, not a directory", word(first.kind)),
        ));
    }
    let base =
        name::normalise(rooted(&first.name)).map_err(|rule| Error::entry(&first.name, rule))?;
    let mut collector = Collector::new(base, limit_bytes);
    let mut next = Some(first);
    while let Some(entry) = next {
        collector.take(&mut source, &entry)?;
        next = source.next_entry()?;
    }
    collector.finish()
}

type Source<'a> = TarReader<BufReader<&'a mut dyn Read>>;
type Sink = GzEncoder<EncoderStringWriter<'static, GeneralPurpose, String>>;

fn reader(engine_tar: &mut dyn Read, limit_bytes: u64) -> Source<'_> {
    let stream = BufReader::with_capacity(BUFFER, engine_tar);
    TarReader::new(stream, limit_bytes)
}

fn first_entry(source: &mut Source<'_>) -> Result<Entry, Error> {
    source
        .next_entry()?
        .ok_or_else(|| Error::Tar("the engine sent no entry".to_owned()))
}

/// What an entry is called in answers; the engine's API has a FIFO in small letters, too.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symbolic link",
        Kind::Hardlink => "hard link",
        Kind::Other("FIFO") => "fifo",
        Kind::Other(what) => what,
    }
}

/// The engine's names of a path `/` begin with the slash.
fn rooted(name: &[u8]) -> &[u8] {
    match name.iter().position(|&byte| byte != b'/') {
        Some(start) => &name[start..],
        None => b".",
    }
}

/// A directory in the making.
struct Collector {
    tar: TarWriter<Sink>,
    /// The name of the directory in the engine's tar, spelled.
    base: Vec<u8>,
    limit_bytes: u64,
    collected: CollectedDirectory,
    skipped: u64,
    /// Hashes of the names that a hard link must not point to: the way in refuses those.
    unlinkable: HashSet<u64>,
    seed: RandomState,
}

impl Collector {
    fn new(base: Vec<u8>, limit_bytes: u64) -> Self {
        let text = EncoderStringWriter::new(&STANDARD);
        Self {
            tar: TarWriter::new(GzEncoder::new(text, Compression::fast())),
            base,
            limit_bytes,
            collected: CollectedDirectory::default(),
            skipped: 0,
            unlinkable: HashSet::new(),
            seed: RandomState::new(),
        }
    }

    /// Takes an entry over, or notes why not.
    fn take(&mut self, source: &mut Source<'_>, entry: &Entry) -> Result<(), Error> {
        self.count(entry)?;
        match self.plan(entry) {
            Ok((name, target)) => self.write(source, entry, (&name, &target)),
            Err(why) => {
                self.skip(&entry.name, &why);
                Ok(())
            }
        }
    }

    /// The names that an entry and its target get; or why it is left out.
    fn plan(&mut self, entry: &Entry) -> Result<(Vec<u8>, Vec<u8>), String> {
        let inside = self.inside(&entry.name)?;
        if !matches!(entry.kind, Kind::File | Kind::Directory) {
            self.unlinkable.insert(self.seed.hash_one(&inside));
        }
        let mut name = [b"./", inside.as_slice()].concat();
        match entry.kind {
            Kind::Other(_) => Err(format!("is a {}", word(entry.kind))),
            Kind::Hardlink => {
                let target = self
                    .inside(&entry.target)
                    .map_err(|why| format!("is a hard link that {why}"))?;
                if self.unlinkable.contains(&self.seed.hash_one(&target)) {
                    return Err("is a hard link to something that is no file".to_owned());
                }
                self.unlinkable.remove(&self.seed.hash_one(&inside));
                Ok((name, [b"./", target.as_slice()].concat()))
            }
            Kind::Directory if !inside.is_empty() => {
                name.push(b'/');
                Ok((name, Vec::new()))
            }
            _ => Ok((name, entry.target.clone())),
        }
    }

    /// A name of the engine's tar, relative to the collected directory.
    fn inside(&self, engine_name: &[u8]) -> Result<Vec<u8>, String> {
        let spelled = name::normalise(rooted(engine_name)).map_err(str::to_owned)?;
        if self.base.is_empty() {
            return Ok(spelled);
        }
        match spelled.strip_prefix(self.base.as_slice()) {
            Some([]) => Ok(Vec::new()),
            Some([b'/', rest @ ..]) => Ok(rest.to_vec()),
            _ => Err("lies outside the directory".to_owned()),
        }
    }

    fn write(
        &mut self,
        source: &mut Source<'_>,
        entry: &Entry,
        (name, target): (&[u8], &[u8]),
    ) -> Result<(), Error> {
        let owner = UidGid {
            uid: entry.uid,
            gid: entry.gid,
        };
        let (kind, mode, mtime, size) = (entry.kind, entry.mode, entry.mtime, entry.size);
        self.tar.head(&Head {
            name,
            kind,
            target,
            mode,
            owner,
            mtime,
            size,
        })?;
        source.copy_content(self.tar.content())?;
        self.tar.end_content(size)?;
        self.collected.entries += 1;
        self.collected.unpacked_bytes += size;
        Ok(())
    }

    /// Stops at the limits, before anything of the entry is read.
    fn count(&self, entry: &Entry) -> Result<(), Error> {
        let bytes = self.collected.unpacked_bytes.saturating_add(entry.size);
        if bytes > self.limit_bytes {
            let limit = self.limit_bytes;
            return Err(Error::TooLarge(format!(
                "the directory has more than {limit} bytes"
            )));
        }
        if self.collected.entries + self.skipped >= MAX_ENTRIES {
            return Err(Error::TooLarge(format!(
                "the directory has more than {MAX_ENTRIES} entries"
            )));
        }
        Ok(())
    }

    fn skip(&mut self, engine_name: &[u8], why: &str) {
        self.skipped += 1;
        if self.collected.skipped.len() < MAX_SKIPPED_NAMES {
            self.collected
                .skipped
                .push(format!("`{}` {why}", name::shown(engine_name)));
        }
    }

    fn finish(mut self) -> Result<CollectedDirectory, Error> {
        let gzip = self.tar.finish()?;
        self.collected.content = gzip.finish()?.into_inner();
        let unnamed = self.skipped - self.collected.skipped.len() as u64;
        if unnamed > 0 {
            self.collected.skipped.push(format!("and {unnamed} more"));
        }
        Ok(self.collected)
    }
}
