//! Hostile archives, written with the `tar` crate entry by entry. Nothing about names, types or sizes is checked.

use flate2::Compression;
use flate2::write::GzEncoder;
use oneoff_docker_runner::archive::encode_base64;
use std::io::Write;
use tar::{EntryType, Header};

/// An archive in the making.
#[derive(Default)]
pub struct Tarball(Vec<u8>);

impl Tarball {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, (name, ""), content.as_bytes())
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, (name, ""), b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, (name, target), b"")
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, (name, target), b"")
    }

    /// An entry of any type. `(name, target)` are cut to the 100 bytes that a header holds.
    pub fn entry(self, kind: EntryType, names: (&str, &str), content: &[u8]) -> Self {
        let header = header(kind, names, content.len() as u64);
        self.raw(&header, content)
    }

    /// A file whose header says that it has another size.
    pub fn lying_file(self, name: &str, size: u64, content: &[u8]) -> Self {
        let header = header(EntryType::Regular, (name, ""), size);
        self.raw(&header, content)
    }

    pub fn file_with_mode(self, name: &str, mode: u32, content: &str) -> Self {
        let mut header = header(EntryType::Regular, (name, ""), content.len() as u64);
        header.set_mode(mode);
        self.raw(&header, content.as_bytes())
    }

    /// An extended header with one record, for the next entry.
    pub fn pax(self, key: &str, value: &str) -> Self {
        let rest = 3 + key.len() + value.len();
        let length = (rest + 1..)
            .find(|length| rest + length.to_string().len() == *length)
            .unwrap();
        let record = format!("{length} {key}={value}\n");
        self.entry(EntryType::XHeader, ("PaxHeaders/x", ""), record.as_bytes())
    }

    /// The name of the next entry, in GNU's way.
    pub fn gnu_name(self, name: &str) -> Self {
        let content = [name.as_bytes(), b"\0"].concat();
        self.entry(EntryType::GNULongName, ("././@LongLink", ""), &content)
    }

    /// A sparse file in GNU's old format, whose map has one piece and whose unpacked size is `real_size`.
    pub fn gnu_sparse(self, name: &str, (offset, real_size): (u64, u64), piece: &[u8]) -> Self {
        let mut header = header(EntryType::GNUSparse, (name, ""), piece.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(real_size);
        gnu.sparse[0].set_offset(offset);
        gnu.sparse[0].set_length(piece.len() as u64);
        header.set_cksum();
        self.raw(&header, piece)
    }

    fn raw(mut self, header: &Header, content: &[u8]) -> Self {
        let mut header = header.clone();
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The plain tar.
    pub fn tar(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    pub fn gz(self) -> Vec<u8> {
        gzip(&self.tar())
    }

    /// Its entries again and again, compressed.
    pub fn repeated(self, times: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let some = self.0.repeat(1000);
        for _ in 0..times.div_ceil(1000) {
            encoder.write_all(&some).unwrap();
        }
        encoder.write_all(&[0; 1024]).unwrap();
        encoder.finish().unwrap()
    }

    /// As a request has it.
    pub fn base64(self) -> String {
        encode_base64(&self.gz())
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn header(kind: EntryType, (name, target): (&str, &str), size: u64) -> Header {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    for (field, text) in [(&mut old.name, name), (&mut old.linkname, target)] {
        let length = text.len().min(100);
        field[..length].copy_from_slice(&text.as_bytes()[..length]);
    }
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header
}
