//! Mutated requests and output streams: nothing panics, and whatever is refused is refused in the right words. Archives have
//! such a test of their own. `FUZZ_TIMES=100` makes the search a hundred times as long.

use super::support::{Random, rounds};
use oneoff_docker_runner::docker::stdcopy::{Stream, demultiplex, demultiplex_frames};
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
            random.mutate(&mut bytes, &WORDS);
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
