//! Which names, kinds and link targets of incoming entries are allowed.

use super::entry::{Entry, EntryKind};
use super::error::Error;
use super::name;
use super::seen_names::Node;

/// Longest target of a symbolic link (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

/// Normalises a name that this program chose; an empty one is the root.
pub(super) fn normalised(name: &str) -> Result<Vec<u8>, Error> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    name::normalise(name.as_bytes()).map_err(|rule| Error::entry(name.as_bytes(), rule))
}

/// The normal form of an entry's name. Tools that pack a directory under an empty name write `/` for the root itself.
pub(super) fn normalised_entry(entry: &Entry) -> Result<Vec<u8>, Error> {
    let refuse = |rule| Error::entry(&entry.name, rule);
    let is_directory = entry.kind == EntryKind::Directory;
    if is_directory && name::is_root(&entry.name) {
        return Ok(Vec::new());
    }
    let normalised = name::normalise(&entry.name).map_err(refuse)?;
    match normalised.is_empty() {
        true => Err(refuse("is the archive's root, yet no directory")),
        false => Ok(normalised),
    }
}

pub(super) fn hard_link_target(entry: &Entry) -> Result<Vec<u8>, Error> {
    name::normalise(&entry.target).map_err(|rule| hard_link_fault(entry, rule))
}

pub(super) fn hard_link_fault(entry: &Entry, rule: &str) -> Error {
    Error::entry(&entry.name, format!("is a hard link whose target {rule}"))
}

/// The kind and the node that an entry becomes, unless it is a hard link to a symbolic link. Error: its kind, or its
/// symbolic link's target, is not allowed.
pub(super) fn kind_and_node(entry: &Entry) -> Result<(EntryKind, Node), Error> {
    let refuse = |rule: &str| Err(Error::entry(&entry.name, rule));
    match entry.kind {
        EntryKind::Directory => Ok((entry.kind, Node::Directory)),
        EntryKind::File | EntryKind::Hardlink => Ok((entry.kind, Node::File)),
        // The content is there, so that the file need not be shared.
        EntryKind::HardlinkWithContent => Ok((EntryKind::File, Node::File)),
        EntryKind::Symlink => match entry.target.as_slice() {
            b"" => refuse("is a symbolic link without a target"),
            target if target.len() > MAX_TARGET => {
                refuse("is a symbolic link with a target longer than 4096 bytes")
            }
            target if target.contains(&0) => {
                refuse("is a symbolic link with a NUL byte in its target")
            }
            _ => Ok((entry.kind, Node::Symlink)),
        },
        EntryKind::Other(what) => Err(Error::entry(
            &entry.name,
            format!("is a {what}, which is not allowed"),
        )),
    }
}
