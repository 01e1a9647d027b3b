//! Why an archive or a base64 text was refused. Texts name the entry and the rule, never quote content, and are safe to
//! log.

use std::fmt;
use std::io;

use super::name;

/// Why an archive or a base64 text was refused.
#[derive(Debug)]
pub enum Error {
    /// Not base64.
    Base64(String),
    /// Not gzip, cut short or damaged. The text names the format if it is a known one (xz, zstd, plain tar, …).
    Gzip(String),
    /// Bytes that are not gzip follow the gzip, and the tar in it has no end mark.
    AfterGzip,
    /// Not a tar, or a malformed one.
    Tar(String),
    /// An entry that is not allowed.
    Entry {
        /// The entry's name, shortened and escaped.
        name: String,
        /// The rule it breaks.
        rule: String,
    },
    /// Larger than a limit.
    TooLarge(String),
    /// The caller granted no more memory.
    NoRoom,
    /// The stream that is read from or written to failed.
    Io(io::Error),
}

impl Error {
    /// An [`Error::Entry`]; `name` is the raw name from the archive.
    pub(super) fn entry(name: &[u8], rule: impl Into<String>) -> Self {
        Self::Entry {
            name: name::for_display(name),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64(why) => write!(f, "not base64: {why}"),
            Self::Gzip(why) => write!(f, "not a gzip-compressed tar: {why}"),
            Self::AfterGzip => f.write_str(
                "not a gzip-compressed tar: something that is not gzip follows it, and no end mark is in it",
            ),
            Self::Tar(why) => write!(f, "not a sound tar archive: {why}"),
            Self::Entry { name, rule } => write!(f, "archive entry `{name}` {rule}"),
            Self::TooLarge(why) => write!(f, "too large: {why}"),
            Self::NoRoom => f.write_str("there is no memory for it just now"),
            Self::Io(error) => write!(f, "cannot read or write the archive: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Takes an [`Error`] that was passed through `Read` back out of its `io::Error`.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(theirs) => Self::Io(theirs),
        }
    }
}

/// Wraps an [`Error`] in an `io::Error`, to pass it through `Read`.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            ours => io::Error::new(io::ErrorKind::InvalidData, ours),
        }
    }
}
