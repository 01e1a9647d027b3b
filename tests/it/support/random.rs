//! Pseudorandom numbers for tests that mutate inputs: the same ones in every test run, unless a run asks for more rounds.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Changes a few bytes: flips, removes, repeats or inserts some, with a preference for `words`.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, words: &[&str]) {
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len().max(1)).min(bytes.len());
            let end = (place + self.below(12)).min(bytes.len());
            match self.below(5) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 => drop(bytes.drain(place..end)),
                2 => {
                    let copy = bytes[place..end].to_vec();
                    bytes.splice(end..end, copy);
                }
                _ => {
                    let word = words[self.below(words.len())];
                    bytes.splice(place..end.min(place + self.below(4)), word.bytes());
                }
            }
        }
    }
}

/// How many rounds a test makes: `rounds`, times the number in the variable `FUZZ_TIMES` for a longer search.
pub fn rounds(rounds: u64) -> u64 {
    let times = std::env::var("FUZZ_TIMES").ok();
    rounds * times.and_then(|times| times.parse().ok()).unwrap_or(1)
}
