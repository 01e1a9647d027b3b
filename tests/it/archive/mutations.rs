//! A small fuzz test: thousands of valid archives with a few bytes or blocks changed, the same ones in every run.

use super::{OWNER, Raw, directory, entries, file, gzip, hardlink, long, pack, pax, symlink, tar};
use crate::support::{Random, rounds};
use flate2::read::GzDecoder;
use oneoff_docker_runner::archive::{
    Limits, check_targz, collect_directory, collect_file, decode_base64, encode_base64,
};
use std::io::Read;

/// Valid archives that together use every feature.
fn seeds() -> Vec<Vec<u8>> {
    let name = format!("{}/name", "n".repeat(120));
    vec![
        tar(&[
            directory("./"),
            directory("./d/"),
            file("./d/f", "text"),
            hardlink("./d/h", "./d/f"),
            symlink("./l", "d/f"),
        ]),
        tar(&[
            file("a/b/c", "c"),
            symlink("a/l", "/etc"),
            directory("a/b"),
            file("e", &"e".repeat(600)),
            hardlink("g", "e"),
        ]),
        tar(&[
            long(b'L', &name),
            file("x", "x"),
            long(b'K', &name),
            symlink("y", "z"),
            long(b'K', &name),
            hardlink("z", "x"),
        ]),
        tar(&[
            pax(b'g', &[("comment", b"c")]),
            pax(b'x', &[("path", b"p/q"), ("size", b"4")]),
            file("x", "four"),
            file("p/r", "r"),
        ]),
        tar(&[
            pax(
                b'x',
                &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"2,3")],
            ),
            file("s", "abc"),
            symlink("l", "s"),
            hardlink("m", "l"),
            Raw::new(b'1', "h", b"abc").to("s"),
        ]),
        tar(&[
            pax(
                b'x',
                &[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")],
            ),
            Raw::new(b'0', "s", &[&b"1\n2\n3\n"[..], &[0; 506], b"abc"].concat()),
            Raw::new(b'V', "label", b""),
            Raw::new(b'D', "d/", b"Yf\0\0"),
        ]),
    ]
}

fn mutate(random: &mut Random, tar: &mut Vec<u8>) {
    const INTERESTING: [&[u8]; 14] = [
        b"..",
        b"/",
        b"./",
        b"\0",
        b"l/x",
        b"d/f",
        b"a/l",
        b"\xff",
        b"7777777777",
        b"\x80\0\0\0",
        b"0",
        b"1",
        b"2",
        b"5",
    ];
    const FIELDS: [usize; 12] = [0, 1, 2, 100, 124, 134, 156, 156, 157, 159, 257, 345];
    for _ in 0..=random.below(3) {
        let blocks = tar.len() / 512;
        if blocks == 0 {
            return;
        }
        let block = random.below(blocks) * 512;
        match random.below(8) {
            0..=3 => {
                let offset = block + FIELDS[random.below(FIELDS.len())];
                let bytes = INTERESTING[random.below(INTERESTING.len())];
                tar[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            4 => tar[block + random.below(512)] = random.next() as u8,
            5 => {
                let copy = tar[block..block + 512].to_vec();
                let place = random.below(blocks + 1) * 512;
                tar.splice(place..place, copy);
            }
            6 => drop(tar.drain(block..block + 512)),
            _ if random.below(4) == 0 => tar.truncate(random.below(tar.len())),
            _ => {}
        }
    }
    if random.below(8) > 0 {
        mend(tar);
    }
}

/// Corrects the checksum of every block that looks like a header, so that mutations get past the checksum test.
fn mend(tar: &mut [u8]) {
    for block in tar
        .chunks_exact_mut(512)
        .filter(|block| block[257..262] == *b"ustar")
    {
        let mut raw = Raw {
            header: [0; 512],
            content: Vec::new(),
        };
        raw.header.copy_from_slice(block);
        block.copy_from_slice(&raw.bytes());
    }
}

/// Checks what must hold for every tar that the packer writes, with an independent reader.
fn assert_safe(packed: &[u8], limits: Limits) {
    let mut kinds = std::collections::HashMap::new();
    let mut bytes = 0;
    for (name, kind, target, mode, content) in entries(packed) {
        let name = name.strip_suffix('/').unwrap_or(&name).to_owned();
        let parts: Vec<_> = name.split('/').collect();
        assert!(parts[0] == "top" && parts.len() > 1, "outside: {name}");
        assert!(
            !parts.iter().any(|part| ["", ".", ".."].contains(part)),
            "{name}"
        );
        assert_eq!(mode & 0o6000, 0, "{name}");
        for end in 2..parts.len() {
            assert_eq!(
                kinds.get(&parts[..end].join("/")),
                Some(&b'5'),
                "above {name}"
            );
        }
        match kind {
            b'0' | b'2' => {}
            b'1' => assert!(
                matches!(kinds.get(&target), Some(b'0' | b'1')),
                "{name} -> {target}"
            ),
            b'5' => assert!(matches!(kinds.get(&name), None | Some(b'5')), "{name}"),
            other => panic!("{name} has type {other}"),
        }
        let is_file = |kind| matches!(kind, b'0' | b'1');
        assert!(
            kinds
                .insert(name.clone(), kind)
                .is_none_or(|before| before == kind || (is_file(before) && is_file(kind))),
            "{name} changes its type"
        );
        bytes += content.len() as u64;
    }
    assert!(bytes <= limits.unpacked_bytes && kinds.len() as u64 <= limits.entries);
    for entry in tar::Archive::new(packed).entries().unwrap() {
        let header = entry.unwrap().header().clone();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (OWNER.uid, OWNER.gid)
        );
    }
}

#[test]
fn mutated_archives_never_panic_and_never_get_past_the_rules() {
    let limits = Limits {
        unpacked_bytes: 1200,
        entries: 12,
    };
    let (mut accepted, mut refused) = (0, 0);
    for (number, seed) in seeds().into_iter().enumerate() {
        assert_safe(&pack(&encode_base64(&gzip(&seed)), limits).unwrap(), limits);
        let mut random = Random(number as u64);
        for _ in 0..rounds(1500) {
            let mut bytes = seed.clone();
            mutate(&mut random, &mut bytes);
            let mut bytes = gzip(&bytes);
            if random.below(20) == 0 {
                let place = random.below(bytes.len());
                bytes[place] ^= 1 << random.below(8);
            }
            let mut text = encode_base64(&bytes);
            if random.below(20) == 0 {
                text.insert(
                    random.below(text.len()),
                    ['=', '-', '\n', 'A', 'ä'][random.below(5)],
                );
            }
            let checked = check_targz(&text, limits);
            match (&checked, pack(&text, limits)) {
                (Ok(summary), Ok(packed)) => {
                    assert!(
                        summary.entries <= limits.entries
                            && summary.unpacked_bytes <= limits.unpacked_bytes
                    );
                    assert_safe(&packed, limits);
                    accepted += 1;
                }
                (Err(check), Err(pack)) => {
                    assert_eq!(check.to_string(), pack.to_string());
                    assert!(!check.to_string().contains(char::is_control), "{check}");
                    refused += 1;
                }
                (check, pack) => panic!("check and pack disagree: {check:?}, {:?}", pack.map(drop)),
            }
        }
    }
    assert!(
        accepted > 600 && refused > 600,
        "{accepted} accepted, {refused} refused: no test of both"
    );
}

#[test]
fn mutated_engine_tars_never_panic_and_never_exceed_the_limit() {
    let mut collected = 0;
    for (number, archive) in seeds().into_iter().enumerate() {
        let mut random = Random(1000 + number as u64);
        for _ in 0..rounds(700) {
            let mut bytes = [directory("./").bytes(), archive.clone()].concat();
            mutate(&mut random, &mut bytes);
            let _ = collect_file(&mut &bytes[..], 1200);
            let Ok(directory) = collect_directory(&mut &bytes[..], 1200, &mut |_| true) else {
                continue;
            };
            assert!(directory.unpacked_bytes <= 1200);
            collected += 1;
            let mut unpacked = Vec::new();
            let gzip = decode_base64(&directory.content).unwrap();
            GzDecoder::new(&gzip[..])
                .read_to_end(&mut unpacked)
                .unwrap();
            assert_eq!(entries(&unpacked).len() as u64, directory.entries);
        }
    }
    assert!(collected > 300, "{collected}");
}
