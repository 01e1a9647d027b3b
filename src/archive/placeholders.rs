//! Which entries of a collected directory are there only because something else was mounted in it.

use std::collections::HashSet;

use super::entry::{Entry, EntryKind};
use super::mount_point::MountPoint;

/// The mount points of a directory, and the directories that lead to them.
#[derive(Default)]
pub(super) struct Placeholders {
    points: HashSet<Vec<u8>>,
    leading: HashSet<Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Content, to be kept.
    Content,
    /// An empty file at a mount point.
    Placeholder,
    /// A directory at or above a mount point: content only if something else is in it.
    Leading,
}

impl Placeholders {
    pub(super) fn new(points: &[MountPoint]) -> Self {
        let mut leading = HashSet::new();
        for point in points {
            let ends = point.name.match_indices('/').map(|(end, _)| end);
            leading.extend(ends.map(|end| point.name.as_bytes()[..end].to_vec()));
        }
        Self {
            points: points
                .iter()
                .map(|point| point.name.as_bytes().to_vec())
                .collect(),
            leading,
        }
    }

    /// `relative` is the entry's name within the directory.
    pub(super) fn role(&self, relative: &[u8], entry: &Entry) -> Role {
        let is_point = self.points.contains(relative);
        match entry.kind {
            EntryKind::File if is_point && entry.size == 0 => Role::Placeholder,
            EntryKind::Directory if is_point || self.leading.contains(relative) => Role::Leading,
            _ => Role::Content,
        }
    }
}

/// The rest of a name below a directory; empty if it is the directory itself.
pub(super) fn below<'n>(name: &'n [u8], directory: &[u8]) -> Option<&'n [u8]> {
    match name.strip_prefix(directory)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}
