//! Mutated `.env` files, beside the crate `dotenvy`. `FUZZ_TIMES=100` searches a hundred times as long.

use super::env_file::EnvFile;
use crate::random::{Random, rounds};

const FILES: [&str; 2] = [
    include_str!("../../tests/corpus/env_files/plain.env"),
    include_str!("../../tests/corpus/env_files/quoted.env"),
];

/// What files are made of, and what breaks their parts.
const WORDS: [&str; 26] = [
    "\n", "\r\n", "\r", "=", "==", "#", " #", "'", "\"", "\\", "\\n", "$", "$$", "${A}", "$(x)",
    " ", "\t", "export ", "A", "A=", "9", ".", "-", "\u{feff}", "\u{a0}", "\u{e9}",
];

const NAMES: [&str; 5] = ["A", "B", "TOKEN", "LIST", "PATH_LIKE"];

/// The value of a variable as `dotenvy` reads it. `None`: it refuses the file, or reads a value of several lines, which are
/// lines of their own here.
fn reference(text: &str, name: &str) -> Option<Option<String>> {
    let mut value = None;
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        let (found, text) = pair.ok().filter(|(_, text)| !text.contains('\n'))?;
        if found == name {
            value.get_or_insert(text);
        }
    }
    Some(value)
}

#[test]
fn a_mutated_file_means_what_dotenvy_says_without_substitution_or_is_refused() {
    let (mut same, mut literal, mut refused) = (0, 0, 0);
    for number in 0..rounds(20_000) {
        let mut random = Random(number);
        let seed = *random.pick(&FILES);
        let text = random.mutated_text(seed, &WORDS);
        let Ok(file) = EnvFile::parse(&text) else {
            refused += 1;
            continue;
        };
        for name in NAMES {
            match file.value(name) {
                Err(why) => {
                    refused += 1;
                    assert!(!why.contains("secret"), "{why}");
                }
                // Nothing is substituted here.
                Ok(Some(ours)) if ours.contains('$') => literal += 1,
                Ok(ours) => {
                    if let Some(theirs) = reference(&text, name) {
                        assert_eq!(ours, theirs, "{name} in {text:?}");
                        same += 1;
                    }
                }
            }
        }
    }
    assert!(
        same > 5000 && literal > 1000 && refused > 1000,
        "{same}, {literal}, {refused}"
    );
}

#[test]
fn any_text_without_line_ends_can_be_written_and_is_read_as_it_is() {
    const LETTERS: [char; 16] = [
        'a', '7', '$', '{', '}', '(', '#', ' ', '=', '\\', '"', '\'', '`', '\t', 'é', '-',
    ];
    for number in 0..rounds(10_000) {
        let mut random = Random(number);
        let value: String = (0..random.below(10))
            .map(|_| *random.pick(&LETTERS))
            .collect();
        let quote = match (value.contains('\''), value.contains(['"', '\\'])) {
            (false, _) => '\'',
            (true, false) => '"',
            (true, true) => continue,
        };
        let comment = *random.pick(&["", " # comment", "\t#'\""]);
        let line = format!("A={quote}{value}{quote}{comment}\nB=1\n");
        let file = EnvFile::parse(&line).unwrap();
        assert_eq!(file.value("A"), Ok(Some(value)), "{line:?}");
        assert_eq!(file.value("B"), Ok(Some("1".to_owned())), "{line:?}");
    }
}
