//! The names that an archive has used so far. Refuses a name that changes its type, that leads through a symbolic link of
//! the archive, or that lies below one of its files, and a second name that becomes equal to an earlier one.
//!
//! Stores a keyed hash of each name instead of the name, because a million names of 4 KiB would take 4 GiB. If two names
//! have the same hash, the archive is refused: expected once in ten million archives of a million entries, and not
//! predictable for a caller, because the key is random.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// What kind of node a name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A parent directory that has no entry and is assumed to exist at the destination.
    Implied,
    /// A directory that has been written, or the destination itself.
    Directory,
    /// A regular file, or a hard link to one.
    File,
    /// A symbolic link.
    Symlink,
}

impl Node {
    fn is_directory(self) -> bool {
        matches!(self, Self::Implied | Self::Directory)
    }
}

/// Keyed hash of where a name comes from. Names that become equal, although they come from different places, are refused:
/// one of the two files would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(u32);

/// The names of one archive, as [`super::name::normalise`] returns them. The root is the empty name.
pub(super) struct SeenNames {
    nodes: HashMap<u64, Known>,
    root: Node,
    seed: RandomState,
}

/// A name that was used.
#[derive(Clone, Copy)]
struct Known {
    node: Node,
    origin: Origin,
}

impl SeenNames {
    pub(super) fn new() -> Self {
        Self {
            nodes: HashMap::new(),
            root: Node::Implied,
            seed: RandomState::new(),
        }
    }

    /// Number of names, implied directories included.
    pub(super) fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// The origin of a name in one of the sources of the names, which are numbered.
    pub(super) fn origin(&self, source: u64, name: &[u8]) -> Origin {
        Origin(self.seed.hash_one((source, name)) as u32)
    }

    /// Adds a name. Returns its parent directories that are new and lie in a written directory, outermost first: the
    /// caller must write them before the entry. Error: the rule that the name breaks.
    pub(super) fn add<'n>(
        &mut self,
        name: &'n [u8],
        node: Node,
        origin: Origin,
    ) -> Result<Vec<&'n [u8]>, &'static str> {
        let added = Known { node, origin };
        let path = self.path(name);
        let Some((own, parents)) = path.split_last() else {
            self.root = node;
            return Ok(Vec::new());
        };
        if let Some(&known) = self.nodes.get(&own.key) {
            check_repeated(known, added)?;
            self.nodes.insert(own.key, added);
            return Ok(Vec::new());
        }
        let new_parents = self.add_parents(parents, origin)?;
        self.nodes.insert(own.key, added);
        Ok(new_parents.into_iter().map(|end| &name[..end]).collect())
    }

    /// The node of a name, if the name has been added.
    pub(super) fn get(&self, name: &[u8]) -> Option<Node> {
        match self.path(name).last() {
            Some(own) => self.nodes.get(&own.key).map(|known| known.node),
            None => Some(self.root),
        }
    }

    /// Adds the parents of a new name. Returns, for each one that has to be written, where its name ends.
    fn add_parents(
        &mut self,
        parents: &[Prefix],
        origin: Origin,
    ) -> Result<Vec<usize>, &'static str> {
        let known = parents
            .iter()
            .rposition(|prefix| self.nodes.contains_key(&prefix.key));
        let nearest = match known {
            Some(index) => self
                .nodes
                .get(&parents[index].key)
                .map_or(self.root, |known| known.node),
            None => self.root,
        };
        match nearest {
            Node::File => return Err("uses a file of the archive as a directory"),
            Node::Symlink => return Err("is written through a symbolic link of the archive"),
            Node::Implied | Node::Directory => {}
        }
        let added = Known {
            node: nearest,
            origin,
        };
        let new = &parents[known.map_or(0, |index| index + 1)..];
        self.nodes
            .extend(new.iter().map(|prefix| (prefix.key, added)));
        match nearest {
            Node::Directory => Ok(new.iter().map(|prefix| prefix.end).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// The prefixes of a name that are its parents, outermost first, and last the name itself.
    fn path(&self, name: &[u8]) -> Vec<Prefix> {
        let mut path = Vec::new();
        let mut hasher = self.seed.build_hasher();
        let mut begin = 0;
        for component in name
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
        {
            hasher.write(component);
            hasher.write_u8(b'/');
            let end = begin + component.len();
            path.push(Prefix {
                end,
                key: hasher.clone().finish(),
            });
            begin = end + 1;
        }
        path
    }
}

/// A name may be added again as the same type: of directories everything counts, of files and links the last one.
fn check_repeated(known: Known, added: Known) -> Result<(), &'static str> {
    match (known.node, added.node) {
        (known, Node::Directory) if known.is_directory() => Ok(()),
        (known, _) if known.is_directory() => Err("would replace a directory of the archive"),
        (Node::File, Node::File) | (Node::Symlink, Node::Symlink) => {
            match known.origin == added.origin {
                true => Ok(()),
                false => Err("gets the name of an earlier entry"),
            }
        }
        (Node::File, _) => Err("would replace a file of the archive"),
        _ => Err("would replace a symbolic link of the archive"),
    }
}

/// A prefix of a name, ending at a component.
struct Prefix {
    /// Length of the prefix in bytes.
    end: usize,
    /// Keyed hash of the prefix.
    key: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_repeated_as_the_same_type_from_the_same_place() {
        let mut seen = SeenNames::new();
        let (here, there) = (Origin(1), Origin(2));
        for name in ["d", "d/e", "d"] {
            seen.add(name.as_bytes(), Node::Directory, here).unwrap();
        }
        for _ in 0..2 {
            seen.add(b"f", Node::File, here).unwrap();
            seen.add(b"l", Node::Symlink, here).unwrap();
        }
        let cases: [(&[u8], Node, &str); 10] = [
            (b"f", Node::File, "gets the name"),
            (b"f", Node::Directory, "would replace a file"),
            (b"f", Node::Symlink, "would replace a file"),
            (b"l", Node::Directory, "would replace a symbolic link"),
            (b"l", Node::File, "would replace a symbolic link"),
            (b"l", Node::Symlink, "gets the name"),
            (b"d", Node::File, "would replace a directory"),
            (b"d", Node::Symlink, "would replace a directory"),
            (b"f/x", Node::File, "uses a file"),
            (b"l/x/y", Node::Directory, "through a symbolic link"),
        ];
        for (name, node, rule) in cases {
            let refused = seen.add(name, node, there).unwrap_err();
            assert!(refused.contains(rule), "{}: {refused}", name.escape_ascii());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn missing_parents_are_written_only_below_a_written_directory() {
        let mut seen = SeenNames::new();
        assert!(
            seen.add(b"usr/local/x", Node::File, Origin(0))
                .unwrap()
                .is_empty()
        );
        assert_eq!(seen.get(b"usr/local"), Some(Node::Implied));
        seen.add(b"usr/local/top", Node::Directory, Origin(0))
            .unwrap();
        let implied = seen
            .add(b"usr/local/top/a/b/c", Node::File, Origin(0))
            .unwrap();
        assert_eq!(implied, [&b"usr/local/top/a"[..], b"usr/local/top/a/b"]);
        assert!(
            seen.add(b"usr/local/top/a/b/d", Node::File, Origin(0))
                .unwrap()
                .is_empty()
        );
        assert_eq!(seen.get(b"usr/local/top/a"), Some(Node::Directory));
        assert_eq!(seen.get(b"usr/local/to"), None);
    }

    #[test]
    fn parents_directly_below_a_written_root_are_written() {
        let mut seen = SeenNames::new();
        seen.add(b"", Node::Directory, Origin(0)).unwrap();
        assert_eq!(seen.add(b"a/b", Node::File, Origin(0)).unwrap(), [b"a"]);
    }
}
