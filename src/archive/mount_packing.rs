//! Makes the mount points in a packed directory. A container cannot make them itself in a directory that is read-only to it.

use std::io::{self, Write};

use super::error::Error;
use super::mount_point::{MountPoint, MountPointKind};
use super::pack::Packer;
use super::seen_names::Node;
use super::writer::UidGid;

/// Mode of a directory that only leads to a mount point.
const LEADING_MODE: u32 = 0o777;

impl<W: Write> Packer<W> {
    /// Writes an empty file or directory, and the directories above it, unless they are there. To be called after the content of
    /// `directory`, which was packed. Error: [`Error::Entry`] if the content has something of another type there.
    pub fn mount_point(&mut self, directory: &str, point: &MountPoint) -> Result<(), Error> {
        let ends = point.name.match_indices('/').map(|(end, _)| end);
        for leading in ends.map(|end| &point.name[..end]) {
            self.point(directory, leading, MountPointKind::Directory)?;
        }
        self.point(directory, &point.name, point.kind)
    }

    fn point(&mut self, directory: &str, name: &str, kind: MountPointKind) -> Result<(), Error> {
        let full = match directory {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        };
        let found = self.seen.get(full.as_bytes());
        let refuse = |what: &str| {
            let rule = format!("is a {what}, so that nothing else can be mounted there or below");
            Err(Error::entry(name.as_bytes(), rule))
        };
        match (kind, found) {
            (MountPointKind::Unknown, _) => Ok(()),
            (MountPointKind::File, None) => self.file(&full, 0o644, &[]),
            (MountPointKind::Directory, None) => self.directory(&full, LEADING_MODE),
            (MountPointKind::Directory, Some(Node::Directory | Node::Implied)) => Ok(()),
            (MountPointKind::File, Some(Node::File)) => Ok(()),
            (MountPointKind::File, Some(Node::Directory | Node::Implied)) => Err(Error::entry(
                name.as_bytes(),
                "is a directory, so that no file can be mounted there",
            )),
            (MountPointKind::Directory, Some(Node::File)) => refuse("file"),
            (_, Some(Node::Symlink)) => refuse("symbolic link"),
        }
    }
}

/// Checks mount points within a directory of text files with these names. Error: [`Error::Entry`] for the first one that is not
/// possible.
pub fn check_mount_points<'a>(
    files: impl Iterator<Item = &'a String>,
    points: &[MountPoint],
) -> Result<(), Error> {
    let mut packer = Packer::new(io::sink(), UidGid::default());
    packer.directory(".", 0)?;
    for name in files {
        // A name that is not allowed has been refused with its own reason.
        let _ = packer.file(name, 0, &[]);
    }
    points
        .iter()
        .try_for_each(|point| packer.mount_point("", point))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_of_another_type_than_the_content_is_refused() {
        use MountPointKind::{Directory, File, Unknown};
        let files = ["a".to_owned(), "d/b".to_owned()];
        for (name, kind, fault) in [
            ("a", File, None),
            ("a", Directory, Some("`a` is a file")),
            ("a/x", File, Some("`a` is a file")),
            ("a/x", Unknown, Some("`a` is a file")),
            ("d", Directory, None),
            ("d", File, Some("`d` is a directory")),
            ("d", Unknown, None),
            ("d/b/c", Directory, Some("`d/b` is a file")),
            ("d/e/f", File, None),
            ("new/deep", Directory, None),
        ] {
            let point = MountPoint {
                name: name.into(),
                kind,
            };
            let checked = check_mount_points(files.iter(), &[point]);
            match fault {
                None => assert!(checked.is_ok(), "{name} {kind:?}: {checked:?}"),
                Some(fault) => {
                    let text = checked.unwrap_err().to_string();
                    assert!(text.contains(fault), "{name} {kind:?}: {text}");
                }
            }
        }
    }
}
