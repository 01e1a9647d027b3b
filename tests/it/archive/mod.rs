//! Ordinary, odd and hostile archives against the checks in `src/archive`. Those that the usual tools refuse to write are
//! built byte by byte.

mod accepted;
mod collected;
mod mutations;
mod refused;
mod tolerated;
pub(crate) mod tree;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use oneoff_docker_runner::archive::{
    Allowance, Error, Limits, Packer, Summary, TargzCheck, UidGid, check_targz, encode_base64,
};

const LIMITS: Limits = Limits {
    unpacked_bytes: 1 << 20,
    entries: 1000,
};

const OWNER: UidGid = UidGid {
    uid: 1234,
    gid: 3_000_000,
};

/// One raw entry: a header whose every byte can be changed, and the content after it.
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
    /// With a link target.
    fn to(mut self, target: &str) -> Self {
        self.at(157, target.as_bytes());
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
    Raw::new(kind, name, b"").to(target)
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

/// Checks an archive that is to be packed with `strip` leading components of each name dropped.
fn check_stripped(base64: &str, strip: usize) -> Result<Summary, Error> {
    TargzCheck::new(LIMITS, &|| false).check(base64, strip, &[])
}

fn allowance() -> Allowance {
    Allowance::new(LIMITS)
}

fn pack(base64: &str, limits: Limits) -> Result<Vec<u8>, Error> {
    let mut packer = Packer::new(Vec::new(), OWNER);
    packer.targz("top", base64, 0, &mut Allowance::new(limits))?;
    packer.finish()
}

/// A PAX extended header with these records.
fn pax(kind: u8, records: &[(&str, &[u8])]) -> Raw {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = 3 + key.len() + value.len();
        let length = (rest + 1..)
            .find(|length| rest + length.to_string().len() == *length)
            .unwrap();
        content.extend(format!("{length} {key}=").bytes());
        content.extend(*value);
        content.push(b'\n');
    }
    Raw::new(kind, "PaxHeaders/x", &content)
}

fn long(kind: u8, text: &str) -> Raw {
    Raw::new(kind, "././@LongLink", &[text.as_bytes(), b"\0"].concat())
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
