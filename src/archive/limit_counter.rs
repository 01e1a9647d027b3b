//! Counts entries and bytes of the incoming archives of one request while they are read, and refuses the archive that goes
//! beyond the request's limits.

use super::entry::Entry;
use super::error::Error;

/// Most entries of a collected directory. An incoming archive with this limit accepts every collected directory again.
pub const MAX_ENTRIES: u64 = 1_000_000;

/// Limits of all incoming archives of one request together; an archive beyond either is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// Number of entries, including directories that have no entry of their own.
    pub entries: u64,
}

/// The limits of one request, and what its archives have used of them so far.
#[derive(Clone, Debug)]
pub struct Allowance {
    pub(super) limits: Limits,
    pub(super) entries: u64,
    pub(super) unpacked_bytes: u64,
    /// Bytes of long names, extended headers and padding, which are read but not unpacked.
    pub(super) metadata_bytes: u64,
}

impl Allowance {
    /// An allowance of which nothing is used.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: 0,
            unpacked_bytes: 0,
            metadata_bytes: 0,
        }
    }
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
pub(super) struct LimitCounter<'a> {
    allowance: &'a mut Allowance,
    summary: Summary,
    /// Names that this archive has created so far.
    names: u64,
}

impl<'a> LimitCounter<'a> {
    /// A counter that goes on from what earlier archives used of the allowance.
    pub(super) fn new(allowance: &'a mut Allowance) -> Self {
        Self {
            allowance,
            summary: Summary::default(),
            names: 0,
        }
    }

    /// Counts an entry; to be called before its content is read. Error: [`Error::TooLarge`] at a limit.
    pub(super) fn count(&mut self, entry: &Entry) -> Result<(), Error> {
        self.summary.entries += 1;
        self.summary.unpacked_bytes = self.summary.unpacked_bytes.saturating_add(entry.size);
        self.allowance.unpacked_bytes = self.allowance.unpacked_bytes.saturating_add(entry.size);
        let limit = self.allowance.limits.unpacked_bytes;
        if self.allowance.unpacked_bytes > limit {
            return Err(Error::TooLarge(match self.summary.unpacked_bytes > limit {
                true => format!("the archive unpacks to more than {limit} bytes"),
                false => format!("the archives unpack to more than {limit} bytes together"),
            }));
        }
        self.check_name_count(self.summary.entries)
    }

    /// Counts and checks the number of names that an archive creates, including directories that have no entry of their own.
    pub(super) fn check_name_count(&mut self, names: u64) -> Result<(), Error> {
        let new = names.saturating_sub(self.names);
        self.names += new;
        self.allowance.entries += new;
        let limit = self.allowance.limits.entries;
        if self.allowance.entries > limit {
            return Err(Error::TooLarge(match names > limit {
                true => format!("the archive has more than {limit} entries"),
                false => format!("the archives have more than {limit} entries together"),
            }));
        }
        Ok(())
    }

    /// The summary of the archive, without its shared top-level directory.
    pub(super) fn summary(self) -> Summary {
        self.summary
    }
}
