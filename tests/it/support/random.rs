//! Pseudorandom numbers for tests that mutate inputs: the same ones in every test run, unless a run asks for more rounds. The
//! library's own tests use this file too.

use serde_json::{Value, json};

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

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Whether one of `ends` equally likely cases occurs.
    pub fn one_in(&mut self, ends: usize) -> bool {
        self.below(ends) == 0
    }

    /// As [`Random::mutate`]; bytes that are not UTF-8 any more are replaced.
    pub fn mutated_text(&mut self, text: &str, words: &[&str]) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.mutate(&mut bytes, words);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Changes a few values, members or items of a JSON value, which stays JSON.
    pub fn mutate_json(&mut self, value: &mut Value, words: &[&str]) {
        for _ in 0..=self.below(3) {
            self.mutate_json_once(value, words);
        }
    }

    fn mutate_json_once(&mut self, value: &mut Value, words: &[&str]) {
        // Mostly further down.
        let goes_down = !self.one_in(5);
        match value {
            Value::Object(members) if goes_down && !members.is_empty() => {
                let place = self.below(members.len());
                let below = members.values_mut().nth(place);
                self.mutate_json_once(below.unwrap(), words);
            }
            Value::Array(items) if goes_down && !items.is_empty() => {
                let place = self.below(items.len());
                self.mutate_json_once(&mut items[place], words);
            }
            Value::Object(members) if !members.is_empty() && !self.one_in(4) => {
                let place = self.below(members.len());
                let name = members.keys().nth(place).unwrap().clone();
                match self.below(3) {
                    0 => drop(members.remove(&name)),
                    1 => {
                        let member = members.remove(&name).unwrap();
                        members.insert((*self.pick(words)).to_owned(), member);
                    }
                    _ => {
                        let copy = members[&name].clone();
                        let place = self.below(members.len());
                        *members.values_mut().nth(place).unwrap() = copy;
                    }
                }
            }
            Value::Array(items) if !items.is_empty() && !self.one_in(4) => {
                let place = self.below(items.len());
                match self.one_in(2) {
                    true => drop(items.remove(place)),
                    false => items.push(items[place].clone()),
                }
            }
            Value::String(text) if !self.one_in(3) => *text = self.mutated_text(text, words),
            other => *other = self.odd_json(words),
        }
    }

    /// A value that programs are seldom made for.
    fn odd_json(&mut self, words: &[&str]) -> Value {
        match self.below(14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(0),
            3 => json!(-1),
            4 => json!(u64::MAX),
            5 => json!(i64::MIN),
            6 => json!(1e300),
            7 => json!(0.5),
            8 => json!(""),
            9 => json!([]),
            10 => json!({}),
            11 => json!("x".repeat(5000)),
            12 => json!([[null], {"": []}]),
            _ => json!(self.pick(words)),
        }
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
