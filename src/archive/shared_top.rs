//! Finds the one top-level directory that all entries of an archive are in.

use super::entry::{Entry, EntryKind};
use super::name;

/// What the content of a file begins with that holds the attributes of another file (AppleDouble, RFC 1740). Empty and cut
/// ones occur too: where the attributes could not be copied.
pub(super) const APPLE_DOUBLE: [u8; 4] = [0, 5, 0x16, 7];
/// What macOS puts before a file's name to name the file with its attributes.
const COMPANION: &[u8] = b"._";

/// The top-level directory of the entries so far.
pub(super) struct SharedTop {
    top: Top,
    /// The top-level name whose attributes an entry holds.
    companion_of: Option<Vec<u8>>,
}

enum Top {
    /// No entry yet.
    Unknown,
    /// All entries are in this directory.
    Shared(Vec<u8>),
    /// There is no single directory.
    None,
}

/// Whether an entry may be a companion: the file that macOS' tar writes beside the top-level directory, with the
/// directory's attributes. It is one if its content begins with [`APPLE_DOUBLE`], or is only a beginning of that.
pub(super) fn may_be_companion(entry: &Entry) -> bool {
    entry.kind == EntryKind::File
        && entry.name.starts_with(COMPANION)
        && entry.name.len() > COMPANION.len()
        && !entry.name.contains(&b'/')
}

impl SharedTop {
    pub(super) fn new() -> Self {
        Self {
            top: Top::Unknown,
            companion_of: None,
        }
    }

    /// Adds a companion, which is not in the top-level directory but belongs to it.
    pub(super) fn add_companion(&mut self, name: &[u8]) {
        let of = &name[COMPANION.len()..];
        match &self.companion_of {
            Some(other) if other != of => self.top = Top::None,
            _ => self.companion_of = Some(of.to_vec()),
        }
    }

    /// Adds another entry. `name` is its normalised name. There is no shared directory if a name is written with `./`, or
    /// if something else than a directory is at the top.
    pub(super) fn add(&mut self, entry: &Entry, name: &[u8]) {
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

    /// The directory, if there is one.
    pub(super) fn into_name(self) -> Option<Vec<u8>> {
        match (self.top, self.companion_of) {
            (Top::Shared(top), Some(of)) if of != top => None,
            (Top::Shared(top), _) => Some(top),
            (Top::Unknown | Top::None, _) => None,
        }
    }
}
