//! Counts what an archive holds while it is read, and stops it at its limits.

use super::reader::{Entry, Kind};
use super::{Error, Limits, Summary, name};

/// The running account of one archive.
pub(super) struct LimitCounter {
    limits: Limits,
    entries: u64,
    unpacked_bytes: u64,
    top: Top,
}

/// What the entries so far have in common.
enum Top {
    Unknown,
    Shared(Vec<u8>),
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

    /// Counts an entry, before its content is read.
    pub(super) fn count(&mut self, entry: &Entry, spelled: &[u8]) -> Result<(), Error> {
        self.entries += 1;
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(entry.size);
        self.share(entry, spelled);
        if self.unpacked_bytes > self.limits.unpacked_bytes {
            let limit = self.limits.unpacked_bytes;
            return Err(Error::TooLarge(format!(
                "the archive unpacks to more than {limit} bytes"
            )));
        }
        self.bound_names(self.entries)
    }

    /// Bounds the number of names that an archive makes, directories without an entry included.
    pub(super) fn bound_names(&self, names: u64) -> Result<(), Error> {
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

    /// A name that says `./` is meant as it is; so is anything but a directory at the top.
    fn share(&mut self, entry: &Entry, spelled: &[u8]) {
        let top = name::top(spelled);
        let dotted = entry.name.starts_with(b"./") || top.is_empty();
        let bare = top.len() == spelled.len() && entry.kind != Kind::Directory;
        match &self.top {
            _ if dotted || bare => self.top = Top::None,
            Top::Unknown => self.top = Top::Shared(top.to_vec()),
            Top::Shared(shared) if shared != top => self.top = Top::None,
            Top::Shared(_) | Top::None => {}
        }
    }
}
