//! What travels: base64 tar.gz outside, plain tar to and from the engine. Bytes only: it opens no file and no
//! socket, and never unpacks to a disk.
//!
//! In: `base64` → `gunzip` → `reader` → `pack` (judges each entry with `name`, `seen_names` and `limit_counter`) → `writer`.
//! Out: `reader` → `collect` → `writer`. No archive is ever held decoded.

mod base64;
mod collect;
mod error;
mod gunzip;
mod limit_counter;
mod name;
mod pack;
mod pax;
mod reader;
mod seen_names;
mod writer;

pub use base64::{decode_base64, encode_base64};
pub use collect::{Collected, CollectedDirectory, collect_directory, collect_file};
pub use error::Error;
pub use name::file_name_fault;
pub use pack::{Packer, check_targz, check_targz_stripped};

/// Most entries of a collected directory; a limit for incoming archives that lets every collected one in again.
pub const MAX_ENTRIES: u64 = 1_000_000;

/// Bounds of an unpacked archive; beyond one of them it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// Number of entries, directories that names imply included.
    pub entries: u64,
}

/// Who owns what is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UidGid {
    /// Numeric user.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
}

/// What a checked archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub entries: u64,
    /// Sum of file sizes, in bytes.
    pub unpacked_bytes: u64,
    /// The single top-level directory that all entries share, when names are plain `dir/…` (not `./…`).
    pub shared_top: Option<String>,
}
