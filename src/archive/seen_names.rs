//! The names an archive has used so far, so that no entry is written twice, through a symbolic link, or below a file.
//! It keeps a keyed hash of each name instead of the name: a million names of 4 KiB must not cost 4 GiB. Two names of
//! one hash (once in ten million archives of a million entries, and nobody can aim at it) end in a refusal.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory that something else was written below of, and that is not ours to describe.
    Implied,
    /// A directory that was written, or whose owner said that it is theirs.
    Directory,
    /// A regular file, or another name of one.
    File,
    /// A symbolic link.
    Symlink,
}

impl Node {
    fn is_directory(self) -> bool {
        matches!(self, Self::Implied | Self::Directory)
    }
}

/// Names of one archive. Spelled as [`super::name::normalise`] spells them; the root is the empty name.
pub(super) struct SeenNames {
    nodes: HashMap<u64, Node>,
    root: Node,
    seed: RandomState,
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

    /// Enters a name. Answers with the directories above it that are new and lie in a written one, outermost first:
    /// they have to be written before it. Otherwise the rule that the name breaks.
    pub(super) fn enter<'n>(
        &mut self,
        name: &'n [u8],
        node: Node,
    ) -> Result<Vec<&'n [u8]>, &'static str> {
        let path = self.path(name);
        let Some((own, above)) = path.split_last() else {
            self.root = node;
            return Ok(Vec::new());
        };
        if let Some(&known) = self.nodes.get(&own.key) {
            self.repeat(own.key, known, node)?;
            return Ok(Vec::new());
        }
        let made = self.enter_above(above)?;
        self.nodes.insert(own.key, node);
        Ok(made.into_iter().map(|end| &name[..end]).collect())
    }

    /// What a name stands for, if it is known.
    pub(super) fn get(&self, name: &[u8]) -> Option<Node> {
        match self.path(name).last() {
            Some(own) => self.nodes.get(&own.key).copied(),
            None => Some(self.root),
        }
    }

    fn repeat(&mut self, key: u64, known: Node, node: Node) -> Result<(), &'static str> {
        match (known, node) {
            (known, Node::Directory) if known.is_directory() => {
                self.nodes.insert(key, node);
                Ok(())
            }
            (known, _) if known.is_directory() => Err("is a directory earlier in the archive"),
            _ => Err("appears twice"),
        }
    }

    /// Enters the directories above a new name and returns where the names of those to be written end.
    fn enter_above(&mut self, above: &[Step]) -> Result<Vec<usize>, &'static str> {
        let known = above
            .iter()
            .rposition(|step| self.nodes.contains_key(&step.key));
        let nearest = match known {
            Some(index) => self
                .nodes
                .get(&above[index].key)
                .copied()
                .unwrap_or(self.root),
            None => self.root,
        };
        match nearest {
            Node::File => return Err("uses a file of the archive as a directory"),
            Node::Symlink => return Err("is written through a symbolic link of the archive"),
            Node::Implied | Node::Directory => {}
        }
        let fresh = &above[known.map_or(0, |index| index + 1)..];
        self.nodes
            .extend(fresh.iter().map(|step| (step.key, nearest)));
        match nearest {
            Node::Directory => Ok(fresh.iter().map(|step| step.end).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// The name and all that lie above it, outermost first.
    fn path(&self, name: &[u8]) -> Vec<Step> {
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
            path.push(Step {
                end,
                key: hasher.clone().finish(),
            });
            begin = end + 1;
        }
        path
    }
}

/// One of the names on the way to a name.
struct Step {
    /// Where it ends in the whole name.
    end: usize,
    key: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_used_once_unless_it_is_a_directory() {
        let mut seen = SeenNames::new();
        for name in ["d", "d/e", "d"] {
            seen.enter(name.as_bytes(), Node::Directory).unwrap();
        }
        seen.enter(b"f", Node::File).unwrap();
        seen.enter(b"l", Node::Symlink).unwrap();
        let cases: [(&[u8], Node, &str); 8] = [
            (b"f", Node::File, "appears twice"),
            (b"f", Node::Directory, "appears twice"),
            (b"l", Node::Directory, "appears twice"),
            (b"l", Node::Symlink, "appears twice"),
            (b"d", Node::File, "is a directory earlier"),
            (b"d", Node::Symlink, "is a directory earlier"),
            (b"f/x", Node::File, "uses a file"),
            (b"l/x/y", Node::Directory, "through a symbolic link"),
        ];
        for (name, node, rule) in cases {
            let refused = seen.enter(name, node).unwrap_err();
            assert!(refused.contains(rule), "{}: {refused}", name.escape_ascii());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn implied_directories_are_written_below_written_ones_only() {
        let mut seen = SeenNames::new();
        assert!(seen.enter(b"usr/local/x", Node::File).unwrap().is_empty());
        assert_eq!(seen.get(b"usr/local"), Some(Node::Implied));
        seen.enter(b"usr/local/top", Node::Directory).unwrap();
        let implied = seen.enter(b"usr/local/top/a/b/c", Node::File).unwrap();
        assert_eq!(implied, [&b"usr/local/top/a"[..], b"usr/local/top/a/b"]);
        assert!(
            seen.enter(b"usr/local/top/a/b/d", Node::File)
                .unwrap()
                .is_empty()
        );
        assert_eq!(seen.get(b"usr/local/top/a"), Some(Node::Directory));
        assert_eq!(seen.get(b"usr/local/to"), None);
    }

    #[test]
    fn the_root_can_be_written_too() {
        let mut seen = SeenNames::new();
        seen.enter(b"", Node::Directory).unwrap();
        assert_eq!(seen.enter(b"a/b", Node::File).unwrap(), [b"a"]);
    }
}
