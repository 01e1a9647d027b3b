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
