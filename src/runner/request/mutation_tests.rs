//! Mutated keys of `volumes`, beside the standard library's idea of a path. `FUZZ_TIMES=100` searches a hundred times as long.

use crate::random::{Random, rounds};
use crate::runner::error::Error;
use crate::runner::policy::Policy;
use crate::runner::request::check::ApiProfile;
use crate::runner::request::lenient::Spelling;
use crate::runner::request::mounts::{Access, target};
use crate::runner::request::spec::RunSpec;
use crate::runner::request::types::PullPolicy;
use serde_json::json;
use std::path::{Component, Path};

const KEYS: &str = include_str!("../../../tests/corpus/mount_keys.txt");

/// What keys are made of, and what breaks their parts.
const WORDS: [&str; 24] = [
    "/", "//", "/./", "/../", "..", ".", ":", ":ro", ":rw", ":z", ":ro:rw", "proc", "/sys",
    "/dev/shm", "/proc/", "\0", "\n", " ", "\\", ",", "\u{e9}", "~", "%2e", "\u{85}",
];

const PROFILE: ApiProfile = ApiProfile {
    root: "body",
    pull_policy: PullPolicy::Missing,
    spelling: Spelling::Exact,
};

/// The path as the standard library reads it. `None`: it is not absolute, or goes up.
fn reference(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    path.starts_with('/')
        .then(|| format!("/{}", parts.join("/")))
}

fn assert_safe(target: &str, key: &str) {
    assert!(
        target.starts_with('/') && target.len() > 1,
        "{key:?} → {target:?}"
    );
    for part in target[1..].split('/') {
        assert!(
            !["", ".", ".."].contains(&part) && part.len() <= 255,
            "{key:?} → {target:?}"
        );
    }
    assert!(
        !target.contains(|c: char| c.is_control() || c == ':'),
        "{key:?} → {target:?}"
    );
    let first = target[1..].split('/').next().unwrap();
    assert!(
        !["proc", "sys", "dev"].contains(&first),
        "{key:?} → {target:?}"
    );
}

#[test]
fn a_mutated_key_is_a_safe_path_with_the_access_that_it_names_or_is_refused() {
    let seeds: Vec<&str> = KEYS.lines().collect();
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..rounds(30_000) {
        let mut random = Random(number);
        let seed = *random.pick(&seeds);
        let key = random.mutated_text(seed, &WORDS);
        let request = json!({"image": "x", "volumes": {&key: {"type": "directory", "files": {}}}});
        match RunSpec::from_json(request, PROFILE, &Policy::default()) {
            Ok(spec) => {
                let [mount] = &spec.mounts[..] else {
                    panic!("{key:?} has {} mounts", spec.mounts.len());
                };
                let (path, access) = match key.strip_suffix(":ro") {
                    Some(path) => (path, Access::ReadOnly),
                    None => (key.strip_suffix(":rw").unwrap_or(&key), Access::ReadWrite),
                };
                assert_safe(&mount.target, &key);
                assert_eq!(Some(&mount.target), reference(path).as_ref(), "{key:?}");
                assert_eq!((mount.key.as_str(), mount.access), (path, access));
                assert_eq!(
                    target(&mount.target).as_ref(),
                    Ok(&mount.target),
                    "it is stable"
                );
                accepted += 1;
            }
            Err(Error::Invalid(faults)) => {
                assert_eq!(faults.len(), 1, "{key:?}: {faults:?}");
                assert_eq!(faults[0].loc, ["body", "volumes", &key]);
                refused += 1;
            }
            Err(other) => panic!("{key:?}: {other:?}"),
        }
    }
    assert!(
        accepted > 3000 && refused > 3000,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn two_keys_that_name_one_path_are_refused_however_they_are_written() {
    let seeds: Vec<&str> = KEYS.lines().collect();
    let mut collided = 0;
    for number in 0..rounds(10_000) {
        let mut random = Random(number);
        let seed = *random.pick(&seeds);
        let mut one = || random.mutated_text(seed, &["/", "//", "/./", "/.", ":ro", ":rw"]);
        let (first, second) = (one(), one());
        let volume = json!({"type": "directory", "files": {}});
        let request = json!({"image": "x", "volumes": {&first: volume, &second: volume}});
        let Ok(spec) = RunSpec::from_json(request, PROFILE, &Policy::default()) else {
            let path = |key: &str| reference(key.split(':').next().unwrap());
            collided += usize::from(path(&first).is_some() && path(&first) == path(&second));
            continue;
        };
        let mut targets: Vec<&str> = spec
            .mounts
            .iter()
            .map(|mount| mount.target.as_str())
            .collect();
        targets.dedup();
        let keys = if first == second { 1 } else { 2 };
        assert_eq!(targets.len(), keys, "{first:?}, {second:?}");
    }
    assert!(collided > 300, "{collided}");
}
