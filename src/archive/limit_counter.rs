//! Counts entries and bytes of an incoming archive while it is read, and refuses it at its limits.

use super::error::Error;
use super::name;
use super::reader::{Entry, EntryKind};

/// Most entries of a collected directory. An incoming archive with this limit accepts every collected directory again.
pub const MAX_ENTRIES: u64 = 1_000_000;

/// Limits of an incoming archive; it is refused beyond either.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// Number of entries, including directories that have no entry of their own.
    pub entries: u64,
}

/// What a checked archive contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub entries: u64,
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// The single top-level directory that all entries share, if names are written `dir/…` and not `./…`.
    pub shared_top: Option<String>,
}

/// Counter for one archive.
pub(super) struct LimitCounter {
    limits: Limits,
    entries: u64,
    unpacked_bytes: u64,
    top: Top,
}

/// The top-level directory of the entries so far.
enum Top {
    /// No entry yet.
    Unknown,
    /// All entries are in this directory.
    Shared(Vec<u8>),
    /// There is no single directory.
    None,
}

impl LimitCounter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            unpacked_bytes: 0,
            top: Top::Unknown,
        }
    }

    /// Counts an entry; to be called before its content is read. `name` is the entry's normalised name. Error:
    /// [`Error::TooLarge`] at a limit.
    pub(super) fn count(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Error> {
        self.entries += 1;
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(entry.size);
        self.update_top(entry, name);
        if self.unpacked_bytes > self.limits.unpacked_bytes {
            let limit = self.limits.unpacked_bytes;
            return Err(Error::TooLarge(format!(
                "the archive unpacks to more than {limit} bytes"
            )));
        }
        self.check_name_count(self.entries)
    }

    /// Checks the number of names that an archive creates, including directories that have no entry of their own.
    pub(super) fn check_name_count(&self, names: u64) -> Result<(), Error> {
        if names > self.limits.entries {
            let limit = self.limits.entries;
            return Err(Error::TooLarge(format!(
                "the archive has more than {limit} entries"
            )));
        }
        Ok(())
    }

    pub(super) fn summary(self) -> Summary {
        let shared_top = match self.top {
            Top::Shared(top) => Some(String::from_utf8_lossy(&top).into_owned()),
            Top::Unknown | Top::None => None,
        };
        Summary {
            entries: self.entries,
            unpacked_bytes: self.unpacked_bytes,
            shared_top,
        }
    }

    /// There is no shared directory if a name is written with `./`, or if something else than a directory is at the top.
    fn update_top(&mut self, entry: &Entry, name: &[u8]) {
        let top = name::top(name);
        let dotted = entry.name.starts_with(b"./") || top.is_empty();
        let bare = top.len() == name.len() && entry.kind != EntryKind::Directory;
        match &self.top {
            _ if dotted || bare => self.top = Top::None,
            Top::Unknown => self.top = Top::Shared(top.to_vec()),
            Top::Shared(shared) if shared != top => self.top = Top::None,
            Top::Shared(_) | Top::None => {}
        }
    }
}
