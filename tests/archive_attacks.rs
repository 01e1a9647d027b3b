//! Hostile and odd archives, built by hand where tools refuse to write them, against the checks of the archive room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use oneoff_docker_runner::archive::{
    Collected, Error, Limits, MAX_ENTRIES, Owner, Packer, Summary, check_targz,
    check_targz_stripped, collect_directory, collect_file, decode_base64, encode_base64,
    file_name_fault,
};

const LIMITS: Limits = Limits {
    unpacked_bytes: 1 << 20,
    entries: 1000,
};
const OWNER: Owner = Owner {
    uid: 1234,
    gid: 3_000_000,
};

// ---- building -------------------------------------------------------------------------------------------------------

/// One raw entry: a header of which every field can be spoiled, and the bytes after it.
#[derive(Clone)]
struct Raw {
    header: [u8; 512],
    content: Vec<u8>,
}

impl Raw {
    fn new(kind: u8, name: &str, content: &[u8]) -> Self {
        let mut raw = Self {
            header: [0; 512],
            content: content.to_vec(),
        };
        raw.header[257..265].copy_from_slice(b"ustar  \0");
        raw.header[156] = kind;
        raw.at(0, name.as_bytes())
            .octal(100, 7, 0o644)
            .octal(108, 7, 1000)
            .octal(116, 7, 1000);
        raw.octal(124, 11, content.len() as u64)
            .octal(136, 11, 1_700_000_000);
        raw
    }
    fn at(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.header[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }
    fn octal(&mut self, offset: usize, digits: usize, value: u64) -> &mut Self {
        self.at(offset, format!("{value:0digits$o}\0").as_bytes())
    }
    fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn file(name: &str, content: &str) -> Raw {
    Raw::new(b'0', name, content.as_bytes())
}
fn directory(name: &str) -> Raw {
    let mut raw = Raw::new(b'5', name, b"");
    raw.octal(100, 7, 0o755);
    raw
}
fn link(kind: u8, name: &str, target: &str) -> Raw {
    let mut raw = Raw::new(kind, name, b"");
    raw.at(157, target.as_bytes());
    raw
}
fn symlink(name: &str, target: &str) -> Raw {
    link(b'2', name, target)
}
fn hardlink(name: &str, target: &str) -> Raw {
    link(b'1', name, target)
}

fn tar(entries: &[Raw]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Raw::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
fn targz(entries: &[Raw]) -> String {
    encode_base64(&gzip(&tar(entries)))
}
fn check(entries: &[Raw]) -> Result<Summary, Error> {
    check_targz(&targz(entries), LIMITS)
}
fn pack(base64: &str, limits: Limits) -> Result<Vec<u8>, Error> {
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.targz("top", base64, 0, limits)?;
    packer.finish()
}

/// What an independent reader finds in a tar: name, type, target, mode, content.
type Seen = (String, u8, String, u32, Vec<u8>);

fn entries(tar: &[u8]) -> Vec<Seen> {
    let mut archive = tar::Archive::new(tar);
    let read = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let target = entry
            .link_name_bytes()
            .map(|bytes| text(&bytes))
            .unwrap_or_default();
        let header = entry.header();
        (
            text(&entry.path_bytes()),
            header.entry_type().as_byte(),
            target,
            header.mode().unwrap(),
            content,
        )
    });
    read.collect()
}

// ---- what is let in -------------------------------------------------------------------------------------------------

#[test]
fn an_ordinary_archive_is_packed_below_a_name_with_a_new_owner() {
    let archive = [
        directory("./"),
        directory("./bin/"),
        file("./bin/run", "#!/bin/sh\n"),
        symlink("./bin/sh", "/bin/busybox"),
        hardlink("./bin/run2", "./bin/run"),
    ];
    let packed = pack(&targz(&archive), LIMITS).unwrap();
    let names: Vec<_> = entries(&packed)
        .into_iter()
        .map(|seen| (seen.0, seen.1 as char, seen.2))
        .collect();
    let expected = [
        ("top/bin/", '5', ""),
        ("top/bin/run", '0', ""),
        ("top/bin/sh", '2', "/bin/busybox"),
        ("top/bin/run2", '1', "top/bin/run"),
    ];
    assert_eq!(
        names,
        expected.map(|(name, kind, target)| (name.to_owned(), kind, target.to_owned()))
    );
    for entry in tar::Archive::new(&packed[..]).entries().unwrap() {
        let header = entry.unwrap().header().clone();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (1234, 3_000_000)
        );
        assert_eq!(header.mtime().unwrap(), 1_700_000_000);
        assert_eq!(
            (header.username_bytes(), header.groupname_bytes()),
            (Some(&b""[..]), Some(&b""[..]))
        );
    }
}

// ---- speed ----------------------------------------------------------------------------------------------------------

#[test]
#[ignore = "a measurement: cargo test --release --test archive_attacks -- --ignored --nocapture speed"]
fn speed() {
    let noise: Vec<u8> = {
        let mut random = Random(7);
        (0..8 << 20)
            .flat_map(|_| random.next().to_le_bytes())
            .collect()
    };
    let words: Vec<u8> = (0..)
        .flat_map(|n: u64| {
            format!(
                "    let line_{} = call({}, {});\n",
                n % 997,
                n * n % 8191,
                n
            )
            .into_bytes()
        })
        .take(64 << 20)
        .collect();
    let report = |what: &str, started: std::time::Instant| {
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("{what}: {:.0} MB/s", 67.1 / seconds);
    };
    for (kind, content) in [("noise", &noise), ("words", &words)] {
        let limits = Limits {
            unpacked_bytes: 1 << 30,
            entries: MAX_ENTRIES,
        };
        let chunks = content.chunks(100_000).enumerate();
        let mut packer = Packer::new(Vec::new(), OWNER);
        packer.directory("base", 0o755).unwrap();
        let started = std::time::Instant::now();
        chunks.for_each(|(n, chunk)| packer.file(&format!("base/{n}"), 0o644, chunk).unwrap());
        let engine_tar = packer.finish().unwrap();
        report(&format!("{kind} file"), started);
        let started = std::time::Instant::now();
        let collected = collect_directory(&mut &engine_tar[..], 1 << 30).unwrap();
        report(
            &format!("{kind} collect ({} MB)", collected.content.len() >> 20),
            started,
        );
        let started = std::time::Instant::now();
        assert_eq!(
            check_targz(&collected.content, limits)
                .unwrap()
                .unpacked_bytes,
            64 << 20
        );
        report(&format!("{kind} check"), started);
        let lines: String = collected
            .content
            .as_bytes()
            .chunks(76)
            .map(|line| format!("{}\n", str::from_utf8(line).unwrap()))
            .collect();
        let started = std::time::Instant::now();
        assert_eq!(
            check_targz(&lines, limits).unwrap().unpacked_bytes,
            64 << 20
        );
        report(&format!("{kind} check, lines"), started);
        let started = std::time::Instant::now();
        let mut packer = Packer::new(Vec::with_capacity(66 << 20), OWNER);
        packer.targz("top", &collected.content, 0, limits).unwrap();
        drop(packer.finish().unwrap());
        report(&format!("{kind} pack"), started);
        let started = std::time::Instant::now();
        let text = encode_base64(content);
        report(&format!("{kind} encode"), started);
        let started = std::time::Instant::now();
        assert!(decode_base64(&text).unwrap() == *content);
        report(&format!("{kind} decode"), started);
        for level in [0, 1, 2, 3, 4, 6] {
            let started = std::time::Instant::now();
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
            encoder.write_all(content).unwrap();
            let size = encoder.finish().unwrap().len();
            report(
                &format!("{kind} gzip -{level} ({} MB)", size >> 20),
                started,
            );
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
#[test]
#[ignore]
fn probe() {
    use base64::Engine as _;
    let mut random = Random(7);
    let noise: Vec<u8> = (0..8 << 20)
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    let text = encode_base64(&noise);
    for _ in 0..3 {
        let mut out = vec![0; 49152 + 3];
        let mut sum = 0u64;
        let t = std::time::Instant::now();
        for block in text.as_bytes().chunks(65536) {
            let n = base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT
                .decode_slice(block, &mut out)
                .unwrap();
            sum += n as u64;
        }
        eprintln!("direct {:.0} {sum}", 67.1 / t.elapsed().as_secs_f64());
        let t = std::time::Instant::now();
        let mut g = vec![0u8; 65536];
        let mut total = 0;
        for block in text.as_bytes().chunks(65536) {
            let mut c = 0;
            for &b in block {
                let s = b.wrapping_add((b == b'-') as u8);
                g[c] = s;
                c += usize::from(s > b' ');
            }
            total += c;
        }
        eprintln!(
            "gather-like {:.0} {total} {}",
            67.1 / t.elapsed().as_secs_f64(),
            g[77]
        );
        let t = std::time::Instant::now();
        let clean = text
            .as_bytes()
            .chunks(65536)
            .filter(|b| b.iter().all(|&b| b > b' ' && b != b'-' && b != b'_'))
            .count();
        eprintln!("scan {:.0} {clean}", 67.1 / t.elapsed().as_secs_f64());
        let t = std::time::Instant::now();
        let v = decode_base64(&text).unwrap();
        eprintln!("ours {:.0} {}", 67.1 / t.elapsed().as_secs_f64(), v.len());
    }
}
