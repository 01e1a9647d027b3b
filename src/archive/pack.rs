//! Builds the tars that go into the engine, and is the one place where incoming archives are checked. Checking an archive
//! is packing it into a sink, so exactly the archives that pass the check can be packed.

use std::io::{self, BufReader, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::Error;
use super::gunzip::Gunzip;
use super::limit_counter::{Allowance, LimitCounter, Limits, Summary};
use super::mount_point::MountPoint;
use super::name;
use super::reader::{BUFFER, Entry, EntryKind, TarReader};
use super::seen_names::{Node, SeenNames};
use super::writer::{EntryHeader, TarWriter, UidGid};

/// Mode of a parent directory that has no entry in the archive, unless [`Packer::implied_mode`] says otherwise.
const IMPLIED_MODE: u32 = 0o755;
/// Permissions and the sticky bit. Setuid and setgid are dropped.
const MODE_BITS: u32 = 0o1777;
/// Longest target of a symbolic link (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

type Source<'a> = TarReader<BufReader<Gunzip<'a>>>;

/// Reads a base64 tar.gz once, as a stream, and applies every check of [`Packer::targz`], with an allowance of its own.
pub fn check_targz(base64: &str, limits: Limits) -> Result<Summary, Error> {
    TargzCheck::new(limits, &|| false).check(base64, 0)
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

    /// Checks one archive, to be packed with `strip_components`. Two entries whose names become equal are refused.
    pub fn check(&mut self, base64: &str, strip_components: usize) -> Result<Summary, Error> {
        self.check_with(base64, strip_components, &[])
    }

    /// Checks one archive, to be packed whole, inside which something else is mounted.
    pub fn check_mounted_in(
        &mut self,
        base64: &str,
        points: &[MountPoint],
    ) -> Result<Summary, Error> {
        self.check_with(base64, 0, points)
    }

    fn check_with(
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
/// used only once, except for directories.
pub struct Packer<W: Write> {
    tar: TarWriter<BufWriter<W>>,
    uid_gid: UidGid,
    seen: SeenNames,
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

/// An entry's name and link target at the destination.
struct EntryPaths {
    name: Vec<u8>,
    target: Vec<u8>,
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
        self.add_name(&normalised, Node::Directory, name.as_bytes())?;
        self.write_directory(&normalised, mode, self.now)
    }

    /// Writes a file. Missing parent directories are written too if they lie in a directory that was written before.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        if let Some(rule) = name::file_name_fault(name) {
            return Err(Error::entry(name.as_bytes(), rule));
        }
        let normalised = normalised(name)?;
        self.add_name(&normalised, Node::File, name.as_bytes())?;
        let size = content.len() as u64;
        let header = EntryHeader {
            mode: mode & MODE_BITS,
            size,
            ..self.header(&normalised, EntryKind::File)
        };
        self.tar.write_header(&header).map_err(Error::Io)?;
        self.tar.content().write_all(content).map_err(Error::Io)?;
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

    /// What was packed under a normalised name.
    pub(super) fn node(&self, name: &[u8]) -> Option<Node> {
        self.seen.get(name)
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
        self.add_name(
            &destination.directory,
            Node::Directory,
            &destination.directory,
        )?;
        let names_before = self.seen.len();
        let mut counter = LimitCounter::new(allowance);
        while let Some(entry) = source.next_entry()? {
            let normalised =
                name::normalise(&entry.name).map_err(|rule| Error::entry(&entry.name, rule))?;
            counter.count(&entry, &normalised)?;
            let node = node(&entry)?;
            if let Some(name) = destination.name_of(&normalised) {
                let target = self.target(&entry, destination)?;
                self.add_name(&name, node, &entry.name)?;
                counter.check_name_count(self.seen.len() - names_before)?;
                self.copy_entry(source, &entry, &EntryPaths { name, target })?;
            }
        }
        Ok(counter.summary())
    }

    fn copy_entry(
        &mut self,
        source: &mut Source<'_>,
        entry: &Entry,
        paths: &EntryPaths,
    ) -> Result<(), Error> {
        if entry.kind == EntryKind::Directory {
            return self.write_directory(&paths.name, entry.mode, entry.mtime);
        }
        let header = EntryHeader {
            target: &paths.target,
            mode: entry.mode & MODE_BITS,
            mtime: entry.mtime,
            size: entry.size,
            ..self.header(&paths.name, entry.kind)
        };
        self.tar.write_header(&header).map_err(Error::Io)?;
        source.copy_content(self.tar.content())?;
        self.tar.pad_content(entry.size).map_err(Error::Io)
    }

    /// The link target to write. A symbolic link's is unchanged. A hard link's must be an earlier regular file of the same
    /// archive, and is renamed as that was.
    fn target(&self, entry: &Entry, destination: &Destination) -> Result<Vec<u8>, Error> {
        if entry.kind != EntryKind::Hardlink {
            return Ok(entry.target.clone());
        }
        let refuse =
            |rule: &str| Error::entry(&entry.name, format!("is a hard link whose target {rule}"));
        let normalised = name::normalise(&entry.target).map_err(refuse)?;
        let target = destination.name_of(&normalised).unwrap_or_default();
        match self.seen.get(&target) {
            Some(Node::File) => Ok(target),
            Some(Node::Symlink) => Err(refuse("is a symbolic link")),
            Some(Node::Directory | Node::Implied) => Err(refuse("is a directory")),
            None => Err(refuse("is not an earlier file of the archive")),
        }
    }

    /// Records a name and writes its missing parent directories. Errors name the entry as `sent_name`, the name that the
    /// caller sent.
    fn add_name(&mut self, name: &[u8], node: Node, sent_name: &[u8]) -> Result<(), Error> {
        let parents = self
            .seen
            .add(name, node)
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

/// Normalises a name that this program chose; an empty one is the root.
fn normalised(name: &str) -> Result<Vec<u8>, Error> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    name::normalise(name.as_bytes()).map_err(|rule| Error::entry(name.as_bytes(), rule))
}

/// The node that an entry creates. Error: its kind, or its symbolic link's target, is not allowed.
fn node(entry: &Entry) -> Result<Node, Error> {
    let refuse = |rule: &str| Err(Error::entry(&entry.name, rule));
    match entry.kind {
        EntryKind::Directory => Ok(Node::Directory),
        EntryKind::File | EntryKind::Hardlink => Ok(Node::File),
        EntryKind::Symlink => match entry.target.as_slice() {
            b"" => refuse("is a symbolic link without a target"),
            target if target.len() > MAX_TARGET => {
                refuse("is a symbolic link with a target longer than 4096 bytes")
            }
            target if target.contains(&0) => {
                refuse("is a symbolic link with a NUL byte in its target")
            }
            _ => Ok(Node::Symlink),
        },
        EntryKind::Other(what) => Err(Error::entry(
            &entry.name,
            format!("is a {what}, which is not allowed"),
        )),
    }
}
