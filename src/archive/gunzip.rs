//! The gzip layer of an incoming archive. Reads one member or several, as `gzip -d` does. Ignores zeros after the last
//! member as padding. Anything else there is an error of its own, which does not matter once the tar is complete. Refuses other
//! formats, with the name of the format if it is known.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::base64::Base64Reader;
use super::error::Error;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Other formats that callers send, with their first bytes.
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

/// The magic bytes of a tar header, and where they are.
const TAR_MAGIC: &[u8] = b"ustar";
const TAR_MAGIC_OFFSET: usize = 257;

/// Reads the decompressed bytes of a base64 gzip text. Its errors are an [`Error`] wrapped in an `io::Error`.
pub(super) struct Gunzip<'a> {
    /// The current member; `None` once all members have been read.
    member: Option<GzDecoder<Base64Reader<'a>>>,
}

impl<'a> Gunzip<'a> {
    /// Opens the text. Error: it does not begin as gzip does.
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

    /// Starts the next member after one that has ended with a valid checksum. Else reads the rest of the text; error:
    /// [`Error::AfterGzip`] if it is no padding.
    fn next_member(&mut self) -> Result<(), Error> {
        let Some(ended) = self.member.take() else {
            return Ok(());
        };
        let mut text = ended.into_inner();
        if text.fill_buf()?.starts_with(&MAGIC) {
            self.member = Some(GzDecoder::new(text));
            return Ok(());
        }
        let mut is_padding = true;
        loop {
            let rest = text.fill_buf()?;
            if rest.is_empty() {
                break;
            }
            is_padding &= rest.iter().all(|&byte| byte == 0);
            let length = rest.len();
            text.consume(length);
        }
        match is_padding {
            true => Ok(()),
            false => Err(Error::AfterGzip),
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

/// Keeps an [`Error`] of the base64 layer and words flate2's errors.
fn gzip_fault(error: io::Error) -> Error {
    match Error::from(error) {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::Gzip("it is cut short".to_owned())
        }
        Error::Io(error) => Error::Gzip(format!("it is damaged ({error})")),
        ours => ours,
    }
}

/// The text of the refusal for bytes that are not gzip.
fn not_gzip(begin: &[u8]) -> String {
    if begin.is_empty() {
        return "it is empty".to_owned();
    }
    let at_magic = begin.get(TAR_MAGIC_OFFSET..);
    let format = if at_magic.is_some_and(|rest| rest.starts_with(TAR_MAGIC)) {
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
