//! The targets of an archive's symbolic links, for hard links to them, which become symbolic links too. Bounded: a target
//! beyond the limit is not kept, and only an archive that has a hard link to its link is refused.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

/// Most bytes of targets that are kept, with what a table needs for each.
const MAX_BYTES: usize = 16 << 20;
/// About what a table needs for one target.
const OVERHEAD: usize = 48;

/// Keyed hash of a link's name → the link's target. See `seen_names` for why not the names.
pub(super) struct SymlinkTargets {
    targets: HashMap<u64, Box<[u8]>>,
    bytes: usize,
    seed: RandomState,
}

impl SymlinkTargets {
    pub(super) fn new() -> Self {
        Self {
            targets: HashMap::new(),
            bytes: 0,
            seed: RandomState::new(),
        }
    }

    /// Keeps the target of a link, in place of an earlier one of the same name.
    pub(super) fn insert(&mut self, name: &[u8], target: &[u8]) {
        let key = self.seed.hash_one(name);
        if let Some(replaced) = self.targets.remove(&key) {
            self.bytes -= replaced.len() + OVERHEAD;
        }
        let bytes = self.bytes + target.len() + OVERHEAD;
        if bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.targets.insert(key, target.into());
        }
    }

    /// The target of a link; `None` if it was not kept.
    pub(super) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.targets
            .get(&self.seed.hash_one(name))
            .map(|target| &**target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_target_of_a_name_counts_and_the_memory_is_bounded() {
        let mut targets = SymlinkTargets::new();
        targets.insert(b"l", b"a");
        targets.insert(b"l", b"b");
        assert_eq!(targets.get(b"l"), Some(&b"b"[..]));
        assert_eq!(targets.get(b"m"), None);
        let long = [b't'; 4096];
        for number in 0..10_000_u32 {
            targets.insert(&number.to_be_bytes(), &long);
        }
        assert!(targets.bytes <= MAX_BYTES && targets.targets.len() < 4096);
        assert_eq!(targets.get(&0_u32.to_be_bytes()), Some(&long[..]));
        assert_eq!(targets.get(&9999_u32.to_be_bytes()), None);
    }
}
