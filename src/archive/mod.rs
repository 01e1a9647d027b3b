//! Archives in transit: base64 tar.gz in requests and answers, plain tar to and from the engine. Works on bytes only: opens
//! no file and no socket, unpacks nothing to a disk, and never holds a decoded archive in memory.
//!
//! | direction | path of the bytes |
//! |---|---|
//! | into the engine | `base64` → `gunzip` → `reader` → `pack` → `writer` |
//! | out of the engine | `reader` → `collect` → `writer` → `text_sink` |
//!
//! `reader` puts entries together: `header` and `pax` parse what precedes them, `entry` says what it means, `sparse` has the
//! maps of sparse files, `content` streams the bytes, through `lookahead`. `pack` checks each entry of an incoming archive:
//! its name with `name`, its kind with `entry_rules`, names used before with `seen_names`, sizes with `limit_counter`. `symlink_targets` and `shared_top`
//! remember what later entries or the caller need. `mount_packing` makes the places (`mount_point`)
//! at which something is mounted inside a packed directory, and `placeholders` finds them again in what comes out.

mod base64;
mod collect;
mod content;
mod entry;
mod entry_rules;
mod error;
mod files;
mod gunzip;
mod header;
mod limit_counter;
mod lookahead;
mod mount_packing;
mod mount_point;
mod name;
mod pack;
mod pax;
mod placeholders;
mod reader;
mod seen_names;
mod shared_top;
mod sparse;
mod symlink_targets;
mod text_sink;
mod writer;

pub use base64::{decode_base64, encode_base64};
pub use collect::{
    Collected, CollectedDirectory, collect_directory, collect_directory_without, collect_file,
    collect_file_text,
};
pub use error::Error;
pub use files::{FileSink, read_files};
pub use limit_counter::{Allowance, Limits, MAX_ENTRIES, Summary};
pub use mount_packing::check_mount_points;
pub use mount_point::{MountPoint, MountPointKind};
pub use name::file_name_fault;
pub use pack::{Packer, TargzCheck, check_targz, check_targz_start};
pub use text_sink::Room;
pub use writer::{FileStamp, LastEntry, UidGid};
