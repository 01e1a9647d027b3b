//! Why content was refused. Texts name the entry and the rule, never the bytes, and are safe to log.

use std::fmt;
use std::io;

use super::name;

/// Why content was refused; the text names the entry and the rule, never the bytes.
#[derive(Debug)]
pub enum Error {
    /// Not base64.
    Base64(String),
    /// Not gzip, cut, or trailing rubbish; says what it looks like instead (xz, zstd, plain tar, …).
    Gzip(String),
    /// Not a tar, or a broken one.
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
    /// Reading or writing on the other side failed.
    Io(io::Error),
}

impl Error {
    /// A refusal of the entry called `name`, given as the archive has it.
    pub(super) fn entry(name: &[u8], rule: impl Into<String>) -> Self {
        Self::Entry {
            name: name::shown(name),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64(why) => write!(f, "not base64: {why}"),
            Self::Gzip(why) => write!(f, "not a gzip-compressed tar: {why}"),
            Self::Tar(why) => write!(f, "not a sound tar archive: {why}"),
            Self::Entry { name, rule } => write!(f, "archive entry `{name}` {rule}"),
            Self::TooLarge(why) => write!(f, "too large: {why}"),
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

/// Our own refusals travel through `Read` as the inside of an `io::Error`; this takes them out again.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(theirs) => Self::Io(theirs),
        }
    }
}

/// The way into `Read`; the other direction of the conversion above.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            ours => io::Error::new(io::ErrorKind::InvalidData, ours),
        }
    }
}
