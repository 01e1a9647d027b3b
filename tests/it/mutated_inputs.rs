//! Mutated requests and output streams: nothing panics, and whatever is refused is refused in the right words. Archives have
//! such a test of their own. `FUZZ_TIMES=100` makes the search a hundred times as long.

use super::support::{Random, rounds};
use oneoff_docker_runner::docker::stdcopy::{Stream, demultiplex, demultiplex_frames};
use oneoff_docker_runner::json;
use oneoff_docker_runner::memory::MemoryBudget;
use oneoff_docker_runner::runner::{ApiProfile, Error, Policy, PullPolicy, RunSpec, Spelling};
use serde_json::Value;
use std::io::Read;

const REQUESTS: [&str; 2] = [
    include_str!("../corpus/requests/volumes.json"),
    include_str!("../corpus/requests/settings.json"),
];

/// What requests are made of, and what breaks their parts.
const WORDS: [&str; 24] = [
    "..", "/", "//", ":ro", ":rw", ":", "\\u0000", "\\n", "@sha256:", "é", "null", "true", "-1",
    "1e400", "{}", "[]", "\"\"", "\"x\":1,", "/proc", "/dev/shm", "oneoff.", "%2e", "'", "~",
];

const PROFILE: ApiProfile = ApiProfile {
    root: "body",
    pull_policy: PullPolicy::Missing,
    spelling: Spelling::Exact,
};

#[test]
fn mutated_requests_never_panic_and_every_fault_has_its_place() {
    let policy = Policy {
        allowed_host_paths: vec!["/srv/data".into()],
        ..Policy::default()
    };
    let (mut accepted, mut refused) = (0, 0);
    for (number, seed) in REQUESTS.into_iter().enumerate() {
        let mut random = Random(number as u64);
        for _ in 0..rounds(4000) {
            let mut bytes = seed.as_bytes().to_vec();
            if random.one_in(2) {
                let mut value = serde_json::from_slice(&bytes).unwrap();
                random.mutate_json(&mut value, &WORDS);
                bytes = value.to_string().into_bytes();
            } else {
                random.mutate(&mut bytes, &WORDS);
            }
            let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
                continue;
            };
            match RunSpec::from_json(value, PROFILE, &policy) {
                Ok(_) | Err(Error::Forbidden { .. }) => accepted += 1,
                Err(Error::Invalid(faults)) => {
                    refused += 1;
                    assert!((1..=1000).contains(&faults.len()));
                    for fault in faults {
                        assert_eq!(fault.loc[0], "body", "{fault:?}");
                        assert!(!fault.msg.contains(char::is_control), "{fault:?}");
                    }
                }
                Err(other) => panic!("{other:?}: {}", String::from_utf8_lossy(&bytes)),
            }
        }
    }
    assert!(
        accepted > 200 && refused > 300,
        "{accepted} accepted, {refused} refused: no test of both"
    );
}

/// Frames of both streams, an empty one and a long one.
fn frames() -> Vec<u8> {
    let long = vec![b'l'; 40_000];
    let frames: [(u8, &[u8]); 5] = [
        (1, b"out\n"),
        (2, b"err"),
        (1, b""),
        (1, &long),
        (0, b"stdin"),
    ];
    let frame = |(stream, text): &(u8, &[u8])| {
        let length = (text.len() as u32).to_be_bytes();
        [&[*stream, 0, 0, 0], &length[..], text].concat()
    };
    frames.iter().flat_map(frame).collect()
}

/// Returns a few bytes at a time, as a slow connection does.
struct Trickle<'a>(&'a [u8], Random);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = into.len().min(self.0.len());
        let count = if most == 0 { 0 } else { 1 + self.1.below(most) };
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn mutated_output_streams_never_panic_and_never_give_more_than_came() {
    for number in 0..rounds(3000) {
        let mut random = Random(number);
        let mut bytes = frames();
        if number > 0 {
            // Mostly near the headers.
            let tail = bytes.split_off(if random.below(2) == 0 { 40 } else { 60 });
            random.mutate(
                &mut bytes,
                &["\0", "\u{1}\0\0\0", "\u{3}\0\0\0\0\0\0\u{5}", "\u{7f}"],
            );
            bytes.extend(tail);
        }
        for read in [demultiplex, demultiplex_frames] {
            let mut given = [0, 0];
            let mut trickle = Trickle(&bytes, Random(number));
            let outcome = read(&mut trickle, &mut |stream, piece| {
                given[usize::from(stream == Stream::Stderr)] += piece.len();
                Ok(())
            });
            assert!(given[0] + given[1] <= bytes.len());
            if number == 0 {
                outcome.unwrap();
                assert_eq!(given, [40_009, 3]);
            }
        }
    }
}

/// What the values take at least: what `serde_json` allocates for arrays and strings, and for members of objects.
fn least_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(|item| 32 + least_bytes(item)).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| 24 + 32 + name.len() as u64 + least_bytes(value))
            .sum(),
        _ => 0,
    }
}

#[test]
fn mutated_json_is_read_as_serde_json_reads_it_or_is_refused_and_its_memory_is_counted() {
    const JSON_WORDS: [&str; 22] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u00e9",
        "\\ud83e\\udd80",
        "\\ud800",
        "1e999",
        "1E5",
        "-0",
        "01",
        "0.1",
        "null",
        "\"image\":1,",
        "{\"a\":1,\"a\":2}",
        " ",
        "\u{feff}",
        "\0",
    ];
    let budget = MemoryBudget::new(1 << 30);
    let (mut accepted, mut refused, mut twice) = (0, 0, 0);
    for number in 0..rounds(20_000) {
        let mut random = Random(number);
        let seed = *random.pick(&REQUESTS);
        let mut bytes = seed.as_bytes().to_vec();
        random.mutate(&mut bytes, &JSON_WORDS);
        let text = String::from_utf8_lossy(&bytes);
        let memory = budget.reservation();
        let parsed = json::parse(&bytes, Some(&memory));
        match (parsed, serde_json::from_slice::<Value>(&bytes)) {
            (Ok(ours), theirs) => {
                assert_eq!(ours, theirs.unwrap(), "{text}");
                assert!(memory.bytes() >= least_bytes(&ours), "{text}");
                let written = json::parse(ours.to_string().as_bytes(), None).unwrap();
                assert_eq!(written, ours, "{text}");
                accepted += 1;
            }
            (Err(json::Error::Syntax(_) | json::Error::OutOfRange { .. }), theirs) => {
                assert!(theirs.is_err(), "{text}");
                refused += 1;
            }
            (Err(json::Error::Refused(why)), _) => {
                assert!(why.contains("is there twice") && why.len() < 400, "{why}");
                twice += 1;
            }
            (Err(other), _) => panic!("{other:?}: {text}"),
        }
    }
    assert!(
        accepted > 2000 && refused > 2000 && twice > 30,
        "{accepted} accepted, {refused} refused, {twice} with a member twice"
    );
    assert_eq!(budget.reservation().bytes(), 0);
}
