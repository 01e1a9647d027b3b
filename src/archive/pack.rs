//! Builds the tars that go into the engine, and is the one place where incoming archives are checked. Checking an archive
//! is packing it into a sink, so exactly the archives that pass the check can be packed.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::entry::{Entry, EntryKind};
use super::entry_rules::{
    hard_link_fault, hard_link_target, kind_and_node, normalised, normalised_entry,
};
use super::error::Error;
use super::gunzip::Gunzip;
use super::limit_counter::{Allowance, LimitCounter, Limits, Summary};
use super::mount_point::MountPoint;
use super::name;
use super::reader::{BUFFER, TarReader};
use super::seen_names::{Node, Origin, SeenNames};
use super::shared_top::{self, SharedTop};
use super::symlink_targets::SymlinkTargets;
use super::writer::{EntryHeader, LastEntry, TarWriter, UidGid};

/// Mode of a parent directory that has no entry in the archive, unless [`Packer::implied_mode`] says otherwise.
const IMPLIED_MODE: u32 = 0o755;
/// Permissions and the sticky bit. Setuid and setgid are dropped.
const MODE_BITS: u32 = 0o1777;

type Source<'a> = TarReader<BufReader<Gunzip<'a>>>;

/// Reads a base64 tar.gz once, as a stream, and applies every check of [`Packer::targz`], with an allowance of its own.
pub fn check_targz(base64: &str, limits: Limits) -> Result<Summary, Error> {
    TargzCheck::new(limits, &|| false).check(base64, 0, &[])
}

/// Refuses at once, without unpacking it, a text that does not begin as a base64 tar.gz does.
pub fn check_targz_start(base64: &str) -> Result<(), Error> {
    Gunzip::open(base64).map(drop)
}

/// Checks the archives of one request, which share its limits.
pub struct TargzCheck<'a> {
    allowance: Allowance,
    is_stopped: &'a dyn Fn() -> bool,
}

impl<'a> TargzCheck<'a> {
    /// `is_stopped` is called for every 128 KiB that are unpacked; once it returns true the check fails with [`Error::Io`].
    pub fn new(limits: Limits, is_stopped: &'a dyn Fn() -> bool) -> Self {
        Self {
            allowance: Allowance::new(limits),
            is_stopped,
        }
    }

    /// Checks one archive, to be packed with `strip_components`, and the mount points that will be made in it. Different names that
    /// become equal are refused.
    pub fn check(
        &mut self,
        base64: &str,
        strip_components: usize,
        points: &[MountPoint],
    ) -> Result<Summary, Error> {
        let destination = Destination {
            directory: Vec::new(),
            strip_components,
        };
        let sink = StoppableSink(self.is_stopped);
        let mut packer = Packer::new(sink, UidGid::default());
        let summary = packer.copy_targz(&destination, base64, &mut self.allowance)?;
        points
            .iter()
            .try_for_each(|point| packer.mount_point("", point))?;
        Ok(summary)
    }
}

/// Drops what is written to it, and fails once it is stopped.
struct StoppableSink<'a>(&'a dyn Fn() -> bool);

impl Write for StoppableSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.0)() {
            true => Err(io::Error::other("the check was stopped")),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Builds a plain tar for the engine out of directories, files and incoming archives, all with one owner. A name can be
/// used only once, except for directories, and in one archive for files and links of the same type: the last one counts.
pub struct Packer<W: Write> {
    tar: TarWriter<BufWriter<W>>,
    uid_gid: UidGid,
    pub(super) seen: SeenNames,
    symlink_targets: SymlinkTargets,
    /// Number of files and archives so far.
    sources: u64,
    /// Modification time, in seconds since 1970, of entries that have none of their own.
    now: u64,
    implied_mode: u32,
}

/// Where an incoming archive is unpacked.
struct Destination {
    /// Normalised name of the directory.
    directory: Vec<u8>,
    /// Number of leading components that are dropped from each name.
    strip_components: usize,
}

/// What an entry becomes at the destination.
struct Placed {
    name: Vec<u8>,
    kind: EntryKind,
    target: Vec<u8>,
    node: Node,
}

impl Destination {
    /// The name at the destination for a normalised name; `None` if all its components are dropped.
    fn name_of(&self, normalised: &[u8]) -> Option<Vec<u8>> {
        let rest = name::strip(normalised, self.strip_components);
        if rest.is_empty() {
            return None;
        }
        let mut name = self.directory.clone();
        name::push(&mut name, rest);
        Some(name)
    }
}

impl<W: Write> Packer<W> {
    /// A packer that writes a plain tar to `writer`.
    pub fn new(writer: W, uid_gid: UidGid) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            tar: TarWriter::new(BufWriter::with_capacity(BUFFER, writer)),
            uid_gid,
            seen: SeenNames::new(),
            symlink_targets: SymlinkTargets::new(),
            sources: 0,
            now: now.map_or(0, |time| time.as_secs()),
            implied_mode: IMPLIED_MODE,
        }
    }

    /// Sets the mode of parent directories that have no entry in their archive.
    pub fn implied_mode(&mut self, mode: u32) {
        self.implied_mode = mode;
    }

    /// Writes a directory; `.` is the tar's root.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<(), Error> {
        let normalised = normalised(name)?;
        self.add_new_name(&normalised, Node::Directory, name.as_bytes())?;
        self.write_directory(&normalised, mode, self.now)
    }

    /// Writes a file. Missing parent directories are written too if they lie in a directory that was written before.
    pub fn file(&mut self, name: &str, mode: u32, mut content: &[u8]) -> Result<(), Error> {
        let size = content.len() as u64;
        self.file_from(name, mode, size, &mut content)
    }

    /// As [`Packer::file`], with the first `size` bytes of a reader. Error: it has fewer.
    pub fn file_from(
        &mut self,
        name: &str,
        mode: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Error> {
        if let Some(rule) = name::file_name_fault(name) {
            return Err(Error::entry(name.as_bytes(), rule));
        }
        let normalised = normalised(name)?;
        self.add_new_name(&normalised, Node::File, name.as_bytes())?;
        let header = EntryHeader {
            mode: mode & MODE_BITS,
            size,
            ..self.header(&normalised, EntryKind::File)
        };
        self.tar.write_header(&header).map_err(Error::Io)?;
        let copied = std::io::copy(&mut content.take(size), &mut self.tar.content());
        if copied.map_err(Error::Io)? < size {
            return Err(Error::Io(ErrorKind::UnexpectedEof.into()));
        }
        self.tar.pad_content(size).map_err(Error::Io)
    }

    /// Writes every entry of a base64 tar.gz below the directory `name`, with the first `strip_components` of each name
    /// dropped and modes without setuid and setgid. Streams: decodes, decompresses, checks and writes entry by entry.
    /// Writes neither `name` itself, which the caller does, nor the archive's root. Takes what it unpacks from `allowance`.
    pub fn targz(
        &mut self,
        name: &str,
        base64: &str,
        strip_components: usize,
        allowance: &mut Allowance,
    ) -> Result<(), Error> {
        let destination = Destination {
            directory: normalised(name)?,
            strip_components,
        };
        self.copy_targz(&destination, base64, allowance).map(drop)
    }

    /// The last entry so far that is no directory.
    pub fn last_entry(&self) -> Option<LastEntry> {
        self.tar.last_entry()
    }

    /// Ends the tar and flushes it to the writer, which is returned.
    pub fn finish(self) -> Result<W, Error> {
        let buffer = self.tar.finish().map_err(Error::Io)?;
        buffer
            .into_inner()
            .map_err(|error| Error::Io(error.into_error()))
    }

    fn copy_targz(
        &mut self,
        destination: &Destination,
        base64: &str,
        allowance: &mut Allowance,
    ) -> Result<Summary, Error> {
        let stream = BufReader::with_capacity(BUFFER, Gunzip::open(base64)?);
        let limit_bytes = allowance.limits.unpacked_bytes;
        let mut source = TarReader::continuing(stream, limit_bytes, allowance.metadata_bytes);
        let copied = self.copy_entries(&mut source, destination, &mut *allowance);
        allowance.metadata_bytes = source.metadata();
        copied
    }

    fn copy_entries(
        &mut self,
        source: &mut Source<'_>,
        destination: &Destination,
        allowance: &mut Allowance,
    ) -> Result<Summary, Error> {
        let directory = &destination.directory;
        self.add_new_name(directory, Node::Directory, directory)?;
        let names_before = self.seen.len();
        let mut counter = LimitCounter::new(allowance);
        let mut shared_top = SharedTop::new();
        while let Some(entry) = source.next_entry()? {
            let normalised = normalised_entry(&entry)?;
            counter.count(&entry)?;
            match is_companion(source, &entry)? {
                true => shared_top.add_companion(&normalised),
                false => shared_top.add(&entry, &normalised),
            }
            let Some(placed) = self.place(&entry, &normalised, destination)? else {
                continue;
            };
            let origin = self.seen.origin(self.sources, &normalised);
            self.add_name(&placed.name, placed.node, origin, &entry.name)?;
            counter.check_name_count(self.seen.len() - names_before)?;
            self.copy_entry(source, &entry, &placed)?;
        }
        let top = shared_top.into_name();
        Ok(Summary {
            shared_top: top.map(|top| String::from_utf8_lossy(&top).into_owned()),
            ..counter.summary()
        })
    }

    fn copy_entry(
        &mut self,
        source: &mut Source<'_>,
        entry: &Entry,
        placed: &Placed,
    ) -> Result<(), Error> {
        if placed.kind == EntryKind::Directory {
            return self.write_directory(&placed.name, entry.mode, entry.mtime);
        }
        if placed.kind == EntryKind::Symlink {
            self.symlink_targets.insert(&placed.name, &placed.target);
        }
        let header = EntryHeader {
            target: &placed.target,
            mode: entry.mode & MODE_BITS,
            mtime: entry.mtime,
            size: entry.size,
            ..self.header(&placed.name, placed.kind)
        };
        self.tar.write_header(&header).map_err(Error::Io)?;
        source.copy_content(self.tar.content())?;
        self.tar.pad_content(entry.size).map_err(Error::Io)
    }

    /// What an entry becomes at the destination. `None`: nothing, because all components of its name are dropped, or because
    /// it links a name to itself. Errors: its kind or its link's target is not allowed.
    fn place(
        &self,
        entry: &Entry,
        normalised: &[u8],
        destination: &Destination,
    ) -> Result<Option<Placed>, Error> {
        let (kind, node) = kind_and_node(entry)?;
        let Some(name) = destination.name_of(normalised) else {
            return Ok(None);
        };
        let mut placed = Placed {
            name,
            kind,
            target: entry.target.clone(),
            node,
        };
        match entry.kind {
            EntryKind::Hardlink => self.resolve(entry, placed, destination),
            EntryKind::HardlinkWithContent => {
                hard_link_target(entry)?;
                placed.target.clear();
                Ok(Some(placed))
            }
            _ => Ok(Some(placed)),
        }
    }

    /// Resolves a hard link. Its target must be an earlier regular file or symbolic link of the same archive. A file's name
    /// changes as that of the file did; of a symbolic link a copy is made, because engines follow it or refuse it.
    fn resolve(
        &self,
        entry: &Entry,
        placed: Placed,
        destination: &Destination,
    ) -> Result<Option<Placed>, Error> {
        let refuse = |rule: &str| hard_link_fault(entry, rule);
        let target = hard_link_target(entry)?;
        let target = match destination.name_of(&target) {
            Some(name) => name,
            None if target.is_empty() => return Err(refuse("is the archive's root, a directory")),
            None => {
                return Err(refuse(
                    "is not unpacked: strip_components drops its whole name",
                ));
            }
        };
        let node = match self.seen.get(&target) {
            Some(node @ (Node::File | Node::Symlink)) => node,
            Some(Node::Directory | Node::Implied) => return Err(refuse("is a directory")),
            None => return Err(refuse("is not an earlier file of the archive")),
        };
        // What a tar writes when the same name is given to it twice.
        if target == placed.name {
            return Ok(None);
        }
        if node == Node::File {
            return Ok(Some(Placed { target, ..placed }));
        }
        let copied = self.symlink_targets.get(&target).ok_or_else(|| {
            refuse("is one of too many symbolic links: their targets take more than 16 MiB")
        })?;
        Ok(Some(Placed {
            kind: EntryKind::Symlink,
            target: copied.to_vec(),
            node,
            ..placed
        }))
    }

    /// Records a name that comes from nowhere else. See [`Packer::add_name`].
    fn add_new_name(&mut self, name: &[u8], node: Node, sent_name: &[u8]) -> Result<(), Error> {
        self.sources += 1;
        let origin = self.seen.origin(self.sources, name);
        self.add_name(name, node, origin, sent_name)
    }

    /// Records a name and writes its missing parent directories. Errors name the entry as `sent_name`, the name that the
    /// caller sent.
    fn add_name(
        &mut self,
        name: &[u8],
        node: Node,
        origin: Origin,
        sent_name: &[u8],
    ) -> Result<(), Error> {
        let parents = self
            .seen
            .add(name, node, origin)
            .map_err(|rule| Error::entry(sent_name, rule))?;
        parents
            .into_iter()
            .try_for_each(|parent| self.write_directory(parent, self.implied_mode, self.now))
    }

    fn write_directory(&mut self, name: &[u8], mode: u32, mtime: u64) -> Result<(), Error> {
        let with_slash = [if name.is_empty() { b"." } else { name }, b"/"].concat();
        let header = EntryHeader {
            mode: mode & MODE_BITS,
            mtime,
            ..self.header(&with_slash, EntryKind::Directory)
        };
        self.tar.write_header(&header).map_err(Error::Io)
    }

    /// A header with this packer's owner and time, and with mode and size 0.
    fn header<'n>(&self, name: &'n [u8], kind: EntryKind) -> EntryHeader<'n> {
        EntryHeader {
            name,
            kind,
            target: &[],
            mode: 0,
            uid_gid: self.uid_gid,
            mtime: self.now,
            size: 0,
        }
    }
}

fn is_companion(source: &mut Source<'_>, entry: &Entry) -> Result<bool, Error> {
    match shared_top::may_be_companion(entry) {
        true => source.content_begins_like(&shared_top::APPLE_DOUBLE),
        false => Ok(false),
    }
}
