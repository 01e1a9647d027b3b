//! Content on its way into the engine: the one place where incoming archives are judged. Checking an archive is packing
//! it to nowhere, so that what passes the check is exactly what can be packed.

use std::io::{self, BufReader, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::gunzip::Gunzip;
use super::limit_counter::LimitCounter;
use super::reader::{BUFFER, Entry, Kind, TarReader};
use super::seen_names::{Node, SeenNames};
use super::writer::{Head, TarWriter};
use super::{Error, Limits, Summary, UidGid, name};

/// Mode of a directory that an archive implies but does not have.
const IMPLIED_MODE: u32 = 0o755;
/// Permissions and the sticky bit: setuid and setgid never come in.
const MODE_BITS: u32 = 0o1777;
/// Longest target of a symbolic link (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

type Source<'a> = TarReader<BufReader<Gunzip<'a>>>;

/// Reads a base64 tar.gz through once, holding nothing, and applies every check that [`Packer::targz`] does.
pub fn check_targz(base64: &str, limits: Limits) -> Result<Summary, Error> {
    check_targz_stripped(base64, 0, limits)
}

/// As [`check_targz`], for an archive to be packed with `strip_components`: dropping the first parts of names can make
/// two entries one, which is refused.
pub fn check_targz_stripped(
    base64: &str,
    strip_components: usize,
    limits: Limits,
) -> Result<Summary, Error> {
    let mut nowhere = Packer::new(io::sink(), UidGid::default());
    let place = Place {
        below: Vec::new(),
        strip: strip_components,
    };
    nowhere.copy_targz(&place, base64, limits)
}

/// Writes engine tars: items under chosen names, one after another, all owned by one owner. A name can be used once
/// only, whether for an item or an archive's entry; directories may be repeated.
pub struct Packer<W: Write> {
    tar: TarWriter<BufWriter<W>>,
    owner: UidGid,
    seen: SeenNames,
    /// The time given to what has none of its own.
    now: u64,
}

/// Where an archive's entries go.
struct Place {
    /// The directory, spelled.
    below: Vec<u8>,
    /// How many leading parts of each name are dropped.
    strip: usize,
}

impl Place {
    /// The name that a spelled name gets; `None` when nothing is left of it.
    fn name_of(&self, spelled: &[u8]) -> Option<Vec<u8>> {
        let rest = name::strip(spelled, self.strip);
        if rest.is_empty() {
            return None;
        }
        let mut name = self.below.clone();
        name::push(&mut name, rest);
        Some(name)
    }
}

impl<W: Write> Packer<W> {
    /// A packer that writes plain tar to `writer`.
    pub fn new(writer: W, owner: UidGid) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            tar: TarWriter::new(BufWriter::with_capacity(BUFFER, writer)),
            owner,
            seen: SeenNames::new(),
            now: now.map_or(0, |time| time.as_secs()),
        }
    }

    /// A directory entry; `.` is the top itself.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<(), Error> {
        let spelled = spelled(name)?;
        self.enter(&spelled, Node::Directory, name.as_bytes())?;
        self.write_directory(&spelled, mode, self.now)
    }

    /// A file entry. Directories between it and one that was packed before are made along with it.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        if let Some(rule) = name::file_name_fault(name) {
            return Err(Error::entry(name.as_bytes(), rule));
        }
        let spelled = spelled(name)?;
        self.enter(&spelled, Node::File, name.as_bytes())?;
        let size = content.len() as u64;
        let head = Head {
            mode: mode & MODE_BITS,
            size,
            ..self.head(&spelled, Kind::File)
        };
        self.tar.head(&head).map_err(Error::Io)?;
        self.tar.content().write_all(content).map_err(Error::Io)?;
        self.tar.end_content(size).map_err(Error::Io)
    }

    /// Every entry of a base64 tar.gz below `name` (with the first `strip_components` of each name dropped), mode bits
    /// kept without setuid/setgid, streamed: decoded, gunzipped, checked and written entry by entry. The directory
    /// `name` itself is the caller's: neither it nor the archive's own root is written.
    pub fn targz(
        &mut self,
        name: &str,
        base64: &str,
        strip_components: usize,
        limits: Limits,
    ) -> Result<(), Error> {
        let place = Place {
            below: spelled(name)?,
            strip: strip_components,
        };
        self.copy_targz(&place, base64, limits).map(drop)
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<W, Error> {
        let buffer = self.tar.finish().map_err(Error::Io)?;
        buffer
            .into_inner()
            .map_err(|error| Error::Io(error.into_error()))
    }

    fn copy_targz(
        &mut self,
        place: &Place,
        base64: &str,
        limits: Limits,
    ) -> Result<Summary, Error> {
        let stream = BufReader::with_capacity(BUFFER, Gunzip::open(base64)?);
        let mut source = TarReader::new(stream, limits.unpacked_bytes);
        self.enter(&place.below, Node::Directory, &place.below)?;
        let names_before = self.seen.len();
        let mut counter = LimitCounter::new(limits);
        while let Some(entry) = source.next_entry()? {
            let spelled =
                name::normalise(&entry.name).map_err(|rule| Error::entry(&entry.name, rule))?;
            counter.count(&entry, &spelled)?;
            let node = node(&entry)?;
            if let Some(name) = place.name_of(&spelled) {
                let target = self.target(&entry, place)?;
                self.enter(&name, node, &entry.name)?;
                counter.bound_names(self.seen.len() - names_before)?;
                self.copy_entry(&mut source, &entry, (&name, &target))?;
            }
        }
        Ok(counter.summary())
    }

    fn copy_entry(
        &mut self,
        source: &mut Source<'_>,
        entry: &Entry,
        (name, target): (&[u8], &[u8]),
    ) -> Result<(), Error> {
        if entry.kind == Kind::Directory {
            return self.write_directory(name, entry.mode, entry.mtime);
        }
        let head = Head {
            target,
            mode: entry.mode & MODE_BITS,
            mtime: entry.mtime,
            size: entry.size,
            ..self.head(name, entry.kind)
        };
        self.tar.head(&head).map_err(Error::Io)?;
        source.copy_content(self.tar.content())?;
        self.tar.end_content(entry.size).map_err(Error::Io)
    }

    /// A link's target as it is written. That of a symbolic link is its own affair; that of a hard link has to be an
    /// earlier regular file of the same archive.
    fn target(&self, entry: &Entry, place: &Place) -> Result<Vec<u8>, Error> {
        if entry.kind != Kind::Hardlink {
            return Ok(entry.target.clone());
        }
        let refuse =
            |rule: &str| Error::entry(&entry.name, format!("is a hard link whose target {rule}"));
        let spelled = name::normalise(&entry.target).map_err(refuse)?;
        let target = place.name_of(&spelled).unwrap_or_default();
        match self.seen.get(&target) {
            Some(Node::File) => Ok(target),
            Some(Node::Symlink) => Err(refuse("is a symbolic link")),
            Some(Node::Directory | Node::Implied) => Err(refuse("is a directory")),
            None => Err(refuse("is not an earlier file of the archive")),
        }
    }

    /// Enters a name, known to the sender as `known_as`, and writes the directories that it implies.
    fn enter(&mut self, name: &[u8], node: Node, known_as: &[u8]) -> Result<(), Error> {
        let implied = self
            .seen
            .enter(name, node)
            .map_err(|rule| Error::entry(known_as, rule))?;
        implied
            .into_iter()
            .try_for_each(|above| self.write_directory(above, IMPLIED_MODE, self.now))
    }

    fn write_directory(&mut self, name: &[u8], mode: u32, mtime: u64) -> Result<(), Error> {
        let slashed = [if name.is_empty() { b"." } else { name }, b"/"].concat();
        let head = Head {
            mode: mode & MODE_BITS,
            mtime,
            ..self.head(&slashed, Kind::Directory)
        };
        self.tar.head(&head).map_err(Error::Io)
    }

    fn head<'n>(&self, name: &'n [u8], kind: Kind) -> Head<'n> {
        Head {
            name,
            kind,
            target: &[],
            mode: 0,
            owner: self.owner,
            mtime: self.now,
            size: 0,
        }
    }
}

/// A name given by our own side; empty, too, is the top.
fn spelled(name: &str) -> Result<Vec<u8>, Error> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    name::normalise(name.as_bytes()).map_err(|rule| Error::entry(name.as_bytes(), rule))
}

/// What an entry will be, if its kind is allowed and its link target one.
fn node(entry: &Entry) -> Result<Node, Error> {
    let refuse = |rule: &str| Err(Error::entry(&entry.name, rule));
    match entry.kind {
        Kind::Directory => Ok(Node::Directory),
        Kind::File | Kind::Hardlink => Ok(Node::File),
        Kind::Symlink => match entry.target.as_slice() {
            b"" => refuse("is a symbolic link without a target"),
            target if target.len() > MAX_TARGET => {
                refuse("is a symbolic link with a target longer than 4096 bytes")
            }
            target if target.contains(&0) => {
                refuse("is a symbolic link with a NUL byte in its target")
            }
            _ => Ok(Node::Symlink),
        },
        Kind::Other(what) => Err(Error::entry(
            &entry.name,
            format!("is a {what}, which is not allowed"),
        )),
    }
}
