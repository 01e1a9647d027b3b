//! Mutated `Prefer` fields. `FUZZ_TIMES=100` searches a hundred times as long.

use super::prefer::Prefer;
use crate::random::{Random, rounds};

const FIELDS: &str = include_str!("../../tests/corpus/prefer.txt");

/// What fields are made of, and what breaks their parts.
const WORDS: [&str; 18] = [
    ",",
    ";",
    "=",
    "\"",
    "\\",
    "\\\"",
    "\"\"",
    " ",
    "\t",
    "wait",
    "respond-async",
    "WAIT=1",
    "wait=0",
    ";wait=9",
    ", wait=8",
    "=\"",
    "@",
    "\u{e9}",
];

/// One preference, and how it may be written.
struct Written {
    name: &'static str,
    value: String,
    text: String,
}

fn written(random: &mut Random) -> Written {
    const LETTERS: [char; 12] = ['a', 'b', '7', '"', '\\', ',', ';', '=', ' ', '\t', '(', '%'];
    let space = |random: &mut Random| *random.pick(&["", "", " ", " \t "]);
    let name = *random.pick(&["wait", "respond-async", "foo"]);
    let value: String = (0..random.below(6))
        .map(|_| *random.pick(&LETTERS))
        .collect();
    let quoted = |value: &str| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    let is_token = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let spelt = match random.one_in(2) {
        true => name.to_uppercase(),
        false => name.to_owned(),
    };
    let equals = format!("{}={}", space(random), space(random));
    let mut text = match value.is_empty() && random.one_in(2) {
        true => spelt,
        false if is_token && random.one_in(2) => format!("{spelt}{equals}{value}"),
        false => format!("{spelt}{equals}{}", quoted(&value)),
    };
    for _ in 0..random.below(3) {
        let parameter =
            *random.pick(&["", "a", "wait=5", "b=\"c, respond-async; d\"", "e=\"\\\"\""]);
        text += &format!("{};{}{parameter}", space(random), space(random));
    }
    Written { name, value, text }
}

#[test]
fn the_first_instance_of_each_preference_is_found_however_it_is_written() {
    for number in 0..rounds(20_000) {
        let mut random = Random(number);
        let preferences: Vec<Written> =
            (0..random.below(6)).map(|_| written(&mut random)).collect();
        // Spread over one or several fields.
        let mut fields = vec![String::new()];
        for preference in &preferences {
            if random.one_in(3) {
                fields.push(String::new());
            }
            let field = fields.last_mut().unwrap();
            let separator = if field.is_empty() { "" } else { " ,, " };
            *field += &format!("{separator}{}", preference.text);
        }
        let prefer = Prefer::parse(fields.iter().map(String::as_str));
        for name in ["wait", "respond-async", "foo", "bar"] {
            let first = preferences
                .iter()
                .find(|preference| preference.name == name);
            let expected = first.map(|preference| preference.value.as_str());
            assert_eq!(prefer.value(name), expected, "{name} in {fields:?}");
        }
    }
}

#[test]
fn a_mutated_field_gives_only_what_is_in_it() {
    let seeds: Vec<&str> = FIELDS.lines().collect();
    let mut found = 0;
    for number in 0..rounds(20_000) {
        let mut random = Random(number);
        let seed = *random.pick(&seeds);
        let field = random.mutated_text(seed, &WORDS);
        let prefer = Prefer::parse([field.as_str()].into_iter());
        for name in ["wait", "respond-async"] {
            let Some(value) = prefer.value(name) else {
                continue;
            };
            found += 1;
            assert!(field.to_ascii_lowercase().contains(name), "{field:?}");
            assert!(
                field.replace('\\', "").contains(&value.replace('\\', "")),
                "{value:?} in {field:?}"
            );
        }
    }
    assert!(found > 5000, "{found}");
}
