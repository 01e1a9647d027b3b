//! The gzip layer of an incoming archive: one member or several, as `gzip -d` reads them. Zeros after the last member
//! are padding; anything else there is refused, and so is every other format, by its name.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::Error;
use super::base64::Base64Reader;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What else people send, and how it begins.
const OTHER_FORMATS: [(&str, &[u8]); 10] = [
    ("xz", b"\xfd7zXZ\0"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("bzip2", b"BZh"),
    ("zip", b"PK\x03\x04"),
    ("zip", b"PK\x05\x06"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("lzip", b"LZIP"),
    ("7z", b"7z\xbc\xaf\x27\x1c"),
    ("compress (.Z)", b"\x1f\x9d"),
    ("base64 of base64", b"H4sI"),
];

/// Where a tar header says that it is one.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// The bytes inside a base64 gzip text. Every error of it is an [`Error`] in an `io::Error`.
pub(super) struct Gunzip<'a> {
    /// Absent once all members were read.
    member: Option<GzDecoder<Base64Reader<'a>>>,
}

impl<'a> Gunzip<'a> {
    /// Starts reading, after a look at the first bytes.
    pub(super) fn open(base64: &'a str) -> Result<Self, Error> {
        let mut text = Base64Reader::new(base64);
        let begin = text.fill_buf()?;
        if !begin.starts_with(&MAGIC) {
            return Err(Error::Gzip(not_gzip(begin)));
        }
        Ok(Self {
            member: Some(GzDecoder::new(text)),
        })
    }

    /// Goes on to what follows a member that has ended, its checksum proven.
    fn next_member(&mut self) -> Result<(), Error> {
        let Some(ended) = self.member.take() else {
            return Ok(());
        };
        let mut text = ended.into_inner();
        if text.fill_buf()?.starts_with(&MAGIC) {
            self.member = Some(GzDecoder::new(text));
            return Ok(());
        }
        loop {
            let rest = text.fill_buf()?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|&byte| byte != 0) {
                return Err(Error::Gzip(
                    "something that is not gzip follows it".to_owned(),
                ));
            }
            let length = rest.len();
            text.consume(length);
        }
    }
}

impl Read for Gunzip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(into) {
                Ok(0) if into.is_empty() => return Ok(0),
                Ok(0) => self.next_member()?,
                Ok(length) => return Ok(length),
                Err(error) => return Err(gzip_fault(error).into()),
            }
        }
        Ok(0)
    }
}

/// Keeps our own errors and words flate2's.
fn gzip_fault(error: io::Error) -> Error {
    match Error::from(error) {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::Gzip("it is cut short".to_owned())
        }
        Error::Io(error) => Error::Gzip(format!("it is damaged ({error})")),
        ours => ours,
    }
}

fn not_gzip(begin: &[u8]) -> String {
    if begin.is_empty() {
        return "it is empty".to_owned();
    }
    let (at, magic) = TAR_MAGIC;
    let format = if begin.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
        Some("a plain tar")
    } else {
        let known = OTHER_FORMATS
            .iter()
            .find(|(_, magic)| begin.starts_with(magic));
        known.map(|(format, _)| *format)
    };
    match format {
        Some(format) => format!("it looks like {format}"),
        None => "it does not begin as gzip does".to_owned(),
    }
}
