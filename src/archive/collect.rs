//! Converts the engine's tar of a path into a file's bytes or into a base64 tar.gz that can be posted again. Names and link
//! targets come from the container and are copied as bytes; memory does not grow with their number, but for hashes of
//! names of entries that are left out.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufReader, Read};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::entry::{Entry, EntryKind};
use super::error::Error;
use super::limit_counter::MAX_ENTRIES;
use super::mount_point::MountPoint;
use super::name;
use super::placeholders::{Placeholders, Role, below};
use super::reader::{BUFFER, TarReader};
use super::text_sink::{Room, TextSink};
use super::writer::{EntryHeader, TarWriter, UidGid};

/// Most entries named in [`CollectedDirectory::skipped`].
const MAX_SKIPPED_NAMES: usize = 50;
/// Most bytes allocated in advance for a file, whatever its header says.
const MAX_RESERVE: u64 = 64 << 20;

/// A directory read from a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectedDirectory {
    /// Base64 of the tar.gz.
    pub content: String,
    /// Number of entries in it.
    pub entries: u64,
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// Entries that were left out (devices, FIFOs and the like) and why, as texts. If there are more than 50, the last text
    /// counts the rest.
    pub skipped: Vec<String>,
}

/// The content of an engine tar of a single path.
#[derive(Debug, PartialEq, Eq)]
pub enum Collected<T> {
    /// A regular file's content.
    File(T),
    /// Not a regular file, but this: `directory`, `symbolic link`, `fifo`, …
    Other(&'static str),
}

/// Reads the single file of an engine tar. If the path is not a file, reads no content. Error: [`Error::TooLarge`] beyond
/// `limit_bytes`.
pub fn collect_file(
    engine_tar: &mut dyn Read,
    limit_bytes: u64,
) -> Result<Collected<Vec<u8>>, Error> {
    let mut source = reader(engine_tar, limit_bytes);
    let size = match file_size(&mut source, limit_bytes)? {
        Collected::File(size) => size,
        Collected::Other(kind) => return Ok(Collected::Other(kind)),
    };
    let mut content = Vec::with_capacity(usize::try_from(size.min(MAX_RESERVE)).unwrap_or(0));
    source.copy_content(&mut content)?;
    require_end(&mut source)?;
    Ok(Collected::File(content))
}

/// As [`collect_file`], but as base64, in memory that `room` grants. Error: also [`Error::NoRoom`].
pub fn collect_file_text<'a>(
    engine_tar: &mut dyn Read,
    limit_bytes: u64,
    room: &'a mut Room<'a>,
) -> Result<Collected<String>, Error> {
    let mut source = reader(engine_tar, limit_bytes);
    if let Collected::Other(kind) = file_size(&mut source, limit_bytes)? {
        return Ok(Collected::Other(kind));
    }
    let mut text = TextSink::new(room);
    source.copy_content(&mut text)?;
    require_end(&mut source)?;
    Ok(Collected::File(text.finish()?))
}

/// The size of the first entry, if that is a file.
fn file_size(source: &mut Source<'_>, limit_bytes: u64) -> Result<Collected<u64>, Error> {
    let entry = first_entry(source)?;
    if entry.kind != EntryKind::File {
        return Ok(Collected::Other(kind_name(entry.kind)));
    }
    if entry.size > limit_bytes {
        return Err(Error::TooLarge(format!(
            "the file has more than {limit_bytes} bytes"
        )));
    }
    Ok(Collected::File(entry.size))
}

fn require_end(source: &mut Source<'_>) -> Result<(), Error> {
    match source.next_entry()? {
        None => Ok(()),
        Some(_) => Err(Error::Tar(
            "more than one entry where a file was asked for".to_owned(),
        )),
    }
}

/// Converts the engine's tar of a directory (`GET archive`, entries `base/…`) into a base64 tar.gz with entries `./…`,
/// which can be posted again. Errors: [`Error::TooLarge`] if file sizes add up to more than `limit_bytes` or there are
/// more than [`MAX_ENTRIES`] entries; [`Error::NoRoom`] if `room` grants no more memory; [`Error::Entry`] if the path is not
/// a directory.
pub fn collect_directory<'a>(
    engine_tar: &mut dyn Read,
    limit_bytes: u64,
    room: &'a mut Room<'a>,
) -> Result<CollectedDirectory, Error> {
    collect_directory_without(engine_tar, &[], limit_bytes, room)
}

/// As [`collect_directory`], without what is there only because something else was mounted in it: an empty file or directory at a
/// mount point, and directories above one that have nothing else in them.
pub fn collect_directory_without<'a>(
    engine_tar: &mut dyn Read,
    points: &[MountPoint],
    limit_bytes: u64,
    room: &'a mut Room<'a>,
) -> Result<CollectedDirectory, Error> {
    let mut source = reader(engine_tar, limit_bytes);
    let first = first_entry(&mut source)?;
    if first.kind != EntryKind::Directory {
        return Err(Error::entry(
            &first.name,
            format!("is a {}, not a directory", kind_name(first.kind)),
        ));
    }
    let base = name::normalise(without_root(&first.name))
        .map_err(|rule| Error::entry(&first.name, rule))?;
    let mut collector = Collector::new(base, limit_bytes, room);
    collector.placeholders = Placeholders::new(points);
    let mut next = Some(first);
    while let Some(entry) = next {
        collector.add(&mut source, entry)?;
        next = source.next_entry()?;
    }
    collector.finish()
}

type Source<'a> = TarReader<BufReader<&'a mut dyn Read>>;

fn reader(engine_tar: &mut dyn Read, limit_bytes: u64) -> Source<'_> {
    let stream = BufReader::with_capacity(BUFFER, engine_tar);
    TarReader::new(stream, limit_bytes)
}

fn first_entry(source: &mut Source<'_>) -> Result<Entry, Error> {
    source
        .next_entry()?
        .ok_or_else(|| Error::Tar("the engine sent no entry".to_owned()))
}

/// Name of an entry's kind in answers.
fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symbolic link",
        EntryKind::Hardlink | EntryKind::HardlinkWithContent => "hard link",
        EntryKind::Other("FIFO") => "fifo",
        EntryKind::Other(what) => what,
    }
}

/// Drops leading slashes, which the engine's names have if the path is `/`.
fn without_root(name: &[u8]) -> &[u8] {
    match name.iter().position(|&byte| byte != b'/') {
        Some(start) => &name[start..],
        None => b".",
    }
}

/// Builds a [`CollectedDirectory`].
struct Collector<'a> {
    tar: TarWriter<GzEncoder<TextSink<'a>>>,
    /// Normalised name of the directory in the engine's tar.
    base: Vec<u8>,
    limit_bytes: u64,
    collected: CollectedDirectory,
    skipped: u64,
    /// Hashes of the names of entries that are left out, because hard links to those are left out too.
    unlinkable: HashSet<u64>,
    seed: RandomState,
    placeholders: Placeholders,
    /// Directories that are written once something in them is, outermost first, each in the one before.
    held: Vec<Held>,
}

/// A directory that is written only if something is in it.
struct Held {
    /// Relative to the collected directory.
    relative: Vec<u8>,
    entry: Entry,
    paths: EntryPaths,
}

/// An entry's name and link target in the new archive.
struct EntryPaths {
    name: Vec<u8>,
    target: Vec<u8>,
}

impl<'a> Collector<'a> {
    fn new(base: Vec<u8>, limit_bytes: u64, room: &'a mut Room<'a>) -> Self {
        let text = TextSink::new(room);
        Self {
            tar: TarWriter::new(GzEncoder::new(text, Compression::fast())),
            base,
            limit_bytes,
            collected: CollectedDirectory::default(),
            skipped: 0,
            unlinkable: HashSet::new(),
            seed: RandomState::new(),
            placeholders: Placeholders::default(),
            held: Vec::new(),
        }
    }

    /// Copies an entry, or notes why it is left out.
    fn add(&mut self, source: &mut Source<'_>, entry: Entry) -> Result<(), Error> {
        self.check_limits(&entry)?;
        let relative = self.relative(&entry.name);
        if let Ok(relative) = &relative {
            let is_in = |held: &Held| below(relative, &held.relative).is_some();
            while self.held.last().is_some_and(|held| !is_in(held)) {
                self.held.pop();
            }
            match self.placeholders.role(relative, &entry) {
                Role::Placeholder => return Ok(()),
                Role::Leading => return self.hold(relative.clone(), entry),
                Role::Content => {}
            }
        }
        self.write_held()?;
        match self.renamed(&entry) {
            Ok(paths) => self.write(source, &entry, &paths),
            Err(why) => {
                let name = relative;
                self.skip(&name.unwrap_or_else(|_| entry.name.clone()), &why);
                Ok(())
            }
        }
    }

    fn hold(&mut self, relative: Vec<u8>, entry: Entry) -> Result<(), Error> {
        let renamed = self.renamed(&entry);
        let paths = renamed.map_err(|why| Error::entry(&entry.name, why))?;
        self.held.push(Held {
            relative,
            entry,
            paths,
        });
        Ok(())
    }

    fn write_held(&mut self) -> Result<(), Error> {
        for held in std::mem::take(&mut self.held) {
            self.write_header(&held.entry, &held.paths)?;
        }
        Ok(())
    }

    /// An entry's name and link target in the new archive, or why it is left out.
    fn renamed(&mut self, entry: &Entry) -> Result<EntryPaths, String> {
        let relative = self.relative(&entry.name)?;
        if let EntryKind::Other(_) = entry.kind {
            self.unlinkable.insert(self.seed.hash_one(&relative));
        }
        let mut name = [b"./", relative.as_slice()].concat();
        match entry.kind {
            EntryKind::Other(_) => Err(format!("is a {}", kind_name(entry.kind))),
            EntryKind::Hardlink => {
                let target = self
                    .relative(&entry.target)
                    .map_err(|why| format!("is a hard link whose target {why}"))?;
                if self.unlinkable.contains(&self.seed.hash_one(&target)) {
                    self.unlinkable.insert(self.seed.hash_one(&relative));
                    return Err("is a hard link to something that is left out".to_owned());
                }
                let target = [b"./", target.as_slice()].concat();
                Ok(EntryPaths { name, target })
            }
            EntryKind::Directory if !relative.is_empty() => {
                name.push(b'/');
                let target = Vec::new();
                Ok(EntryPaths { name, target })
            }
            EntryKind::Symlink => Ok(EntryPaths {
                name,
                target: entry.target.clone(),
            }),
            EntryKind::File | EntryKind::Directory | EntryKind::HardlinkWithContent => {
                let target = Vec::new();
                Ok(EntryPaths { name, target })
            }
        }
    }

    /// A name of the engine's tar, normalised and relative to the collected directory.
    fn relative(&self, engine_name: &[u8]) -> Result<Vec<u8>, String> {
        let normalised = name::normalise(without_root(engine_name)).map_err(str::to_owned)?;
        if self.base.is_empty() {
            return Ok(normalised);
        }
        match normalised.strip_prefix(self.base.as_slice()) {
            Some([]) => Ok(Vec::new()),
            Some([b'/', rest @ ..]) => Ok(rest.to_vec()),
            _ => Err("lies outside the directory".to_owned()),
        }
    }

    fn write(
        &mut self,
        source: &mut Source<'_>,
        entry: &Entry,
        paths: &EntryPaths,
    ) -> Result<(), Error> {
        self.write_header(entry, paths)?;
        source.copy_content(self.tar.content())?;
        self.tar.pad_content(entry.size)?;
        Ok(())
    }

    fn write_header(&mut self, entry: &Entry, paths: &EntryPaths) -> Result<(), Error> {
        self.tar.write_header(&EntryHeader {
            name: &paths.name,
            kind: entry.kind,
            target: &paths.target,
            mode: entry.mode,
            uid_gid: UidGid {
                uid: entry.uid,
                gid: entry.gid,
            },
            mtime: entry.mtime,
            size: entry.size,
        })?;
        self.collected.entries += 1;
        self.collected.unpacked_bytes += entry.size;
        Ok(())
    }

    /// Checks the limits, before the entry's content is read.
    fn check_limits(&self, entry: &Entry) -> Result<(), Error> {
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

    /// Counts an entry that is left out, and records why for the first 50. `name` is relative to the collected directory: the
    /// engine's names begin with a directory that the caller does not know.
    fn skip(&mut self, name: &[u8], why: &str) {
        self.skipped += 1;
        if self.collected.skipped.len() < MAX_SKIPPED_NAMES {
            self.collected
                .skipped
                .push(format!("`{}` {why}", name::for_display(name)));
        }
    }

    fn finish(mut self) -> Result<CollectedDirectory, Error> {
        let gzip = self.tar.finish()?;
        self.collected.content = gzip.finish()?.finish()?;
        let unnamed = self.skipped - self.collected.skipped.len() as u64;
        if unnamed > 0 {
            self.collected.skipped.push(format!("and {unnamed} more"));
        }
        Ok(self.collected)
    }
}
